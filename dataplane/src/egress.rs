//! Where deliveries may go by an address that a Processor's author wrote, as the administrator of this process says. Pure.
//!
//! A Service's address was found by whoever compiled, so it is not looked at here.

use evhub_routing::{Target, egress::Allowed};

/// What is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Egress {
    /// Anything: whoever compiled has looked.
    #[default]
    Any,
    /// These alone.
    Only(Vec<Allowed>),
}

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
    fn services_need_no_permission_and_nothing_else_is_allowed_unasked() {
        let none = Egress::Only(Vec::new());
        assert!(!none.allows(&target("http://127.0.0.1/", None)));
        assert!(none.allows(&target("http://billing.shop.svc/", Some(Name::new("shop", "billing")))));
        assert!(Egress::Any.allows(&target("http://127.0.0.1/", None)));
    }
}
