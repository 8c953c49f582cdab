//! What a Processor's target comes to, or what is wrong with it.

use std::net::{Ipv4Addr, Ipv6Addr};

use evhub_crds::{Reason, processor};
use evhub_routing::{Name, Protocol, Target, Tls};
use http::{HeaderName, HeaderValue, Uri, uri::Scheme};

use super::invalid;
use crate::{
    verdict::Finding,
    world::{Egress, Settings},
};

/// The target of a Processor in this namespace, or all that is wrong with it.
pub(super) fn target(
    settings: &Settings,
    namespace: &str,
    spec: &processor::Target,
) -> Result<Target, Vec<Finding>> {
    let processor::Target { service: of, url: at, protocol, timeout, headers: given, tls: secured } = spec;
    let url = match (of, at) {
        (Some(of), _) => service(settings, namespace, of, secured.is_some()),
        (None, Some(at)) => url(settings.egress, at),
        // Said already: the spec breaks a rule.
        (None, None) => return Err(Vec::new()),
    };
    let tls = secured.as_ref().map(|secured| tls(namespace, of.as_ref(), secured)).transpose();
    match (url, headers(given), tls) {
        (Ok(url), Ok(headers), Ok(tls)) => {
            Ok(Target { url, protocol: speaks(*protocol), timeout: timeout.get(), headers, tls })
        }
        (url, headers, tls) => Err([url.err(), headers.err(), tls.err()].into_iter().flatten().collect()),
    }
}

fn speaks(protocol: processor::Protocol) -> Protocol {
    match protocol {
        processor::Protocol::CloudEvents => Protocol::CloudEvents,
        processor::Protocol::CloudEventsStructured => Protocol::CloudEventsStructured,
        processor::Protocol::Raw => Protocol::Raw,
        processor::Protocol::EvHubHttp => Protocol::EvHubHttp,
        processor::Protocol::EvHubGrpc => Protocol::EvHubGrpc,
        processor::Protocol::Stream => Protocol::Stream,
    }
}

// === a Service ===

fn service(
    settings: &Settings,
    namespace: &str,
    spec: &processor::Service,
    tls: bool,
) -> Result<Uri, Finding> {
    let processor::Service { name, port, path } = spec;
    let name = Name::new(namespace, name);
    let (scheme, default) = if tls { (Scheme::HTTPS, 443) } else { (Scheme::HTTP, 80) };
    let address = settings.services.find(&name, port.as_ref(), default).ok_or_else(|| {
        let of_port = port.as_ref().map(|port| format!(" (port {port})")).unwrap_or_default();
        let message = format!(
            "it is not known where the Service {name}{of_port} is; outside of a cluster, say so: \
             --service {name}=127.0.0.1:8089"
        );
        Finding::new(Reason::NotFound, Some("spec.target.service"), message)
    })?;
    let path = path.as_deref().unwrap_or("/");
    let url = Uri::builder().scheme(scheme).authority(address).path_and_query(path).build();
    url.map_err(|error| invalid("spec.target.service.path", &error))
}

fn tls(namespace: &str, of: Option<&processor::Service>, spec: &processor::Tls) -> Result<Tls, Finding> {
    let processor::Tls { ca_bundle, server_name } = spec;
    // A Service's certificate is for its own name, wherever the Service is.
    let own = of.map(|service| format!("{}.{namespace}.svc", service.name));
    let name = server_name.clone().or(own).map(|name| name.parse()).transpose();
    let bundle = ca_bundle.as_ref().map(|pem| pem.parse()).transpose();
    Ok(Tls {
        ca_bundle: bundle.map_err(|error| invalid("spec.target.tls.caBundle", &error))?,
        server_name: name.map_err(|error| invalid("spec.target.tls.serverName", &error))?,
    })
}

// === a URL ===

const URL: &str = "spec.target.url";

fn url(egress: Egress, text: &str) -> Result<Uri, Finding> {
    let invalid = |what: &str| Finding::new(Reason::Invalid, Some(URL), format!("not a URL: {what}"));
    let url: Uri = text.parse().map_err(|error: http::uri::InvalidUri| invalid(&error.to_string()))?;
    let host = url.host().ok_or_else(|| invalid("it names no host"))?;
    // A port out of range reads as none at all.
    let port = url.authority().and_then(|authority| authority.as_str().strip_prefix(host));
    if port.is_some_and(|port| !port.is_empty()) && url.port_u16().is_none_or(|port| port == 0) {
        return Err(invalid("a port is between 1 and 65535"));
    }
    match egress {
        Egress::Loopback if is_loopback(host) => Ok(url),
        Egress::Loopback => {
            Err(denied(host, "deliveries go to this machine alone: 127.0.0.0/8, [::1] or localhost"))
        }
        Egress::Denied => Err(denied(host, "the administrator allows no URL targets")),
    }
}

/// Only literal addresses count: what a name resolves to may change after this was decided.
fn is_loopback(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => {
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

fn denied(host: &str, rule: &str) -> Finding {
    let host: String = host.chars().take(64).collect();
    Finding::new(Reason::EgressDenied, Some(URL), format!("{rule} (got host {host})"))
}

fn headers(spec: &[processor::Header]) -> Result<Vec<(HeaderName, HeaderValue)>, Finding> {
    let header = |(index, header): (usize, &processor::Header)| {
        let field = |part| format!("spec.target.headers[{index}].{part}");
        let name = header
            .name
            .parse()
            .map_err(|error: http::header::InvalidHeaderName| invalid(&field("name"), &error))?;
        let mut value =
            HeaderValue::from_str(&header.value).map_err(|error| invalid(&field("value"), &error))?;
        value.set_sensitive(true);
        Ok((name, value))
    };
    spec.iter().enumerate().map(header).collect()
}
