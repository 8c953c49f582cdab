//! A publish that is safe to repeat: what is asked of the ledger, and what it remembers of it. Pure.
//!
//! Two publishes are the same by a key: one that the publisher gives, or the event's source and id. The first one within a
//! window claims the key and is published, in one transaction; who comes later with the same content is told what the first
//! one was told. The window is counted by the log's clock, so that it does not matter who leads, or for how long nobody did.

use std::{sync::Arc, time::Duration};

use evhub_event::{
    Record,
    controls::{Repeat, When},
};
use prost::Message as _;
use xxhash_rust::xxh3::Xxh3;

use crate::{Submit, TimerId, wire};

/// The shortest window: a publisher that heard nothing has at least so long to ask again.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// What makes two publishes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By<'a> {
    /// A key that the publisher gives.
    Key(&'a str),
    /// The event's source and id.
    Event(&'a str, &'a str),
}

/// An event that is to be published unless it was already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The event, and where to. When is meant only where there is a timer.
    pub submit: Submit,
    /// Its timer, where it is to come due; else it is published at once.
    pub timer: Option<TimerId>,
    /// For how long the key is taken.
    pub window: Duration,
    /// Tells this content from any other under the same key: see [`digest`].
    pub digest: u64,
}

/// What is said to whoever publishes the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The id of the event that was published.
    pub event_id: String,
    /// Its timer and when that is due, where it comes due.
    pub timer: Option<(TimerId, i64)>,
}

/// A key that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The uid of the Producer.
    pub producer: Arc<str>,
    /// From this instant on the key is free, by the log's clock.
    pub until: i64,
    /// As [`Claim::digest`].
    pub digest: u64,
    /// What the first one was told.
    pub receipt: Receipt,
}

/// Tells contents apart: all of the event but its id, its time, and the trace that it belongs to. A publisher that builds
/// its event anew makes those anew.
pub fn digest(record: &Record, delay: Option<When>, repeat: Option<&Repeat>) -> u64 {
    const MADE_ANEW: [&str; 4] = ["ce_id", "ce_time", "ce_traceparent", "ce_tracestate"];
    let mut hash = Xxh3::new();
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(record.key.as_deref().unwrap_or_default());
    part(record.value.as_deref().unwrap_or_default());
    for header in record.headers.iter().filter(|header| !MADE_ANEW.contains(&header.name.as_str())) {
        part(header.name.as_bytes());
        part(&header.value);
    }
    match delay {
        None => part(b"now"),
        Some(When::After(delay)) => part(&delay.as_millis().to_le_bytes()),
        Some(When::At(instant)) => part(&instant.to_le_bytes()),
    }
    part(&repeat.map(|repeat| wire::Repeat::from(repeat.clone()).encode_to_vec()).unwrap_or_default());
    hash.digest()
}

impl TimerId {
    /// The id of a key of a Producer, in a ledger of so many shards. All that have it meet in one shard, whatever else they
    /// are.
    pub fn of_claim(producer: &str, by: By<'_>, shards: u32) -> Self {
        // No event has such a source.
        match by {
            By::Key(key) => Self::of(producer, None, "\nkey", key, shards),
            By::Event(source, event) => {
                Self::of(producer, None, &format!("\nevent\n{source}"), event, shards)
            }
        }
    }

    /// The id of the timer of an event that is published under this key, in the key's shard.
    #[must_use]
    pub fn beside(self, source: &str, event: &str) -> Self {
        self.derived(format!("{source}\n{event}").as_bytes())
    }

    /// The id of what is published at once by the command at this offset.
    pub(crate) fn at(self, offset: u64) -> Self {
        self.derived(&offset.to_be_bytes())
    }
}

impl Receipt {
    /// How much longer than nothing its text is.
    pub(crate) fn size(&self) -> usize {
        self.event_id.len() + 32
    }
}

#[cfg(test)]
mod tests {
    use evhub_event::Header;

    use super::*;

    fn record(id: &str, value: &str) -> Record {
        let header =
            |name: &str, value: &str| Header { name: name.to_owned(), value: value.to_owned().into() };
        Record {
            key: None,
            value: Some(value.to_owned().into()),
            headers: vec![header("ce_id", id), header("ce_time", id), header("ce_type", "t")],
        }
    }

    #[test]
    fn what_is_made_anew_is_no_content_and_all_else_is() {
        let first = digest(&record("1", "x"), None, None);
        assert_eq!(first, digest(&record("2", "x"), None, None));
        assert_ne!(first, digest(&record("1", "y"), None, None));
        assert_ne!(first, digest(&record("1", "x"), Some(When::At(1)), None));
        let mut other = record("1", "x");
        other.headers[2].value = "u".into();
        assert_ne!(first, digest(&other, None, None));
        let keyed = Record { key: Some("k".into()), ..record("1", "x") };
        assert_ne!(first, digest(&keyed, None, None));
    }

    #[test]
    fn keys_and_events_are_not_mistaken_for_each_other_or_for_timers() {
        let key = TimerId::of_claim("uid", By::Key("/s\n1"), 16);
        let event = TimerId::of_claim("uid", By::Event("/s", "1"), 16);
        let timer = TimerId::of("uid", None, "/s", "1", 16);
        assert!(key != event && event != timer && key != timer);
        assert_ne!(key, TimerId::of_claim("uid2", By::Key("/s\n1"), 16));
        let beside = [event.beside("/s", "1"), event.beside("/s", "2"), event.at(1), event.at(2)];
        for (n, one) in beside.iter().enumerate() {
            assert_eq!(one.shard(), event.shard());
            assert!(*one != event && beside[..n].iter().all(|other| other != one));
        }
    }
}
