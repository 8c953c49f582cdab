//! How a target proves who it is. Checked when read, so that what runs can be used.

use std::{fmt, str::FromStr};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Serialize, Serializer};
use webpki::anchor_from_trusted_cert;

use crate::display;

/// How a target proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The authorities to trust instead of the well-known ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// The name to ask for instead of the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<ServerName>,
}

/// Certificates of authorities: at least one, each of which can be trusted.
#[derive(Clone, PartialEq, Eq)]
pub struct CaBundle(Vec<CertificateDer<'static>>);

/// The text is no [`CaBundle`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBundle {
    /// It is no PEM.
    #[error("not PEM: {0}")]
    Pem(String),
    /// It has no certificate.
    #[error("there is no certificate in it: write at least one, from -----BEGIN CERTIFICATE----- on")]
    Empty,
    /// One certificate is none.
    #[error("certificate {number} cannot be an authority: {problem}")]
    Certificate {
        /// Which, from 1.
        number: usize,
        /// Why not.
        problem: String,
    },
}

/// The name that a certificate must be valid for: a host's, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName(rustls_pki_types::ServerName<'static>);

/// The text is no [`ServerName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a host name nor an IP address")]
pub struct InvalidName;

// === impl CaBundle ===

impl CaBundle {
    /// These, checked.
    pub fn of(certificates: Vec<CertificateDer<'static>>) -> Result<Self, InvalidBundle> {
        if certificates.is_empty() {
            return Err(InvalidBundle::Empty);
        }
        for (index, certificate) in certificates.iter().enumerate() {
            anchor_from_trusted_cert(certificate).map_err(|error| InvalidBundle::Certificate {
                number: index + 1,
                problem: error.to_string(),
            })?;
        }
        Ok(Self(certificates))
    }

    /// The certificates.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}

impl FromStr for CaBundle {
    type Err = InvalidBundle;

    fn from_str(pem: &str) -> Result<Self, InvalidBundle> {
        let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        Self::of(read.map_err(|error| InvalidBundle::Pem(error.to_string()))?)
    }
}

impl fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for CaBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} certificates)", self.0.len())
    }
}

impl Serialize for CaBundle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        display(self, serializer)
    }
}

// === impl ServerName ===

impl ServerName {
    /// The name as TLS has it.
    pub const fn get(&self) -> &rustls_pki_types::ServerName<'static> {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        rustls_pki_types::ServerName::try_from(text.to_owned()).map(Self).map_err(|_| InvalidName)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_str())
    }
}

impl Serialize for ServerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        display(self, serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_authority_is_refused() {
        for (text, problem) in [
            ("", "there is no certificate"),
            ("nonsense", "there is no certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "not PEM"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "not PEM"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 cannot be"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "there is no certificate"),
        ] {
            let error = text.parse::<CaBundle>().unwrap_err().to_string();
            assert!(error.starts_with(problem), "{text:?}: {error}");
        }
    }

    #[test]
    fn names_are_hosts_or_addresses() {
        for text in ["billing.shop.svc", "localhost", "127.0.0.1", "::1"] {
            assert_eq!(text.parse::<ServerName>().unwrap().to_string(), text);
        }
        for text in ["", "a b", "-a", "a..b", "[::1]", "billing:443"] {
            assert_eq!(text.parse::<ServerName>(), Err(InvalidName), "{text}");
        }
    }
}
