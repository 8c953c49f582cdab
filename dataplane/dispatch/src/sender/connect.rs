//! Connections to a target: reused, bounded, and with TLS where its URL says so. I/O.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use evhub_routing::{CaBundle, Protocol, Target};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::resolve::Resolver;

/// Makes TCP connections.
pub(super) type HttpConnector = connect::HttpConnector<Resolver>;

/// A client that keeps its connections.
pub(super) type Client<B> = legacy::Client<HttpsConnector<HttpConnector>, B>;

/// How long a connection is kept that nobody uses, and how many of them.
pub(super) const IDLE: (Duration, usize) = (Duration::from_secs(30), 512);
/// How long connecting may go on when the attempt that wanted it has given up: another may be glad of it.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// How long a peer may leave unacknowledged what it was sent. This finds machines that are gone; pings of HTTP/2 would find
/// them as well, but many servers take more than one in five minutes for an attack.
const GONE: Duration = Duration::from_secs(20);
/// How large the head of an answer may be.
pub(super) const HEAD: usize = 64 << 10;
/// The same for HTTP/2, where it comes apart already.
const HEADERS: u32 = 32 << 10;

/// The well-known authorities of this system, read when somebody first needs them.
#[derive(Clone, Debug, Default)]
pub(super) struct Roots(Arc<OnceLock<Arc<RootCertStore>>>);

/// A client for one target, or why there can be none.
pub(super) fn client<B>(target: &Target, roots: &Roots) -> Result<Client<B>, String>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    let is_grpc = matches!(target.protocol, Protocol::EvHubGrpc | Protocol::Stream);
    let connector = connector(target, roots, is_grpc)?;
    let client = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE.0)
        .pool_max_idle_per_host(IDLE.1)
        .http1_max_buf_size(HEAD)
        .http2_max_header_list_size(HEADERS)
        .http2_only(is_grpc)
        .build(connector);
    Ok(client)
}

/// Makes connections without TLS, and those that it is spoken over.
pub(super) fn tcp() -> HttpConnector {
    let mut tcp = connect::HttpConnector::new_with_resolver(Resolver::new());
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(GONE));
    tcp.set_connect_timeout(Some(CONNECT));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(GONE));
    tcp
}

fn connector(target: &Target, roots: &Roots, is_grpc: bool) -> Result<HttpsConnector<HttpConnector>, String> {
    let tcp = tcp();
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls(target, roots)?).https_or_http();
    let name = target.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
    let builder = match name {
        Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name.get().clone())),
        None => builder,
    };
    Ok(if is_grpc {
        builder.enable_http2().wrap_connector(tcp)
    } else {
        builder.enable_all_versions().wrap_connector(tcp)
    })
}

fn tls(target: &Target, roots: &Roots) -> Result<ClientConfig, String> {
    let is_https = target.url.scheme() == Some(&http::uri::Scheme::HTTPS);
    let bundle = target.tls.as_ref().and_then(|tls| tls.ca_bundle.as_ref());
    let trusted = match bundle {
        Some(bundle) => Arc::new(of(bundle)),
        None if is_https => roots.well_known()?,
        None => Arc::new(RootCertStore::empty()),
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot speak TLS: {error}"))?;
    Ok(config.with_root_certificates(trusted).with_no_client_auth())
}

fn of(bundle: &CaBundle) -> RootCertStore {
    let mut trusted = RootCertStore::empty();
    // All of them: the bundle was checked when it was read.
    trusted.add_parsable_certificates(bundle.certificates().iter().cloned());
    trusted
}

impl Roots {
    fn well_known(&self) -> Result<Arc<RootCertStore>, String> {
        if let Some(known) = self.0.get() {
            return Ok(Arc::clone(known));
        }
        let found = rustls_native_certs::load_native_certs();
        let mut trusted = RootCertStore::empty();
        let (usable, _) = trusted.add_parsable_certificates(found.certs);
        if usable == 0 {
            let problem = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(format!(
                "this system knows no certificate authorities{problem}; install them, set SSL_CERT_FILE, or name the \
                 target's own in spec.target.tls.caBundle"
            ));
        }
        Ok(Arc::clone(self.0.get_or_init(|| Arc::new(trusted))))
    }
}
