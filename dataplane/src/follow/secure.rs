//! How the control stream is secured: by TLS, in which both sides show a certificate of one authority. I/O.

use std::{path::Path, sync::Arc};

use evhub_certificates::Certificates;
pub use evhub_certificates::Unusable;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, crypto::ring};

/// Makes connections to whoever serves control, by the files as they are now: `ca.crt`, `tls.crt` and `tls.key`.
pub(super) fn connector(
    folder: &Path,
    mut tcp: HttpConnector,
) -> Result<HttpsConnector<HttpConnector>, Unusable> {
    tcp.enforce_http(false);
    let config = config(folder)?;
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http2().wrap_connector(tcp))
}

/// Whether the files make sense now.
pub fn check(folder: &Path) -> Result<(), Unusable> {
    config(folder).map(drop)
}

fn config(folder: &Path) -> Result<ClientConfig, Unusable> {
    let Certificates { roots, chain, key } = Certificates::read(folder)?;
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Unusable::unfit(folder, &error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| Unusable::unfit(folder, &error))
}
