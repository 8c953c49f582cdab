//! Publishing over gRPC, on a listener of its own: HTTP/2 without TLS, as gRPC clients speak it.
//!
//! The services say what each call means; around them one place bounds calls and connections, and says no in the words of
//! every other surface. Served: `evhub.ingest.v1.Ingest`, `evhub.ledger.v1.Ledger`, EvHub v1's `evhubProducer`, health and reflection.

pub(crate) mod bare;
mod call;
mod connection;
mod deadline;
mod event;
mod health;
mod ingest;
mod intake;
mod lazy;
pub(crate) mod status;

use std::{sync::Arc, time::Duration};

use evhub_journal::Journal;
use evhub_lifecycle::Drain;
use evhub_proto::{DESCRIPTORS, health::health_server::HealthServer, ledger::shards_server::ShardsServer};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

pub(crate) use self::{
    event::{decode, instant},
    intake::Taken,
};
use crate::{
    Hub, evhub,
    server::{
        self,
        multiplex::{AGE, PING, PONG, STREAMS},
    },
    timers, transactions,
};

/// The services whose health can be asked for, beside that of the whole.
const SERVICES: [&str; 3] =
    ["evhub.ingest.v1.Ingest", "evhub.ledger.v1.Ledger", "evhub_producer.evhubProducer"];

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once; more are closed.
    pub connections: usize,
    /// Connections of one address, or of one network of IPv6, open at once; more are closed.
    pub per_address: usize,
    /// Calls at once on one connection.
    pub streams: u32,
    /// From the connection's beginning to the end of its greeting.
    pub greeting: Duration,
    /// The size of a call's head in bytes.
    pub head_bytes: u32,
    /// How long a call that is no stream may take, whatever deadline it has.
    pub call: Duration,
    /// How often a peer is asked whether it is there.
    pub ping: Duration,
    /// How long it may take to say so.
    pub pong: Duration,
    /// How long an answer may wait for its reader to take any of it.
    pub write: Duration,
    /// How old a connection may become, give or take a tenth, so that load spreads over new replicas.
    pub age: Duration,
    /// How long calls under way may take after that, or after the drain has begun.
    pub grace: Duration,
}

/// When the connection of a call is to end; long calls end by themselves then.
#[derive(Clone)]
struct Ending(Drain);

/// Serves until the drain begins; then takes no more calls, and lets those under way finish within [`Limits::grace`].
/// `name` labels the listener in metrics and logs.
pub async fn serve<J: Journal>(
    name: &'static str,
    listener: TcpListener,
    hub: Hub<J>,
    limits: Limits,
    drain: Drain,
) {
    let context = Arc::new(call::Context {
        name,
        door: hub.door.clone(),
        meters: hub.meters.clone(),
        longest: limits.call,
        routes: routes(&hub, &drain),
    });
    let bounds = server::Bounds {
        name,
        connections: limits.connections,
        per_address: limits.per_address,
        turned_away: b"",
        drain: limits.grace,
    };
    let one = drain.clone();
    server::accept(bounds, listener, &hub.meters, &drain, move |stream| {
        connection::serve(Arc::clone(&context), limits, one.clone(), stream)
    })
    .await;
}

/// The services of this listener, without what bounds its calls and connections.
pub fn routes<J: Journal>(hub: &Hub<J>, drain: &Drain) -> Routes {
    let ingest = lazy::Server(ingest::Service { hub: hub.clone() });
    let producer = evhub::Server { hub: hub.clone() };
    let health = HealthServer::new(health::Service { drain: drain.clone() });
    let timers = timers::grpc::Service { hub: hub.clone() };
    let (ledger, shards) = (transactions::grpc::Server::new(timers.clone()), ShardsServer::new(timers));
    let routes = Routes::new(ingest).add_service(producer).add_service(ledger).add_service(shards);
    let routes = routes.add_service(health);
    match reflection() {
        Ok(reflection) => routes.add_service(reflection),
        // Our own descriptors, checked by a test: without them the services work all the same.
        Err(error) => {
            tracing::error!(%error, "reflection is not served");
            routes
        }
    }
    .prepare()
}

fn reflection() -> Result<ServerReflectionServer<impl ServerReflection>, tonic_reflection::server::Error> {
    let builder =
        tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let served =
        SERVICES.iter().chain(["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"].iter());
    served.fold(builder, |builder, name| builder.with_service_name(*name)).build_v1()
}

// === impl Ending ===

impl Ending {
    /// Of a call; one that came by no connection never has to end.
    fn of<T>(request: &tonic::Request<T>) -> impl Future<Output = ()> + Send + use<T> {
        let found = request.extensions().get::<Self>().map(|Self(drain)| drain.begun());
        async move {
            match found {
                Some(begun) => begun.await,
                None => std::future::pending().await,
            }
        }
    }
}

impl Limits {
    /// The same for a process that may have so many files open.
    #[must_use]
    pub fn within(self, files: u64) -> Self {
        let (connections, per_address) = server::within(files, self.connections, self.per_address);
        Self { connections, per_address, ..self }
    }
}

impl Default for Limits {
    /// Safe against slow and silent peers, and out of the way of honest ones.
    fn default() -> Self {
        Self {
            connections: 1536,
            per_address: 1152,
            streams: STREAMS,
            greeting: Duration::from_secs(10),
            head_bytes: 16 << 10,
            call: Duration::from_secs(30),
            ping: PING,
            pong: PONG,
            write: Duration::from_secs(30),
            age: AGE,
            grace: Duration::from_secs(25),
        }
    }
}
