//! The rules that a schema cannot say: once as CEL for the API server, once as Rust, with the same words.

use std::{borrow::Cow, fmt, sync::LazyLock};

use kube::core::Rule;
use regex_lite::Regex;

use crate::{Duration, Quantity, processor::Header};

/// Both ends of what a field may say.
#[derive(Clone, Copy, Debug)]
pub struct Between<T> {
    /// The least.
    pub min: T,
    /// The most.
    pub max: T,
}

/// A rule that a spec breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, from the spec on.
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    pub message: String,
}

/// How large the largest event of a Producer may be.
pub const EVENT_BYTES: Between<Quantity> =
    Between { min: Quantity::from_bytes(1 << 10), max: Quantity::from_bytes(8 << 20) };

/// How large the largest batch of a Producer may be.
pub const BATCH_BYTES: Between<Quantity> =
    Between { min: Quantity::from_bytes(1 << 10), max: Quantity::from_bytes(32 << 20) };

/// How long one attempt may take.
pub const TIMEOUT: Between<Duration> =
    Between { min: Duration::from_millis(1), max: Duration::from_secs(10 * 60) };

/// How long the waits between attempts may be.
pub const WAIT: Between<Duration> =
    Between { min: Duration::from_millis(1), max: Duration::from_secs(24 * 3600) };

/// How many bytes of events may be parked.
pub const PARKED_BYTES: Between<Quantity> =
    Between { min: Quantity::from_bytes(1 << 20), max: Quantity::from_bytes(1 << 40) };

/// How long events and dead letters may be kept.
pub const RETENTION: Between<Duration> =
    Between { min: Duration::from_secs(60), max: Duration::from_secs(87_600 * 3600) };

/// How many bytes of events may be kept.
pub const RETENTION_BYTES: Between<Quantity> =
    Between { min: Quantity::from_bytes(1 << 20), max: Quantity::from_bytes(1 << 50) };

/// In how long so many attempts may begin.
pub const PER: Between<Duration> =
    Between { min: Duration::from_millis(100), max: Duration::from_secs(3600) };

/// How long an event may be tried.
pub const AGE: Between<Duration> =
    Between { min: Duration::from_secs(1), max: Duration::from_secs(9600 * 3600) };

/// How long a publisher may delay an event at the most.
pub const DELAY: Between<Duration> =
    Between { min: Duration::from_secs(1), max: Duration::from_secs(87_600 * 3600) };

/// How long after each other a schedule may fire.
pub const EVERY: Between<Duration> =
    Between { min: Duration::from_secs(1), max: Duration::from_secs(87_600 * 3600) };

/// How much later than its instant a run may fire.
pub const JITTER: Between<Duration> =
    Between { min: Duration::from_millis(0), max: Duration::from_secs(24 * 3600) };

/// How late a run may be and is not missed.
pub const DEADLINE: Between<Duration> =
    Between { min: Duration::from_secs(1), max: Duration::from_secs(168 * 3600) };

/// How long a publish may be known by its key.
pub const WINDOW: Between<Duration> =
    Between { min: Duration::from_secs(1), max: Duration::from_secs(168 * 3600) };

/// How long it may be waited before a half message is asked about.
pub const CHECK_INTERVAL: Between<Duration> =
    Between { min: Duration::from_secs(1), max: Duration::from_secs(24 * 3600) };

/// Headers that belong to HTTP, to gRPC, to CloudEvents or to evhub, in lower case.
pub const RESERVED_HEADERS: &str = "^(host|connection|keep-alive|proxy-connection|expect|content-.*|transfer-encoding|te|\
                                    trailer|upgrade|grpc-.*|ce-.*|evhub-.*|traceparent|tracestate)$";

/// Said when a header has two values, or none.
pub const ONE_VALUE: &str = "exactly one of value and secret must be given";

/// Said of such a header.
pub const RESERVED_HEADER: &str = "belongs to HTTP, to gRPC, to CloudEvents or to evhub; use another name";

/// Topics that no Producer may bring: ours, and Kafka's own.
pub const TOPICS_OF_OURS: &str = "^(evhub[.]|__|[.]{1,2}$)";

