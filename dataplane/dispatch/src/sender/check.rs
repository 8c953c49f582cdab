//! Questions about half messages on the wire: one to its publisher, and what it answered, as it came. I/O.

use std::time::Duration;

use bytes::Bytes;
use evhub_proto::{
    evhub_comm::{Event, Tx},
    evhub_transaction::{CallbackReq, CallbackRsp, evhub_transaction_client::EvhubTransactionClient},
};
use evhub_routing::{Protocol, Target};
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as HttpBody;
use http_body_util::Full;
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;

use super::{
    ANSWER, Senders, always, connect, evhub, http as sender,
    text::{failure, printable},
};
use crate::pace::Endpoint;

/// Asks one publisher; clones share their connections.
#[derive(Clone, Debug)]
pub struct Asker {
    endpoint: Endpoint,
    way: Way,
}

/// How questions get there.
#[derive(Clone, Debug)]
enum Way {
    Http(sender::Client),
    Grpc(Box<connect::Client<Body>>),
    /// They do not: why.
    Barred(String),
}

/// EvHub's callback in the JSON of its own stubs.
pub fn callback_json(event: &Event, tx: &Tx) -> Bytes {
    let tx = json!({ "event_id": tx.event_id, "status": tx.status });
    Bytes::from(json!({ "event": evhub::event_json(event), "tx": tx }).to_string())
}

impl Senders {
    /// Whoever asks this publisher.
    pub fn asker(&self, target: &Target) -> Asker {
        let endpoint = self.endpoints.of(target, std::time::Instant::now());
        let way = match target.protocol {
            Protocol::EvHubGrpc => {
                connect::client(target, &self.roots).map(|client| Way::Grpc(Box::new(client)))
            }
            _ => sender::Client::new(target, &self.roots).map(Way::Http),
        };
        Asker { endpoint, way: way.unwrap_or_else(Way::Barred) }
    }
}

impl Asker {
    /// What is known of the publisher by everybody who asks it.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Asks by one HTTP request: the status of the answer, and its body.
    pub async fn post(
        &self,
        target: &Target,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(u16, Bytes), String> {
        always(target, &mut headers);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.url.clone();
        *request.headers_mut() = headers;
        let asking = async {
            match &self.way {
                Way::Http(sender::Client::Plain(pool)) => {
                    answered(pool.send(request).await.map_err(|error| failure(&error))?).await
                }
                Way::Http(sender::Client::Tls(client)) => {
                    answered(client.request(request).await.map_err(|error| failure(&error))?).await
                }
                Way::Grpc(_) => Err("it is asked by gRPC alone".to_owned()),
                Way::Barred(why) => Err(why.clone()),
            }
        };
        within(target.timeout, asking).await
    }

    /// Asks by one call.
    pub async fn call(&self, target: &Target, request: CallbackReq) -> Result<CallbackRsp, String> {
        let client = match &self.way {
            Way::Grpc(client) => (**client).clone(),
            Way::Http(_) => return Err("it is asked by HTTP alone".to_owned()),
            Way::Barred(why) => return Err(why.clone()),
        };
        let client = EvhubTransactionClient::with_origin(client, target.url.clone());
        let mut client = client.max_decoding_message_size(ANSWER);
        let mut request = tonic::Request::new(request);
        request.set_timeout(target.timeout);
        let asking = async {
            let answer = client.callback(request).await;
            answer.map(tonic::Response::into_inner).map_err(|status| {
                let (code, said) = (status.code(), printable(status.message().as_bytes()));
                std::error::Error::source(&status).map_or(format!("{code:?}: {said}"), failure)
            })
        };
        within(target.timeout, asking).await
    }
}

async fn within<T>(span: Duration, asking: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match timeout_at(Instant::now() + span, asking).await {
        Ok(asked) => asked,
        Err(_) => Err(format!("no answer within {span:?}")),
    }
}

async fn answered<B>(response: Response<B>) -> Result<(u16, Bytes), String>
where
    B: HttpBody<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let status = response.status().as_u16();
    match sender::read(response, ANSWER + 1, ANSWER + 1).await {
        (body, _) if body.len() > ANSWER => Err(format!("an answer of more than {ANSWER} bytes")),
        (_, Some(error)) => Err(failure(&error)),
        (body, None) => Ok((status, body)),
    }
}
