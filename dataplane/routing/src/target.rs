//! Where deliveries go, and how the target is spoken to.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{Name, Tls, display};

/// Where deliveries go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// An absolute `http` or `https` URL.
    #[serde(serialize_with = "display")]
    pub url: Uri,
    /// The Service that it is; `None` where the Processor's author wrote the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Name>,
    /// How to speak to it.
    pub protocol: Protocol,
    /// How long one attempt may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// What is sent with every attempt beside the protocol's own headers. Names are unique and none that a protocol
    /// sets; values are marked sensitive, so that they appear in no print.
    #[serde(serialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether any of these values comes from a Secret: such a target is kept in no copy, on disk or in the log.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// How an `https` target proves who it is; `None` asks for a name of the URL's host from a well-known authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// How to speak to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Protocol {
    /// CloudEvents over HTTP, binary mode.
    CloudEvents,
    /// CloudEvents over HTTP, structured mode.
    CloudEventsStructured,
    /// The data alone, with its content type.
    Raw,
    /// EvHub's dispatch request as JSON over HTTP.
    EvHubHttp,
    /// EvHub's dispatch request over gRPC.
    EvHubGrpc,
    /// `evhub.dispatch.v1.Receiver/Deliver`: one gRPC stream for many deliveries.
    Stream,
}

impl Target {
    /// Whether the same connections do for both: they differ at most in how long an attempt may take.
    pub fn connects_like(&self, other: &Self) -> bool {
        let Self { url, service: _, protocol, timeout: _, headers, secret: _, tls } = self;
        (url, protocol, headers, tls) == (&other.url, &other.protocol, &other.headers, &other.tls)
    }
}

/// Names alone: a value is most likely a credential.
fn names<S: Serializer>(headers: &[(HeaderName, HeaderValue)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(headers.len()))?;
    for (name, _) in headers {
        map.serialize_entry(name.as_str(), "(not shown)")?;
    }
    map.end()
}