/// Said of such a topic.
pub const TOPIC_OF_OURS: &str = "must not begin with evhub. or __, which are the hub's and Kafka's own";

/// Said when the topic is to be another one.
pub const TOPIC_IMMUTABLE: &str = "topic.name is immutable; create a new Producer";

/// Said when a topic is to be adopted that has no name.
pub const ADOPT_NEEDS_NAME: &str = "adopt needs the name of the topic";

/// Said when more copies are needed than there are.
pub const MIN_OVER_REPLICAS: &str = "minInSyncReplicas must not be more than replicas";

/// Settings of a topic that follow from other fields.
pub const MANAGED_SETTINGS: [&str; 7] = [
    "cleanup.policy",
    "max.message.bytes",
    "message.timestamp.type",
    "min.insync.replicas",
    "retention.bytes",
    "retention.ms",
    "unclean.leader.election.enable",
];

/// Said of such a setting, and of what is none at all.
pub const CONFIG_MANAGED: &str =
    "must be a setting by Kafka's name that evhub does not manage itself, such as compression.type";

/// Said when a header comes twice.
pub const SAME_HEADER: &str = "names of headers must differ, whatever their case";

/// Said when more events of one key may be parked than of all.
pub const PER_KEY_OVER_PARKED: &str = "maxParkedPerKey must not be more than maxParked";

/// Said when order is kept by partition and one event may wait.
pub const DELAY_IN_ORDER: &str =
    "delayKey cannot be combined with order Partition: one delayed event would hold all others";

/// Said when a target is at two places, or at none.
pub const ONE_TARGET: &str = "exactly one of service and url must be given";

/// Said when a schedule has two paces, or none.
pub const ONE_PACE: &str = "exactly one of cron and every must be given";

/// Said when clocks are named that nothing is read on.
pub const ZONE_NEEDS_CRON: &str = "timeZone goes with cron alone: an interval knows no clocks";

/// Said when a schedule ends before it begins.
pub const END_AFTER_START: &str = "end.time must be after start";

/// Said when a schedule has two ends, or none.
pub const ONE_END: &str = "exactly one of time and count must be given";

/// Said when an event has its data twice.
pub const ONE_DATA: &str = "only one of data and dataBase64 may be given";

/// Said when a connection is to be secured that is not.
pub const TLS_NEEDS_HTTPS: &str = "tls needs an https URL";

/// Said when the first wait is longer than the longest.
pub const INITIAL_OVER_MAX: &str = "initial must not be longer than max";

/// Said when the number of partitions falls.
pub const PARTITIONS_SHRINK: &str = "partitions may grow, never shrink; create a Producer of another name";

/// Said when a Processor is to read from fewer partitions than it did.
pub const FEWER_PARTITIONS: &str =
    "the partitions of its Producers may become more, never fewer; create a Processor of another name";

/// Said when a Producer is to be called otherwise.
pub const EVHUB_IMMUTABLE: &str = "evhub is immutable; create a new Producer";

/// Said when a Processor is to be called otherwise.
pub const DISPATCHER_IMMUTABLE: &str = "evhub is immutable; create a new Processor";

/// Said when a Processor is to start elsewhere.
pub const START_FROM_IMMUTABLE: &str = "startFrom is immutable; create a new Processor";

/// Said when a resource's name cannot be part of a topic's.
pub const NAME: &str = "must be a DNS label: at most 63 lower-case letters, digits and '-', no dots";

// === as CEL ===

/// A duration within its limits.
pub(crate) fn duration(limits: Between<Duration>) -> Rule {
    let Between { min, max } = limits;
    Rule::new(format!("duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"))
        .message(limits.message().as_str())
}

/// A quantity within its limits.
pub(crate) fn quantity(limits: Between<Quantity>) -> Rule {
    let Between { min, max } = limits;
    Rule::new(format!(
        "quantity(string(self)).compareTo(quantity('{min}')) >= 0 && \
         quantity(string(self)).compareTo(quantity('{max}')) <= 0"
    ))
    .message(limits.message().as_str())
}

