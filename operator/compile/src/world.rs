//! What goes in: resources as somebody wrote them, and what only the hub knows about each.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use evhub_crds::{Kind, Port, StartFrom, schema::Problem};
use evhub_routing::{EvhubName, Name, Removal, egress::Allowed};
use http::{HeaderValue, uri::Authority};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::annotations::Asked;

/// All that there is to decide on.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// What the administrator decided.
    pub settings: Settings,
    /// The objects, in any order.
    pub objects: Vec<Object>,
    /// The topics of Producers that were deleted, as long as dataplanes are to delete them.
    pub removals: Removals,
}

/// Topics that are to be deleted, by the name of the Producer that had them.
pub type Removals = BTreeMap<Name, Arc<Removal>>;

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
    /// What Secrets say.
    pub secrets: Secrets,
    /// Where events are kept.
    pub log: Log,
}

/// What Secrets say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// There are none here.
    None,
    /// Whatever is needed; nobody looked.
    Assumed,
    /// This, of those that are named.
    Known(Arc<BTreeMap<Name, Secret>>),
}

/// A Secret, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secret {
    /// Its values that can be headers', marked sensitive. Those of a Secret that has gone stay.
    pub values: BTreeMap<String, HeaderValue>,
    /// Why it is not known now, or what of it cannot be a header's value: of a key, or of all.
    pub problems: BTreeMap<Option<String>, String>,
}

impl Secrets {
    /// A value, and what is wrong with it: one that was known once is used on.
    pub(crate) fn find(&self, secret: &Name, key: &str) -> (Option<HeaderValue>, Option<String>) {
        let lacks = |problem: String| (None, Some(problem));
        match self {
            Self::None => {
                lacks("there are no Secrets here; write its value, or run this in a cluster".to_owned())
            }
            Self::Assumed => (Some(HeaderValue::from_static("assumed")), None),
            Self::Known(all) => {
                let Some(found) = all.get(secret) else {
                    return lacks(format!("Secret {secret} was not read yet"));
                };
                let value = found.values.get(key).cloned();
                let problem = found.problems.get(&None).or_else(|| found.problems.get(&Some(key.to_owned())));
                match (&value, problem) {
                    (_, Some(problem)) => (value, Some(problem.clone())),
                    (None, None) => lacks(format!("Secret {secret} has no key {key}")),
                    (Some(_), None) => (value, None),
                }
            }
        }
    }
}

/// Where events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Log {
    /// In a log of the hub's own: it has one copy of everything, and no brokers' settings.
    Embedded,
    /// In Kafka, where these topics may be brought by Producers.
    Kafka(Vec<Grant>),
}

/// Names beyond its own that the Producers of a namespace may have, of topics or of EvHub's applications: `shop=shop.orders`,
/// `shop=shop.*`, or `*=*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// `None` is any.
    namespace: Option<String>,
    /// What a name begins with, or is.
    name: String,
    /// Whether there may be more of it.
    open: bool,
}

/// The text is no [`Grant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write NAMESPACE=NAME, as shop=shop.orders or shop=shop.*; of any namespace, *=…")]
pub struct InvalidGrant;

/// Where Services are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Services {
    /// Where somebody says, and nowhere else.
    Mapped(Vec<Mapping>),
    /// Wherever the names of a cluster lead; nobody looked whether they do.
    Assumed,
    /// Where the names of a cluster lead, of those that there are.
    Cluster(Arc<BTreeMap<Name, Service>>),
}

/// A Service of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its ports: their names, where they have any, and numbers.
    pub ports: Vec<(Option<String>, u16)>,
    /// Whether it is but another name for a host elsewhere (`ExternalName`).
    pub is_external: bool,
}

/// Why a Service's address is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// There is no such Service.
    Service,
    /// It has no such port.
    Port,
    /// It is but another name for a host elsewhere.
    External,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Apps {
    /// The one that is called as its namespace is, and these.
    Granted(Vec<Grant>),
    /// Any.
    Any,
}

/// Which URLs may be delivered to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Egress {
    /// Those of these hosts and networks.
    Only(Vec<Allowed>),
    /// Those of this machine alone.
    Loopback,
    /// Any, as far as this is decided here: whoever delivers decides as well.
    Anywhere,
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
    /// What its annotations ask of the hub.
    pub asked: Asked,
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
    /// A Producer's topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// What EvHub's administrators call a Processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatcher: Option<String>,
    /// A Processor's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<StartFrom>,
}

// === impl Grant ===

impl Grant {
    /// Any topic, to any namespace.
    pub const ANY: Self = Self { namespace: None, name: String::new(), open: true };

    pub(crate) fn permits(&self, namespace: &str, name: &str) -> bool {
        let of = self.namespace.as_deref().is_none_or(|ours| ours == namespace);
        of && if self.open { name.starts_with(&self.name) } else { name == self.name }
    }
}

