//! What goes in: resources as somebody wrote them, and what only the hub knows about each.

use std::str::FromStr;

use evhub_crds::{Kind, Port, StartFrom, schema::Problem};
use evhub_routing::{EvhubName, Name};
use http::uri::Authority;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// All that there is to decide on.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// What the administrator decided.
    pub settings: Settings,
    /// The objects, in any order.
    pub objects: Vec<Object>,
}

/// What the administrator decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Heads every topic and group of this installation.
    pub prefix: String,
    /// Which URLs may be delivered to.
    pub egress: Egress,
    /// Which EvHub applications a Producer may belong to.
    pub apps: Apps,
    /// Where Services are.
    pub services: Services,
}

/// Where Services are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Services {
    /// Where somebody says, and nowhere else.
    Mapped(Vec<Mapping>),
    /// Wherever the names of a cluster lead; nobody looked whether they do.
    Assumed,
}

/// Where a Service is, for a hub that is in no cluster: `shop/billing=127.0.0.1:8089`, or `shop/billing:http=…` for one of
/// its ports alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    service: Name,
    port: Option<String>,
    address: Authority,
}

/// The text is no [`Mapping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write NAMESPACE/SERVICE=HOST:PORT, as shop/billing=127.0.0.1:8089; of one port alone, shop/billing:http=…"
)]
pub struct InvalidMapping;

/// Which EvHub applications a Producer may belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apps {
    /// The one that is called as its namespace is.
    Own,
    /// Any.
    Any,
}

/// Which URLs may be delivered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// None.
    Denied,
    /// Those of this machine alone.
    Loopback,
}

/// Something that claims to be a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// It has a kind and a name; what it says may still be nonsense.
    Resource(Box<Resource>),
    /// Nobody can tell what it is to be.
    Undecodable {
        /// Its kind, where that much can be read.
        kind: Option<Kind>,
        /// Where it was found.
        origin: Origin,
        /// Why it cannot be read.
        problem: String,
    },
}

/// A resource as somebody wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name, not yet checked.
    pub name: Name,
    /// Its identity, which a later resource of the same name does not share.
    pub uid: String,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created: i64,
    /// How often its spec has been written.
    pub generation: i64,
    /// What earlier versions of it said that may not change.
    pub kept: Kept,
    /// Where it was found, unless in an API server.
    pub origin: Option<Origin>,
    /// The author has been warned that growing reorders keys, and wants it (`evhub.dev/allow-order-break: "true"`).
    pub allow_order_break: bool,
    /// Fields that do not exist. Empty for what an API server stored: it has dropped what it does not know.
    pub unknown: Vec<Problem>,
    /// What it says.
    pub spec: Option<Value>,
}

/// Where an object was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The file, as its reader was told.
    pub file: String,
    /// The line on which the object begins, from 1.
    pub line: u64,
}

/// What a resource said when it was last accepted and may not change; nothing yet for a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The partitions of a Producer, or of those that a Processor reads; they never become fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// How EvHub's clients call a Producer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evhub: Option<EvhubName>,
    /// A Processor's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<StartFrom>,
}

// === impl Services ===

impl Services {
    /// The address of a Service's port, if there is one. What is said of that port goes before what is said of all.
    pub(crate) fn find(&self, service: &Name, port: Option<&Port>, default: u16) -> Option<Authority> {
        match self {
            Self::Assumed => {
                let number = match port {
                    Some(Port::Number(number)) => *number,
                    // What number it has nobody knows here.
                    Some(Port::Name(_)) | None => default,
                };
                format!("{}.{}.svc:{number}", service.name, service.namespace).parse().ok()
            }
            Self::Mapped(all) => {
                let port = port.map_or_else(|| default.to_string(), ToString::to_string);
                let of_it = || all.iter().filter(|mapping| mapping.service == *service);
                let exact = of_it().find(|mapping| mapping.port.as_ref() == Some(&port));
                let found = exact.or_else(|| of_it().find(|mapping| mapping.port.is_none()));
                found.map(|mapping| mapping.address.clone())
            }
        }
    }
}

impl FromStr for Mapping {
    type Err = InvalidMapping;

    fn from_str(text: &str) -> Result<Self, InvalidMapping> {
        let (service, address) = text.split_once('=').ok_or(InvalidMapping)?;
        let (namespace, rest) = service.split_once('/').unwrap_or(("default", service));
        let (name, port) = rest.split_once(':').map_or((rest, None), |(name, port)| (name, Some(port)));
        let labels = [Some(namespace), Some(name), port];
        if !labels.into_iter().flatten().all(evhub_crds::rules::is_dns_label) {
            return Err(InvalidMapping);
        }
        let address: Authority = address.parse().map_err(|_| InvalidMapping)?;
        let whole = !address.host().is_empty() && !address.as_str().contains('@');
        if !whole || address.port_u16().is_none_or(|port| port == 0) {
            return Err(InvalidMapping);
        }
        Ok(Self { service: Name::new(namespace, name), port: port.map(Into::into), address })
    }
}

// === impl Resource ===

/// The value that asks for what [`Resource::allow_order_break`] describes.
pub const ALLOW_ORDER_BREAK: &str = "evhub.dev/allow-order-break";

impl Resource {
    /// Orders resources that claim one name: the oldest first, then by place, then by anything that tells them apart,
    /// so that the order in which they are found does not matter.
    pub(crate) fn seniority(&self) -> impl Ord + '_ {
        let spec = self.spec.as_ref().map(Value::to_string);
        let age = (self.created, &self.origin, &self.uid, self.generation);
        (self.kind, &self.name, age, spec, &self.unknown, &self.kept, self.allow_order_break)
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mapping_is_refused() {
        for text in [
            "",
            "shop/billing",
            "shop/billing=",
            "shop/billing=8089",
            "shop/billing=host",
            "=host:1",
            "Shop/b=h:1",
            "shop/b/c=h:1",
            "shop/b:=h:1",
            "shop/b=h:0",
            "shop/b=h:99999",
            "shop/b=u@h:1",
            "shop/b=http://h:1",
        ] {
            assert_eq!(text.parse::<Mapping>(), Err(InvalidMapping), "{text}");
        }
    }

    #[test]
    fn a_port_of_its_own_goes_before_all() {
        let mappings = ["shop/billing=h:1", "shop/billing:grpc=h:2", "shop/billing:8080=h:3", "audit=h:4"];
        let services = Services::Mapped(mappings.map(|text| text.parse().unwrap()).to_vec());
        let find = |namespace: &str, name: &str, port: Option<Port>| {
            services.find(&Name::new(namespace, name), port.as_ref(), 80).map(|found| found.to_string())
        };
        for (port, address) in [
            (None, "h:1"),
            (Some(Port::Name("http".into())), "h:1"),
            (Some(Port::Name("grpc".into())), "h:2"),
            (Some(Port::Number(8080)), "h:3"),
        ] {
            assert_eq!(find("shop", "billing", port.clone()).as_deref(), Some(address), "{port:?}");
        }
        assert_eq!(find("default", "audit", None).as_deref(), Some("h:4"));
        assert_eq!(find("shop", "audit", None), None);
    }
}