/// A Service against a URL.
pub(crate) fn one_target() -> Rule {
    Rule::new("has(self.service) != has(self.url)").message(ONE_TARGET)
}

/// A crontab against an interval.
pub(crate) fn one_pace() -> Rule {
    Rule::new("has(self.cron) != has(self.every)").message(ONE_PACE)
}

/// Clocks against the crontab that is read on them.
pub(crate) fn zone_needs_cron() -> Rule {
    Rule::new("!has(self.timeZone) || has(self.cron)").message(ZONE_NEEDS_CRON)
}

/// The end of a schedule against its start.
pub(crate) fn end_after_start() -> Rule {
    Rule::new(
        "!has(self.start) || !has(self.end) || !has(self.end.time) || timestamp(self.end.time) > timestamp(self.start)",
    )
    .message(END_AFTER_START)
}

/// An end by time against one by count.
pub(crate) fn one_end() -> Rule {
    Rule::new("has(self.time) != has(self.count)").message(ONE_END)
}

/// What the pattern of an instant lets through and no calendar has.
pub(crate) fn instant() -> Rule {
    Rule::new("timestamp(self) >= timestamp('1970-01-01T00:00:00Z')").message("must be an instant since 1970")
}

/// TLS against the URL.
pub(crate) fn tls_needs_https() -> Rule {
    Rule::new("!has(self.tls) || !has(self.url) || self.url.startsWith('https://')").message(TLS_NEEDS_HTTPS)
}

/// A port's number.
pub(crate) fn port() -> Rule {
    Rule::new("type(self) == string || (int(self) >= 1 && int(self) <= 65535)")
        .message("must be between 1 and 65535")
}

/// The first wait against the longest.
pub(crate) fn initial_within_max() -> Rule {
    Rule::new("duration(self.initial) <= duration(self.max)").message(INITIAL_OVER_MAX)
}

/// The parked of one key against all.
pub(crate) fn parked_per_key_within_parked() -> Rule {
    Rule::new("self.maxParkedPerKey <= self.maxParked").message(PER_KEY_OVER_PARKED)
}

/// A delay against the order.
pub(crate) fn no_delay_in_partition_order() -> Rule {
    Rule::new("!has(self.delayKey) || self.delivery.order != 'Partition'").message(DELAY_IN_ORDER)
}

/// A header's name against those of others.
pub(crate) fn header_not_reserved() -> Rule {
    Rule::new(format!("!self.name.lowerAscii().matches('{RESERVED_HEADERS}')")).message(RESERVED_HEADER)
}

/// A header's value against its Secret.
pub(crate) fn one_value() -> Rule {
    Rule::new("has(self.value) != has(self.secret)").message(ONE_VALUE)
}

/// Headers against each other.
pub(crate) fn headers_unique() -> Rule {
    Rule::new("self.all(h, self.exists_one(o, o.name.lowerAscii() == h.name.lowerAscii()))")
        .message(SAME_HEADER)
}

/// What the pattern of a start lets through and no calendar has.
pub(crate) fn start() -> Rule {
    Rule::new(
        "self in ['Latest', 'Earliest', 'Committed'] || timestamp(self) >= timestamp('1970-01-01T00:00:00Z')",
    )
    .message("must be Latest, Earliest, Committed or an instant since 1970")
}

/// Partitions against the ones before.
pub(crate) fn partitions_never_shrink() -> Rule {
    Rule::new("self.partitions >= oldSelf.partitions").message(PARTITIONS_SHRINK)
}

/// The topic against the one before.
pub(crate) fn topic_immutable() -> Rule {
    Rule::new("has(self.name) == has(oldSelf.name) && (!has(self.name) || self.name == oldSelf.name)")
        .message(TOPIC_IMMUTABLE)
}

/// The topic against those that are not to be brought.
pub(crate) fn topic_not_ours() -> Rule {
    Rule::new(format!("!self.matches('{TOPICS_OF_OURS}')")).message(TOPIC_OF_OURS)
}

