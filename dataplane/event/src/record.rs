//! A record: an event, or a piece of the hub's own state, as the log stores it.

use bytes::Bytes;

/// The record header that holds an event's tags, as `a,b`: what a filter by tags looks at. Ours, like every header that
/// begins `evhub-`: it controls how the event is handled here and is no part of the event.
pub const TAGS: &str = "evhub-tags";

/// The record header that holds an event's delays for Processors with a `delayKey`, as `reminder=10m,escalate=1h`.
pub const DELAY_KEYS: &str = "evhub-delay-keys";

/// The record header that holds how many attempts the event gets at most, as a decimal number. A Processor that allows
/// fewer gives fewer.
pub const MAX_ATTEMPTS: &str = "evhub-max-attempts";

/// The record header that holds how long one attempt may take at most, as a duration such as `2s`. A Processor that
/// allows less gives less.
pub const TIMEOUT: &str = "evhub-timeout";

/// The header that says which timer made an event appear.
pub const TIMER: &str = "evhub-timer";

/// The header that says when an event was due, in milliseconds since the Unix epoch.
pub const DUE: &str = "evhub-due";

/// The header that says which run of a schedule an event is, counted from 1.
pub const OCCURRENCE: &str = "evhub-occurrence";

/// The header that firings of one repeated event have: the uids of the Processors that have cancelled it, as `a,b`.
pub const CHAIN: &str = "evhub-chain";

/// The header that says which Processor a record is for, by its uid: a redriven event's.
pub const PROCESSOR_UID: &str = "evhub-processor-uid";

/// The header that says in which topic a redriven event was published.
pub const ORIGIN: &str = "evhub-origin";

/// What one append writes: Kafka's key, value and headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Decides the partition, and the identity under compaction.
    pub key: Option<Bytes>,
    /// The body; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Named values beside the body, in order; names may repeat.
    pub headers: Vec<Header>,
}

/// One record header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name, as Kafka keeps it: text.
    pub name: String,
    /// The value: bytes.
    pub value: Bytes,
}

impl Record {
    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|header| header.name == name).map(|header| &header.value)
    }

    /// How many bytes of keys, values and headers this record carries.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|h| h.name.len() + h.value.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + headers
    }
}
