//! What one run saw: a list of stamped records, whatever the order in which they were written. Pure.
//!
//! Every recorder of a run shares one monotonic clock, so the order of two stamps is the order in real time.

use serde::{Deserialize, Serialize};

/// Nanoseconds on the run's monotonic clock.
pub type Mono = u64;

/// One record and when it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Mono,
    /// What.
    pub rec: Rec,
}

/// A thing that a run saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rec {
    /// A client is about to publish.
    Invoke {
        /// Unique in the run.
        op: u64,
        /// The Producer's name.
        producer: String,
        /// Who publishes; one client publishes one thing at a time.
        client: String,
        /// The event's `partitionkey`.
        key: Option<String>,
        /// The event's id, unique in the run.
        id: String,
        /// The fingerprint of the event's attributes and bytes.
        hash: u64,
    },
    /// A publish ended.
    Complete {
        /// Which.
        op: u64,
        /// How.
        outcome: Outcome,
    },
    /// A target has read a request whole, and has not begun to answer.
    Recv {
        /// Unique in the run.
        attempt: u64,
        /// The Processor whose target this is.
        processor: String,
        /// The event's id.
        id: String,
        /// Its `partitionkey`.
        key: Option<String>,
        /// The fingerprint of what arrived.
        hash: u64,
        /// `Evhub-Attempt`.
        number: u32,
        /// `Evhub-Epoch`.
        epoch: u64,
        /// `Evhub-Delivery`.
        delivery: String,
        /// `Evhub-Generation`.
        generation: i64,
        /// When the request's first byte arrived: the nearest there is to the sender's own clock.
        began: Mono,
    },
    /// A target is done with a request.
    Done {
        /// Which.
        attempt: u64,
        /// What it answered.
        answer: Answer,
        /// When the first byte of the answer left: from here on the hub may know.
        from: Mono,
    },
    /// The hub said that a Processor is ready, and as what.
    Running {
        /// The Processor.
        processor: String,
        /// The generation that it said it runs.
        generation: i64,
        /// Whether its author has suspended it.
        suspended: bool,
    },
    /// The hub said that a Processor is not there.
    Gone {
        /// The Processor.
        processor: String,
    },
    /// The nemesis acted, from `at` to `until`.
    Fault {
        /// What it did.
        fault: Fault,
        /// When it was over: reaped, continued.
        until: Mono,
        /// How much of it took effect; 0 makes the run void.
        effect: u64,
    },
    /// A partition was read to its end after the run.
    Scanned {
        /// The Producer.
        producer: String,
        /// The partition.
        partition: u32,
    },
    /// A record of a Producer's topic, read after the run.
    Log {
        /// The Producer.
        producer: String,
        /// Where.
        partition: u32,
        /// Where.
        offset: u64,
        /// The event's id.
        id: String,
        /// The record's key.
        key: Option<String>,
        /// The fingerprint of what was read.
        hash: u64,
    },
    /// A dead letter, read after the run.
    Dead {
        /// The Processor.
        processor: String,
        /// Where the event lies in its Producer's topic.
        partition: u32,
        /// Where the event lies in its Producer's topic.
        offset: u64,
        /// The event's id.
        id: String,
        /// Its key.
        key: Option<String>,
        /// The fingerprint of what was read.
        hash: u64,
        /// How many attempts it says were made.
        attempts: u32,
        /// Its reason word.
        reason: String,
    },
    /// A committed offset, sampled.
    Commit {
        /// The Processor.
        processor: String,
        /// The partition.
        partition: u32,
        /// The first offset not resolved.
        offset: u64,
    },
    /// What a Processor says it has left, after the run.
    Left {
        /// The Processor.
        processor: String,
        /// Records not resolved, deliveries parked and attempts under way, together.
        pending: u64,
    },
}

/// How a publish ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// With a receipt.
    Acked {
        /// The receipt's partition.
        partition: u32,
        /// The receipt's offset.
        offset: u64,
    },
    /// With the promise that it will never appear.
    Rejected(String),
    /// Any other way.
    Unknown(String),
}

/// What a target answered, as far as the hub can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A 2xx, whole.
    Success,
    /// Another status, whole.
    Failure(u16),
    /// Another status, with the wish to be left alone for so many milliseconds.
    Asked(u16, u64),
    /// The connection ended, or something that is not HTTP came, without a status.
    Cut,
    /// A 2xx with the connection torn down behind it: the hub may have seen either.
    Ambiguous,
    /// The hub hung up first: it gave up, or died.
    PeerGone,
}

/// What the nemesis did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// SIGKILL; over when the process was reaped.
    Kill,
    /// SIGTERM; over when the process was reaped.
    CleanStop,
    /// SIGSTOP; over at SIGCONT.
    Pause,
    /// A Processor's target has nobody listening at its port.
    Away(String),
    /// A Processor's target treats everything badly: what lies outside of these windows is the control.
    Trouble(String),
    /// Something was done to the log's brokers, by name: commits and appends may take until they have found each other again.
    Log(String),
    /// Anything else, by name: a target's misbehaviour, a full disk.
    Other(String),
}

/// All that one run saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History(pub Vec<Entry>);

/// The fingerprint of an event: FNV-1a over its attributes, sorted by name, and its bytes.
pub fn fingerprint<'a>(attributes: impl IntoIterator<Item = (&'a str, &'a str)>, data: &[u8]) -> u64 {
    let mut sorted: Vec<_> = attributes.into_iter().collect();
    sorted.sort_unstable();
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for (name, value) in sorted {
        hash = fnv(hash, name.as_bytes());
        hash = fnv(hash, &[0]);
        hash = fnv(hash, value.as_bytes());
        hash = fnv(hash, &[0]);
    }
    fnv(hash, data)
}

/// A number that depends on every byte of the parts: what scripts and schedules draw their choices from.
pub fn draw(seed: u64, parts: &[&str]) -> u64 {
    let start = fnv(0xcbf2_9ce4_8422_2325, &seed.to_le_bytes());
    let mut hash = parts.iter().fold(start, |hash, part| fnv(fnv(hash, part.as_bytes()), &[0xff]));
    // FNV's low bits follow the last byte closely; this spreads them (the finaliser of splitmix64).
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