/// What is to be adopted against what is named.
pub(crate) fn adopt_needs_name() -> Rule {
    Rule::new("!self.adopt || has(self.name)").message(ADOPT_NEEDS_NAME)
}

/// The copies that are needed against those that there are.
pub(crate) fn copies_within_replicas() -> Rule {
    Rule::new("self.minInSyncReplicas <= self.replicas").message(MIN_OVER_REPLICAS)
}

/// The settings against those that follow from other fields.
pub(crate) fn config_not_managed() -> Rule {
    let managed = MANAGED_SETTINGS.map(|name| format!("'{name}'")).join(", ");
    // The form of a name is for Kafka to say there: a pattern over names of any length costs an API server too much.
    Rule::new(format!("self.all(k, !(k in [{managed}]))")).message(CONFIG_MANAGED)
}

/// What EvHub's clients call it against what they did.
pub(crate) fn evhub_immutable() -> Rule {
    immutable_evhub(EVHUB_IMMUTABLE)
}

/// What EvHub's administrators call it against what they did.
pub(crate) fn dispatcher_immutable() -> Rule {
    immutable_evhub(DISPATCHER_IMMUTABLE)
}

fn immutable_evhub(message: &str) -> Rule {
    Rule::new("has(self.evhub) == has(oldSelf.evhub) && (!has(self.evhub) || self.evhub == oldSelf.evhub)")
        .message(message)
}

/// The start against the one before.
pub(crate) fn start_from_immutable() -> Rule {
    Rule::new("self.startFrom == oldSelf.startFrom").message(START_FROM_IMMUTABLE)
}

/// The API server already refuses everything else that is no DNS label.
pub(crate) fn name() -> Rule {
    Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')").message(NAME)
}

// === as Rust ===

/// The name of a setting of a topic.
const SETTING: &str = "^[a-z][a-z0-9.]{0,127}$";

/// Whether a topic is the hub's or Kafka's own by its name, or none at all.
pub(crate) fn is_topic_of_ours(name: &str) -> bool {
    static OURS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(TOPICS_OF_OURS).expect("the pattern is well-formed"));
    OURS.is_match(name)
}

/// Whether this may be set of a topic.
pub(crate) fn is_free_setting(name: &str) -> bool {
    static FORM: LazyLock<Regex> = LazyLock::new(|| Regex::new(SETTING).expect("the pattern is well-formed"));
    FORM.is_match(name) && !MANAGED_SETTINGS.contains(&name)
}

/// Whether a name can be part of a topic's.
pub fn is_dns_label(name: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// What is wrong with the headers of a target.
pub(crate) fn headers(headers: &[Header]) -> impl Iterator<Item = Violation> {
    static RESERVED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(RESERVED_HEADERS).expect("the pattern is a constant, and tested"));
    let named = headers.iter().enumerate().filter_map(|(index, header)| {
        let earlier = headers[..index].iter().find(|other| other.name.eq_ignore_ascii_case(&header.name));
        let message = match earlier {
            _ if RESERVED.is_match(&header.name.to_ascii_lowercase()) => RESERVED_HEADER,
            // The same spelling twice is refused by the schema.
            Some(earlier) if earlier.name != header.name => SAME_HEADER,
            _ => return None,
        };
        let field = format!("target.headers[{index}].name").into();
        Some(Violation { field, message: format!("{message} (got {})", header.name) })
    });
    let valued =
        headers.iter().enumerate().filter(|(_, header)| header.value.is_some() == header.secret.is_some());
    let valued = valued.map(|(index, _)| Violation {
        field: format!("target.headers[{index}]").into(),
        message: ONE_VALUE.into(),
    });
    named.chain(valued)
}

impl<T: Copy + PartialOrd + fmt::Display> Between<T> {
    /// What is wrong with a value, if anything.
    pub(crate) fn check(self, field: &'static str, value: T) -> Option<Violation> {
        let within = self.min <= value && value <= self.max;
        (!within)
            .then(|| Violation { field: field.into(), message: format!("{} (got {value})", self.message()) })
    }

    fn message(self) -> String {
        format!("must be between {} and {}", self.min, self.max)
    }
}
