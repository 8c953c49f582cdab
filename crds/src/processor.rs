//! Processor: a service that receives events.
//!
//! The words of each enumeration are explained at the field that takes them: a schema describes fields only.

#![expect(unreachable_pub, reason = "the derive repeats each type inside a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Condition, Duration, Port, Stands, StartFrom,
    delivery::{Delivery, Order},
    rules::{self, Violation},
};

/// What a Processor says. A refused one, or one whose Producers cannot be resolved, receives nothing; its place in the
/// log is kept.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "evhub.dev",
    version = "v1alpha1",
    kind = "Processor",
    namespaced,
    derive = "PartialEq",
    status = "ProcessorStatus",
    shortname = "evr",
    category = "evhub",
    selectable = ".spec.suspend",
    selectable = ".spec.target.service.name",
    doc = "A Processor delivers the events of its Producers to a service, each at least once.",
    validation = rules::name(),
    printcolumn(name = "Sources", type_ = "string", json_path = ".status.sources"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.target"),
    printcolumn(name = "Order", type_ = "string", json_path = ".spec.delivery.order", priority = 1),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::start_from_immutable())]
#[x_kube(validation = rules::dispatcher_immutable())]
#[x_kube(validation = rules::no_delay_in_partition_order())]
pub struct ProcessorSpec {
    /// How EvHub's administrators call this Processor. Immutable, and unique in the hub: of two the older one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evhub: Option<Dispatcher>,
    /// The Producers whose events are delivered, with equally many partitions. While one of them is missing, or may not be
    /// read any more, the Processor receives nothing from any; it goes on by itself when the Producer is there.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["namespace".into(), "name".into()]))]
    pub producers: Vec<ProducerRef>,
    /// Which events are delivered: those for which all parts hold that are given. The others are passed over and
    /// counted. Changing it touches neither what is parked nor what has been passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Which of the delays that a publisher set by key (`evhubdelaykeys`) delays an event for this Processor. An event
    /// without that key, and one without any, is delivered at once. While an event waits, later ones of its key go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[^,=\\s]([^,=]*[^,=\\s])?$"))]
    pub delay_key: Option<String>,
    /// Where deliveries go.
    pub target: Target,
    /// How deliveries are made.
    #[serde(default)]
    pub delivery: Delivery,
    /// Where a Processor begins that has not read yet: with `Latest`, at the events published since it was created, less
    /// 5 s because clocks differ; with `Earliest`, at the first event that its Producers still have; with `Committed`,
    /// where its consumer group has committed, and as with `Latest` in a partition for which it has not; with an RFC 3339
    /// instant such as `2026-01-31T08:00:00Z`, which may be still to come, at the first event published then or later.
    /// Immutable.
    #[serde(default)]
    #[x_kube(validation = rules::start())]
    pub start_from: StartFrom,
    /// Whether nothing is delivered for now. The Processor keeps its place in the log and all that is parked; attempts
    /// under way end as they end.
    #[serde(default)]
    pub suspend: bool,
}

/// Which events are delivered.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// The event has at least one of these tags (`evhubtags`). Leave it out for all events: an empty list is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 128), regex(pattern = "^[^,\\s]([^,]*[^,\\s])?$")), extend("x-kubernetes-list-type" = "set"))]
    pub tags: Option<Vec<String>>,
    /// The event's `type` is one of these, or begins as one of these that ends in `*`: `shop.order.*`. Leave it out for
    /// all types: an empty list is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256), regex(pattern = "^([^*]+[*]?|[*])$")), extend("x-kubernetes-list-type" = "set"))]
    pub types: Option<Vec<String>>,
    /// A condition in the Common Expression Language, at most 1024 bytes: `event` is the event's attributes, all of them
    /// strings, `data` its body, if that is JSON: `data.amount > 100 && event.subject.startsWith('de/')`. An event for
    /// which it cannot be told, because a field is missing or of another type, is not delivered. Neither is one whose
    /// body is larger than 256Ki, has more than 10000 values, or is too large for this expression to be certainly short,
    /// if the expression looks into it. Comprehensions may not be nested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub cel: Option<String>,
}

/// How EvHub's administrators call a Processor.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dispatcher {
    /// Their `dispatcher_id`: `NAMESPACE.NAME`, if it is not given. A target is not told it: EvHub's dispatch request has no
    /// place for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127), regex(pattern = "^[A-Za-z0-9._-]+$"))]
    pub dispatcher_id: Option<String>,
}

/// A Producer by its name.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerRef {
    /// The Producer's namespace, if it is not the Processor's own. Only where that Producer's `access.processors` names
    /// the Processor's.
    #[serde(default)]
    #[schemars(length(max = 63), regex(pattern = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"))]
    pub namespace: String,
    /// The Producer's name.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

