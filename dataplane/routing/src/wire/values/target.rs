//! Where deliveries go, and its message. Pure.

use evhub_messages as proto;
use http::{HeaderName, HeaderValue, Uri};
use rustls_pki_types::CertificateDer;

use super::{Invalid, Wire, needed, optional, parsed, unknown};
use crate::{CaBundle, Protocol, Target, Tls};

impl Wire for Target {
    type Message = proto::Target;

    fn encode(&self) -> proto::Target {
        let header = |(name, value): &(HeaderName, HeaderValue)| proto::Header {
            name: name.to_string(),
            value: value.as_bytes().to_vec().into(),
        };
        proto::Target {
            url: self.url.to_string(),
            protocol: self.protocol.encode(),
            timeout: Some(self.timeout.encode()),
            headers: self.headers.iter().map(header).collect(),
            tls: self.tls.as_ref().map(Wire::encode),
            service: self.service.as_ref().map(Wire::encode),
            secret: self.secret,
        }
    }

    fn decode(message: proto::Target) -> Result<Self, Invalid> {
        let url: Uri = parsed("url", &message.url)?;
        if url.scheme().is_none() || url.authority().is_none() {
            return Err(Invalid::new(format!("must be absolute (got {url})")).within("url"));
        }
        Ok(Self {
            url,
            service: optional("service", message.service)?,
            protocol: Protocol::decode(message.protocol)?,
            timeout: needed("timeout", message.timeout)?,
            headers: message.headers.into_iter().map(header).collect::<Result<_, _>>()?,
            secret: message.secret,
            tls: optional("tls", message.tls)?,
        })
    }
}

/// Its value is in no error: it is most likely a credential.
fn header(message: proto::Header) -> Result<(HeaderName, HeaderValue), Invalid> {
    let name: HeaderName = parsed("headers", &message.name)?;
    let mut value = HeaderValue::from_maybe_shared(message.value)
        .map_err(|_| Invalid::new("not a header's value").within(&format!("headers[{name}]")))?;
    value.set_sensitive(true);
    Ok((name, value))
}

impl Wire for Protocol {
    type Message = i32;

    fn encode(&self) -> i32 {
        let message = match self {
            Self::CloudEvents => proto::Protocol::CloudEvents,
            Self::CloudEventsStructured => proto::Protocol::CloudEventsStructured,
            Self::Raw => proto::Protocol::Raw,
            Self::EvHubHttp => proto::Protocol::EvhubHttp,
            Self::EvHubGrpc => proto::Protocol::EvhubGrpc,
            Self::Stream => proto::Protocol::Stream,
        };
        message.into()
    }

    fn decode(number: i32) -> Result<Self, Invalid> {
        match proto::Protocol::try_from(number) {
            Ok(proto::Protocol::CloudEvents) => Ok(Self::CloudEvents),
            Ok(proto::Protocol::CloudEventsStructured) => Ok(Self::CloudEventsStructured),
            Ok(proto::Protocol::Raw) => Ok(Self::Raw),
            Ok(proto::Protocol::EvhubHttp) => Ok(Self::EvHubHttp),
            Ok(proto::Protocol::EvhubGrpc) => Ok(Self::EvHubGrpc),
            Ok(proto::Protocol::Stream) => Ok(Self::Stream),
            Ok(proto::Protocol::Unspecified) | Err(_) => Err(unknown("protocol", number)),
        }
    }
}

impl Wire for Tls {
    type Message = proto::Tls;

    fn encode(&self) -> proto::Tls {
        let ca_bundle = self.ca_bundle.as_ref().map(|bundle| proto::CaBundle {
            certificates: bundle.certificates().iter().map(|one| one.to_vec().into()).collect(),
        });
        proto::Tls { ca_bundle, server_name: self.server_name.as_ref().map(ToString::to_string) }
    }

    fn decode(message: proto::Tls) -> Result<Self, Invalid> {
        let bundle = |proto::CaBundle { certificates }| {
            CaBundle::of(certificates.iter().map(|one| CertificateDer::from(one.to_vec())).collect())
        };
        let ca_bundle = message.ca_bundle.map(bundle).transpose();
        Ok(Self {
            ca_bundle: ca_bundle.map_err(|error| Invalid::new(error).within("caBundle"))?,
            server_name: message.server_name.map(|name| parsed("serverName", &name)).transpose()?,
        })
    }
}