impl FromStr for Grant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        let (namespace, name) = text.split_once('=').ok_or(InvalidGrant)?;
        let (name, open) = name.strip_suffix('*').map_or((name, false), |start| (start, true));
        let namespace = Some(namespace).filter(|namespace| *namespace != "*");
        let is_sound = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
        if !name.chars().all(is_sound)
            || (name.is_empty() && !open)
            || !namespace.is_none_or(evhub_crds::rules::is_dns_label)
        {
            return Err(InvalidGrant);
        }
        Ok(Self { namespace: namespace.map(Into::into), name: name.into(), open })
    }
}

// === impl Services ===

impl Services {
    /// The address of a Service's port, if there is one. What is said of that port goes before what is said of all.
    pub(crate) fn find(
        &self,
        service: &Name,
        port: Option<&Port>,
        default: u16,
    ) -> Result<Authority, Missing> {
        match self {
            Self::Assumed => {
                let number = match port {
                    Some(Port::Number(number)) => *number,
                    // What number it has nobody knows here.
                    Some(Port::Name(_)) | None => default,
                };
                in_cluster(service, number)
            }
            Self::Cluster(all) => {
                let found = all.get(service).ok_or(Missing::Service)?;
                if found.is_external {
                    return Err(Missing::External);
                }
                let is_meant = |(name, number): &&(Option<String>, u16)| match port {
                    Some(Port::Number(wanted)) => number == wanted,
                    Some(Port::Name(wanted)) => name.as_ref() == Some(wanted),
                    None => *number == default,
                };
                let (_, number) = found.ports.iter().find(is_meant).ok_or(Missing::Port)?;
                in_cluster(service, *number)
            }
            Self::Mapped(all) => {
                let port = port.map_or_else(|| default.to_string(), ToString::to_string);
                let of_it = || all.iter().filter(|mapping| mapping.service == *service);
                let exact = of_it().find(|mapping| mapping.port.as_ref() == Some(&port));
                let found = exact.or_else(|| of_it().find(|mapping| mapping.port.is_none()));
                let missing = if of_it().next().is_some() { Missing::Port } else { Missing::Service };
                found.map(|mapping| mapping.address.clone()).ok_or(missing)
            }
        }
    }

    /// Whether one is told where Services are, rather than finding them.
    pub(crate) fn are_told(&self) -> bool {
        matches!(self, Self::Mapped(_))
    }
}

/// By its name and not by its address: the name stays when the Service is made anew, is what its certificate is for and what
/// its virtual hosts go by, and is all that a headless one has.
fn in_cluster(service: &Name, number: u16) -> Result<Authority, Missing> {
    format!("{}.{}.svc:{number}", service.name, service.namespace).parse().map_err(|_| Missing::Service)
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

// === impl World ===

impl World {
    /// A world in which nothing is being deleted.
    pub fn new(settings: Settings, objects: Vec<Object>) -> Self {
        Self { settings, objects, removals: Removals::new() }
    }
}

// === impl Resource ===

impl Resource {
    /// Orders resources that claim one name: the oldest first, then by place, then by anything that tells them apart,
    /// so that the order in which they are found does not matter.
    pub(crate) fn seniority(&self) -> impl Ord + '_ {
        let spec = self.spec.as_ref().map(Value::to_string);
        let age = (self.created, &self.origin, &self.uid, self.generation);
        (self.kind, &self.name, age, spec, &self.unknown, &self.kept, &self.asked)
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
    fn a_grant_is_of_a_namespace_and_of_topics() {
        for text in ["", "shop", "shop=", "=a", "Shop=a", "shop=a b", "shop=*a", "sh*=a"] {
            assert_eq!(text.parse::<Grant>(), Err(InvalidGrant), "{text}");
        }
        for (text, namespace, topic, permitted) in [
            ("shop=shop.orders", "shop", "shop.orders", true),
            ("shop=shop.orders", "shop", "shop.orders2", false),
            ("shop=shop.orders", "web", "shop.orders", false),
            ("shop=shop.*", "shop", "shop.orders", true),
            ("shop=shop.*", "shop", "shopping", false),
            ("*=open.*", "web", "open.x", true),
        ] {
            assert_eq!(text.parse::<Grant>().unwrap().permits(namespace, topic), permitted, "{text} {topic}");
        }
        assert_eq!("*=*".parse(), Ok(Grant::ANY));
    }

    #[test]
    fn a_port_of_its_own_goes_before_all() {
        let mappings = ["shop/billing=h:1", "shop/billing:grpc=h:2", "shop/billing:8080=h:3", "audit=h:4"];
        let services = Services::Mapped(mappings.map(|text| text.parse().unwrap()).to_vec());
        let find = |namespace: &str, name: &str, port: Option<Port>| {
            let found = services.find(&Name::new(namespace, name), port.as_ref(), 80);
            found.ok().map(|found| found.to_string())
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