/// Where deliveries go.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::one_target())]
#[x_kube(validation = rules::tls_needs_https())]
pub struct Target {
    /// A Service of the Processor's own namespace. Either this or `url`. `evhub dev` is told where it is:
    /// `--service shop/billing=127.0.0.1:8089`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// An absolute `http` or `https` URL without user or fragment, for example `http://127.0.0.1:8089/events`. Only where
    /// the administrator allows it; `evhub dev` allows loopback. Redirects are not followed: they count as failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = URL_PATTERN), extend("example" = "http://127.0.0.1:8089/events"))]
    pub url: Option<String>,
    /// How to speak to the service. `CloudEvents`: in the HTTP binding's binary mode; any 2xx
    /// answer is success, and its body is ignored. `CloudEventsStructured`: the same in structured mode. `Raw`: the data
    /// alone, with its own content type. `EvHubHTTP`: EvHub's dispatch request as JSON; an answer whose `ret.code` is
    /// not 0 is a failure, and 30000 ends the event for this Processor. `EvHubGRPC`: the same as a gRPC call. `Stream`: one
    /// gRPC stream for many deliveries (`evhub.dispatch.v1.Receiver/Deliver`), each acknowledged by itself. The first four
    /// are `POST`s over HTTP/1.1, or over HTTP/2 where an `https` target offers it; gRPC is spoken over HTTP/2, also
    /// without TLS.
    #[serde(default)]
    pub protocol: Protocol,
    /// How long one attempt may take, from connecting to the last byte of the answer, between 1ms and 10m. An attempt
    /// that takes longer has failed, although the service may have done its work; it will see the event again.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = rules::duration(rules::TIMEOUT))]
    pub timeout: Duration,
    /// Headers to send with every attempt beside the protocol's own. Their values appear in no log and no snapshot, but
    /// whoever may read this resource reads a `value`; a `secret` is a Secret's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]), validation = rules::headers_unique())]
    pub headers: Vec<Header>,
    /// How an `https` target proves who it is. With `service`, giving it (`{}` does) is what makes it `https`. Without it
    /// an `https` URL's host must have a certificate by an authority that the hub's system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A Service of the Processor's own namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its name.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Which of its ports, by name or number; 80 if it is not given, or 443 with `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::port())]
    pub port: Option<Port>,
    /// The path to deliver to, with or without a query; `/` if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = "^/[!-\"$-~]*$"))]
    pub path: Option<String>,
}

/// How an `https` target proves who it is.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Certificates of the authorities to trust instead of the system's own, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub ca_bundle: Option<String>,
    /// The name, or address, that the target's certificate must be valid for, instead of the URL's host; with `service`,
    /// instead of `NAME.NAMESPACE.svc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// A header to send.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::header_not_reserved())]
#[x_kube(validation = rules::one_value())]
pub struct Header {
    /// Its name, in any case; none that belongs to HTTP, to gRPC, to CloudEvents or to evhub.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"))]
    pub name: String,
    /// Its value: visible ASCII characters, with spaces between them. Either this or `secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096), regex(pattern = "^[!-~]([ -~]*[!-~])?$"))]
    pub value: Option<String>,
    /// Where its value is: a key of a Secret of the Processor's own namespace. While that is not there, nothing is delivered,
    /// and nothing is lost; a value that is rotated is sent within a minute or so. In a cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretKey>,
}

/// A key of a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key in it. Its value is what is sent, without line ends at its end.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// How to speak to a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// The HTTP binding's binary mode.
    #[default]
    CloudEvents,
    /// The HTTP binding's structured mode.
    CloudEventsStructured,
    /// The data alone.
    Raw,
    /// EvHub's dispatch request as JSON.
    #[serde(rename = "EvHubHTTP")]
    EvHubHttp,
    /// EvHub's dispatch request over gRPC.
    #[serde(rename = "EvHubGRPC")]
    EvHubGrpc,
    /// One gRPC stream for many deliveries.
    Stream,
}

/// What has become of a Processor.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessorStatus {
    /// The generation that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The Producers, as one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub sources: Option<String>,
    /// Where deliveries go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub target: Option<String>,
    /// How many partitions it reads; never fewer than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// How far it is behind, in orders of magnitude: not there while it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
    /// What it said when it was accepted last, and runs as, while what it says now is not obeyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands: Option<Stands>,
    /// How it is doing: `Ready` sums up `Accepted`, `ResolvedRefs` and `Programmed`; `Suspended`, `Degraded` and `Stalled`
    /// are there where they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// How far a Processor is behind. Written when a count has gained or lost a digit for a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// When that was so.
    pub time: Time,
    /// How many events lie before it.
    pub backlog: i64,
    /// When the oldest of them was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_time: Option<Time>,
    /// How many wait for another attempt.
    pub parked: i64,
    /// About how many dead letters it has.
    pub dead_lettered: i64,
}

/// A host name, an IPv4 address or an IPv6 address in brackets; a port; a path with or without a query.
pub(crate) const URL_PATTERN: &str =
    "^https?://([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?(/[!-\"$-~]*)?$";

// === impl ProcessorSpec ===

impl ProcessorSpec {
    /// The rules that this spec breaks by itself.
    pub fn violations(&self) -> Vec<Violation> {
        let timeout = rules::TIMEOUT.check("target.timeout", self.target.timeout);
        timeout
            .into_iter()
            .chain(self.target.violations())
            .chain(rules::headers(&self.target.headers))
            .chain(self.delivery.violations())
            .chain(self.delayed_in_order())
            .collect()
    }

    fn delayed_in_order(&self) -> Option<Violation> {
        let crossed = self.delay_key.is_some() && self.delivery.order == Order::Partition;
        crossed.then(|| Violation { field: "delayKey".into(), message: rules::DELAY_IN_ORDER.into() })
    }
}

impl Target {
    fn violations(&self) -> impl Iterator<Item = Violation> {
        let Self { service, url, tls, .. } = self;
        let plain = url.as_ref().is_some_and(|url| !url.starts_with("https://"));
        let said =
            |field: &'static str, message: &str| Violation { field: field.into(), message: message.into() };
        [
            (service.is_some() == url.is_some()).then(|| said("target", rules::ONE_TARGET)),
            (tls.is_some() && plain).then(|| said("target.tls", rules::TLS_NEEDS_HTTPS)),
        ]
        .into_iter()
        .flatten()
    }
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}
