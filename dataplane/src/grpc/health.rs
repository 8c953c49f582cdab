//! `grpc.health.v1`: each service serves until the drain begins. No I/O.

use std::pin::Pin;

use evhub_lifecycle::Drain;
use evhub_proto::health::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};
use futures_util::{Stream, StreamExt as _, stream::once};
use tonic::{Request, Response, Status, async_trait};

use super::{Ending, SERVICES, status};
use crate::problem::{Problem, reason};

/// Tells how the services of this listener are.
pub(super) struct Service {
    pub(super) drain: Drain,
}

#[async_trait]
impl Health for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(&request.get_ref().service) {
            let problem = Problem::new(reason::NOT_FOUND, "there is no service of this name here");
            return Err(status::of(&problem.at("service")));
        }
        let serving = if self.drain.has_begun() { ServingStatus::NotServing } else { ServingStatus::Serving };
        Ok(Response::new(answer(serving)))
    }

    /// Says how the service is, and says it again when the drain begins. Ends with its connection.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let ending = Ending::of(&request);
        let known = is_known(&request.get_ref().service);
        let drain = self.drain.clone();
        let status = move || match (known, drain.has_begun()) {
            (false, _) => ServingStatus::ServiceUnknown,
            (true, true) => ServingStatus::NotServing,
            (true, false) => ServingStatus::Serving,
        };
        let now = status();
        // Every connection ends when the drain begins, so what is said then is news, and the last word.
        let last = async move {
            ending.await;
            status()
        };
        let news = once(std::future::ready(now)).chain(once(last)).map(|status| Ok(answer(status)));
        Ok(Response::new(Box::pin(news)))
    }
}

fn is_known(service: &str) -> bool {
    service.is_empty() || SERVICES.contains(&service)
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
