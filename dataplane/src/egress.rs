//! Where deliveries may go by an address that a Processor's author wrote, as the administrator of this process says. Pure.
//!
//! A Service's address was found by whoever compiled, so it is not looked at here. An address that came with an event was
//! written by whoever may publish, and must not lead to where tools ask: a question is a POST like any other.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use evhub_routing::{Target, egress::Allowed};
use http::Uri;

/// What is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Egress {
    /// Anything: whoever compiled has looked.
    #[default]
    Any,
    /// These alone.
    Only(Vec<Allowed>),
}

/// The listeners of this process that are for whoever runs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools(Arc<[SocketAddr]>);

// === impl Egress ===

impl Egress {
    /// This machine alone.
    pub fn loopback() -> Self {
        let here = ["127.0.0.0/8", "::1", "localhost"].map(str::parse);
        Self::Only(here.into_iter().flatten().collect())
    }

    /// Whether deliveries may go there.
    pub fn allows(&self, target: &Target) -> bool {
        match (self, target.url.host()) {
            (Self::Any, _) => true,
            (Self::Only(_), _) if target.service.is_some() => true,
            (Self::Only(_), None) => false,
            (Self::Only(allowed), Some(host)) => allowed.iter().any(|one| one.is_of(host)),
        }
    }
}

// === impl Tools ===

impl Tools {
    /// Those at these addresses.
    pub fn new(listeners: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(listeners.into_iter().collect())
    }

    /// Whether one of them is at an address, as far as can be told without asking for names: by any way to this machine that
    /// is the same on every machine.
    pub fn are_at(&self, url: &Uri) -> bool {
        let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
        let here = self.0.iter().filter(|listener| listener.port() == port);
        let mut ips = here.map(|listener| listener.ip().to_canonical());
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.');
        let Ok(ip) = host.parse::<IpAddr>().map(|ip| ip.to_canonical()) else {
            let name = host.to_ascii_lowercase();
            return (name == "localhost" || name.ends_with(".localhost")) && ips.next().is_some();
        };
        ips.any(|listener| ip.is_loopback() || ip.is_unspecified() || ip == listener)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evhub_routing::{Name, Protocol};

    use super::*;

    fn target(url: &str, service: Option<Name>) -> Target {
        Target {
            url: url.parse().unwrap(),
            service,
            protocol: Protocol::CloudEvents,
            timeout: Duration::from_secs(1),
            headers: Vec::new(),
            secret: false,
            tls: None,
        }
    }

    #[test]
    fn only_what_is_written_is_allowed() {
        for (allowed, yes, no) in [
            (
                "billing.example.com",
                &["billing.example.com", "Billing.Example.com:8080"][..],
                &["example.com", "x.billing.example.com"][..],
            ),
            (
                "10.0.0.0/8",
                &["10.1.2.3", "[::ffff:10.1.2.3]:1"],
                &["11.0.0.1", "localhost", "[::a00:1]", "010.0.0.1.x"],
            ),
            ("127.0.0.1", &["127.0.0.1:80"], &["127.0.0.2", "localhost", "[::1]"]),
            ("fd00::/8", &["[fd12::1]"], &["[fe80::1]", "10.0.0.1"]),
            ("0.0.0.0/0", &["169.254.169.254"], &["[::1]", "metadata"]),
            ("::/0", &["[::1]"], &["127.0.0.1"]),
        ] {
            let only = Egress::Only(vec![allowed.parse().unwrap()]);
            assert_eq!(
                only,
                Egress::Only(vec![allowed.parse::<Allowed>().unwrap().to_string().parse().unwrap()])
            );
            for host in yes {
                assert!(only.allows(&target(&format!("http://{host}/events"), None)), "{allowed}: {host}");
            }
            for host in no {
                assert!(!only.allows(&target(&format!("http://{host}/events"), None)), "{allowed}: {host}");
            }
        }
    }

    #[test]
    fn this_machine_is_loopback() {
        let here = Egress::loopback();
        for host in ["127.0.0.1:80", "127.1.2.3", "[::1]:9000", "localhost:9000", "LOCALHOST"] {
            assert!(here.allows(&target(&format!("http://{host}/events"), None)), "{host}");
        }
        for host in ["10.0.0.1", "[::2]", "metadata", "localhost.example.com", "0.0.0.0"] {
            assert!(!here.allows(&target(&format!("http://{host}/events"), None)), "{host}");
        }
    }

    #[test]
    fn tools_are_found_by_every_way_to_this_machine() {
        let at = |listener: &str| Tools::new([listener.parse().unwrap()]);
        let (here, all, outside) = (at("127.0.0.1:8083"), at("0.0.0.0:80"), at("10.0.0.1:8083"));
        for (tools, url, are_there) in [
            (&here, "http://127.0.0.1:8083/processors", true),
            (&here, "http://127.9.9.9:8083/", true),
            (&here, "http://localhost:8083/", true),
            (&here, "http://LocalHost.:8083/", true),
            (&here, "http://a.localhost:8083/", true),
            (&here, "http://[::1]:8083/", true),
            (&here, "http://[::ffff:127.0.0.1]:8083/", true),
            (&here, "http://0.0.0.0:8083/", true),
            (&here, "http://[::]:8083/", true),
            (&here, "http://127.0.0.1:8084/", false),
            (&here, "http://127.0.0.1/", false),
            (&here, "http://10.0.0.1:8083/", false),
            (&here, "http://tx.shop:8083/", false),
            (&all, "http://localhost/", true),
            (&all, "https://localhost/", false),
            (&all, "https://localhost:80/", true),
            (&outside, "http://10.0.0.1:8083/", true),
            (&outside, "http://10.0.0.2:8083/", false),
            (&Tools::default(), "http://127.0.0.1:8083/", false),
        ] {
            assert_eq!(tools.are_at(&url.parse().unwrap()), are_there, "{tools:?} {url}");
        }
    }

    #[test]
    fn services_need_no_permission_and_nothing_else_is_allowed_unasked() {
        let none = Egress::Only(Vec::new());
        assert!(!none.allows(&target("http://127.0.0.1/", None)));
        assert!(none.allows(&target("http://billing.shop.svc/", Some(Name::new("shop", "billing")))));
        assert!(Egress::Any.allows(&target("http://127.0.0.1/", None)));
    }
}
