//! What a Processor's target comes to, or what is wrong with it.

use std::net::{Ipv4Addr, Ipv6Addr};

use evhub_crds::{
    Port, Reason,
    processor::{self, SecretKey},
};
use evhub_routing::{Name, Protocol, Target, Tls};
use http::{HeaderName, HeaderValue, Uri, uri::Scheme};
use serde_json::Value;

use super::invalid;
use crate::{
    verdict::Finding,
    world::{Egress, Missing, Services, Settings},
};

/// What is said of where something is: a Service, or a URL.
pub(crate) struct Place<'a> {
    /// The field that says so.
    pub field: &'a str,
    pub service: Option<&'a processor::Service>,
    pub url: Option<&'a str>,
    /// Whether a Service is spoken to over TLS.
    pub tls: bool,
}

/// The Secrets that a Processor of this namespace names, whatever else it says.
pub fn secrets(namespace: &str, spec: &Value) -> Vec<Name> {
    let headers = spec.pointer("/target/headers").and_then(Value::as_array).into_iter().flatten();
    let names = headers.filter_map(|header| header.pointer("/secret/name")?.as_str());
    names.map(|name| Name::new(namespace, name)).collect()
}

/// The target of a Processor in this namespace, and what of it is not as it should be; or all that is wrong with it.
pub(super) fn target(
    settings: &Settings,
    namespace: &str,
    spec: &processor::Target,
) -> Result<(Target, Vec<Finding>), Vec<Finding>> {
    let processor::Target { service: of, url: at, protocol, timeout, headers: given, tls: secured } = spec;
    let place =
        Place { field: "spec.target", service: of.as_ref(), url: at.as_deref(), tls: secured.is_some() };
    // Said already: the spec breaks a rule.
    let url = place.address(settings, namespace).ok_or_else(Vec::new)?;
    let tls = secured.as_ref().map(|secured| tls(namespace, of.as_ref(), secured)).transpose();
    match (url, headers(settings, namespace, given), tls) {
        (Ok(url), Ok((headers, degraded)), Ok(tls)) => {
            let service = of.as_ref().map(|service| Name::new(namespace, &service.name));
            let secret = given.iter().any(|header| header.secret.is_some());
            let (protocol, timeout) = (speaks(*protocol), timeout.get());
            Ok((Target { url, service, protocol, timeout, headers, secret, tls }, degraded))
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

// === an address ===

impl Place<'_> {
    /// Where that is, seen from this namespace; `None` if nothing is said.
    pub(crate) fn address(&self, settings: &Settings, namespace: &str) -> Option<Result<Uri, Finding>> {
        match (self.service, self.url) {
            (Some(service), _) => Some(self.of_service(settings, namespace, service)),
            (None, Some(text)) => Some(url(&settings.egress, &format!("{}.url", self.field), text)),
            (None, None) => None,
        }
    }

    fn of_service(
        &self,
        settings: &Settings,
        namespace: &str,
        spec: &processor::Service,
    ) -> Result<Uri, Finding> {
        let processor::Service { name, port, path } = spec;
        let name = Name::new(namespace, name);
        let (scheme, default) = if self.tls { (Scheme::HTTPS, 443) } else { (Scheme::HTTP, 80) };
        let address = settings.services.find(&name, port.as_ref(), default).map_err(|missing| {
            nowhere(self.field, (&settings.services, missing), &name, port.as_ref(), default)
        })?;
        let path = path.as_deref().unwrap_or("/");
        let url = Uri::builder().scheme(scheme).authority(address).path_and_query(path).build();
        url.map_err(|error| invalid(&format!("{}.service.path", self.field), &error))
    }
}

/// Why it is not known where a Service is, and what to do.
fn nowhere(
    at: &str,
    (services, missing): (&Services, Missing),
    name: &Name,
    port: Option<&Port>,
    default: u16,
) -> Finding {
    let said = port.map(|port| format!(" (port {port})")).unwrap_or_default();
    let port = port.map_or_else(|| default.to_string(), ToString::to_string);
    let (reason, field, message) = match missing {
        Missing::Port if services.are_told() => (
            Reason::PortNotFound,
            ".service.port",
            format!(
                "the Service {name} is known, and its port {port} is not; outside of a cluster, say where it is: \
                 --service {name}:{port}=127.0.0.1:8089"
            ),
        ),
        Missing::Port => (
            Reason::PortNotFound,
            ".service.port",
            format!("the Service {name} has no port {port}; deliveries begin when it has"),
        ),
        Missing::Service if services.are_told() => (
            Reason::NotFound,
            ".service",
            format!(
                "it is not known where the Service {name}{said} is; outside of a cluster, say so: \
                 --service {name}=127.0.0.1:8089"
            ),
        ),
        Missing::Service => (
            Reason::NotFound,
            ".service",
            format!("there is no Service {name}; deliveries begin when there is"),
        ),
        Missing::External => (
            Reason::EgressDenied,
            ".service",
            format!(
                "the Service {name} is of type ExternalName, which leads out of the cluster: write its host \
                 into {at}.url, where the administrator allows it"
            ),
        ),
    };
    Finding::new(reason, Some(&format!("{at}{field}")), message)
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

fn url(egress: &Egress, field: &str, text: &str) -> Result<Uri, Finding> {
    let invalid = |what: &str| Finding::new(Reason::Invalid, Some(field), format!("not a URL: {what}"));
    let denied = |host: &str, rule: &str| {
        let host: String = host.chars().take(64).collect();
        Finding::new(Reason::EgressDenied, Some(field), format!("{rule} (got host {host})"))
    };
    let url: Uri = text.parse().map_err(|error: http::uri::InvalidUri| invalid(&error.to_string()))?;
    let host = url.host().ok_or_else(|| invalid("it names no host"))?;
    // A port out of range reads as none at all.
    let port = url.authority().and_then(|authority| authority.as_str().strip_prefix(host));
    if port.is_some_and(|port| !port.is_empty()) && url.port_u16().is_none_or(|port| port == 0) {
        return Err(invalid("a port is between 1 and 65535"));
    }
    match egress {
        Egress::Anywhere => Ok(url),
        Egress::Loopback if is_loopback(host) => Ok(url),
        Egress::Loopback => {
            Err(denied(host, "deliveries go to this machine alone: 127.0.0.0/8, [::1] or localhost"))
        }
        Egress::Only(allowed) if allowed.iter().any(|one| one.is_of(host)) => Ok(url),
        Egress::Only(allowed) if allowed.is_empty() => {
            Err(denied(host, "the administrator allows no URL targets"))
        }
        Egress::Only(_) => Err(denied(host, "it is none that the administrator allows by --egress-allow")),
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

/// Headers, and what of them is not as it should be.
type Headers = (Vec<(HeaderName, HeaderValue)>, Vec<Finding>);

fn headers(settings: &Settings, namespace: &str, spec: &[processor::Header]) -> Result<Headers, Finding> {
    let (mut headers, mut degraded) = (Vec::new(), Vec::new());
    for (index, header) in spec.iter().enumerate() {
        let field = |part| format!("spec.target.headers[{index}].{part}");
        let name = header
            .name
            .parse()
            .map_err(|error: http::header::InvalidHeaderName| invalid(&field("name"), &error))?;
        let mut value = match (&header.value, &header.secret) {
            (Some(value), _) => {
                HeaderValue::from_str(value).map_err(|error| invalid(&field("value"), &error))?
            }
            (None, Some(SecretKey { name, key })) => {
                let (value, problem) = settings.secrets.find(&Name::new(namespace, name), key);
                let finding =
                    |message| Finding::new(Reason::SecretUnavailable, Some(&field("secret")), message);
                match (value, problem) {
                    (Some(value), None) => value,
                    (Some(value), Some(problem)) => {
                        degraded.push(finding(format!("{problem}; the value that it had is sent on")));
                        value
                    }
                    (None, problem) => {
                        let problem = problem.unwrap_or_default();
                        return Err(finding(format!("{problem}; nothing is delivered until it has a value")));
                    }
                }
            }
            // Said already: the spec breaks a rule.
            (None, None) => continue,
        };
        value.set_sensitive(true);
        headers.push((name, value));
    }
    Ok((headers, degraded))
}
