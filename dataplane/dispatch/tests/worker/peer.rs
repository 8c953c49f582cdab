//! A target that speaks gRPC, HTTP/2 and TLS, answers as its scripts say, and counts its connections.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use evhub_proto::{
    dispatch::{
        Ack, Delivery,
        ack::Result as Word,
        receiver_server::{Receiver, ReceiverServer},
    },
    evhub_processor::{
        DispatchReq, DispatchRsp,
        evhub_processor_server::{EvhubProcessor, EvhubProcessorServer},
    },
};
use futures_util::{Stream, StreamExt};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status, Streaming, body::Body, service::Routes};

/// What a call is answered.
pub(crate) type Called = Result<DispatchRsp, Status>;

/// What a delivery of a stream is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Ack(Word, Option<Duration>, &'static str),
    /// Nothing, ever.
    Silence,
    /// The end of the stream, with this status.
    Break(Status),
    /// The end of the stream, in good order.
    End,
}

type Dispatching = Box<dyn Fn(&DispatchReq) -> Option<Called> + Send + Sync>;
type Delivering = Box<dyn Fn(&Delivery) -> Answer + Send + Sync>;
type Responding = Box<dyn Fn() -> http::Response<Body> + Send + Sync>;

/// What a peer does.
#[derive(Default)]
pub(crate) struct Scripts {
    /// `None` hangs.
    pub(crate) dispatch: Option<Dispatching>,
    pub(crate) deliver: Option<Delivering>,
    /// What the first call is answered, whatever gRPC thinks of it.
    pub(crate) first: Option<Responding>,
    pub(crate) tls: Option<ServerConfig>,
}

/// What a peer saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicUsize,
    pub(crate) streams: AtomicUsize,
    pub(crate) requests: Mutex<Vec<(http::Version, http::HeaderMap)>>,
    pub(crate) calls: Mutex<Vec<DispatchReq>>,
    pub(crate) deliveries: Mutex<Vec<Delivery>>,
}

pub(crate) struct Peer {
    pub(crate) port: u16,
    pub(crate) seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Clone)]
struct Service {
    scripts: Arc<Scripts>,
    seen: Arc<Seen>,
}

impl Peer {
    pub(crate) async fn new(mut scripts: Scripts) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let acceptor = scripts.tls.take().map(|config| TlsAcceptor::from(Arc::new(config)));
        let service = Service { scripts: Arc::new(scripts), seen: Arc::default() };
        let seen = Arc::clone(&service.seen);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                service.seen.connections.fetch_add(1, Relaxed);
                let (service, acceptor) = (service.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => service.serve(stream).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                service.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, seen, accepting }
    }

    pub(crate) async fn dispatching(
        script: impl Fn(&DispatchReq) -> Option<Called> + Send + Sync + 'static,
    ) -> Self {
        Self::new(Scripts { dispatch: Some(Box::new(script)), ..Scripts::default() }).await
    }

    pub(crate) async fn delivering(script: impl Fn(&Delivery) -> Answer + Send + Sync + 'static) -> Self {
        Self::new(Scripts { deliver: Some(Box::new(script)), ..Scripts::default() }).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Relaxed)
    }

    pub(crate) fn streams(&self) -> usize {
        self.seen.streams.load(Relaxed)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Service {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let routes = Routes::new(EvhubProcessorServer::new(self.clone()))
            .add_service(ReceiverServer::new(self.clone()));
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let (mut routes, seen) = (routes.clone(), Arc::clone(&self.seen));
            let scripts = Arc::clone(&self.scripts);
            async move {
                let request = request.map(Body::new);
                let earlier = {
                    let mut requests = seen.requests.lock().unwrap();
                    requests.push((request.version(), request.headers().clone()));
                    requests.len() - 1
                };
                if let (0, Some(first)) = (earlier, &scripts.first) {
                    return Ok(first());
                }
                let grpc =
                    request.headers().get("content-type").is_some_and(|kind| kind == "application/grpc");
                if grpc {
                    return tonic::codegen::Service::call(&mut routes, request).await;
                }
                let mut response = http::Response::new(Body::empty());
                *response.status_mut() = http::StatusCode::NO_CONTENT;
                Ok::<_, Infallible>(response)
            }
        });
        let server = auto::Builder::new(TokioExecutor::new());
        // How a connection ends is the worker's business.
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    }
}

#[tonic::async_trait]
impl EvhubProcessor for Service {
    async fn dispatch(&self, request: Request<DispatchReq>) -> Result<Response<DispatchRsp>, Status> {
        let request = request.into_inner();
        let answer = self.scripts.dispatch.as_ref().map(|script| script(&request));
        self.seen.calls.lock().unwrap().push(request);
        match answer {
            None => Err(Status::unimplemented("no script")),
            Some(None) => std::future::pending().await,
            Some(Some(answer)) => answer.map(Response::new),
        }
    }
}

#[tonic::async_trait]
impl Receiver for Service {
    type DeliverStream = Pin<Box<dyn Stream<Item = Result<Ack, Status>> + Send>>;

    async fn deliver(
        &self,
        request: Request<Streaming<Delivery>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        self.seen.streams.fetch_add(1, Relaxed);
        let service = self.clone();
        let answers = request.into_inner().filter_map(move |delivery| {
            let answer = service.answer(delivery);
            async move { answer }
        });
        let whole = answers.scan((), |(), answer| async move { answer.transpose() });
        Ok(Response::new(Box::pin(whole)))
    }
}

impl Service {
    /// `None` says nothing, `Ok(None)` ends the stream.
    fn answer(&self, delivery: Result<Delivery, Status>) -> Option<Result<Option<Ack>, Status>> {
        let Ok(delivery) = delivery else { return Some(Ok(None)) };
        let answer = self.scripts.deliver.as_ref().map_or(Answer::End, |script| script(&delivery));
        let sequence = delivery.sequence;
        self.seen.deliveries.lock().unwrap().push(delivery);
        match answer {
            Answer::Ack(word, retry_after, message) => Some(Ok(Some(Ack {
                sequence,
                result: word.into(),
                retry_after: retry_after.map(|wait| wait.try_into().unwrap()),
                message: message.to_owned(),
            }))),
            Answer::Silence => None,
            Answer::Break(status) => Some(Err(status)),
            Answer::End => Some(Ok(None)),
        }
    }
}

// === certificates ===

/// An authority and what it signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server whose certificate is for a name, and has expired or not.
    pub(crate) fn server(&self, name: &str, expired: bool, alpn: &[&str]) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateDer::from(params.signed_by(&key, &self.issuer).unwrap());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}
