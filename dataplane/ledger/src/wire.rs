//! The ledger's records as protobuf: what is not known is passed over, what is missing is refused by whoever reads it. Pure.

mod half;

use bytes::Bytes;
use evhub_event::{Header, Record};
use prost::Message;

pub(crate) use self::half::{
    CheckedHalf, DecideHalf, DecidedOf, HalfListedOf, HalfOf, HalvesListed, ListHalves, PrepareHalf,
    StandingOf, which,
};

/// The version of what is written here.
pub(crate) const VERSION: u32 = 1;

/// A record inside of a record.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Event {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) key: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) value: Option<Bytes>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) headers: Vec<Named>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Named {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Command {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) id: Bytes,
    #[prost(oneof = "Verb", tags = "3, 4, 5, 6, 7, 20, 21, 22, 40, 41, 42")]
    pub(crate) verb: Option<Verb>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Verb {
    #[prost(message, tag = "3")]
    Submit(Submit),
    #[prost(message, tag = "4")]
    Cancel(Cancel),
    #[prost(message, tag = "5")]
    Reschedule(Reschedule),
    #[prost(message, tag = "6")]
    Keep(Keep),
    #[prost(message, tag = "7")]
    Drop(Drop),
    #[prost(message, tag = "20")]
    Claim(Claim),
    #[prost(message, tag = "21")]
    Mute(Mute),
    #[prost(message, tag = "22")]
    Fire(Empty),
    #[prost(message, tag = "40")]
    Prepare(PrepareHalf),
    #[prost(message, tag = "41")]
    Decide(DecideHalf),
    #[prost(message, tag = "42")]
    Checked(CheckedHalf),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Mute {
    #[prost(string, tag = "1")]
    pub(crate) processor: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) all: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Repeat {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(uint64, tag = "2")]
    pub(crate) period: u64,
    #[prost(uint32, tag = "3")]
    pub(crate) end: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) count: u32,
    #[prost(sint64, optional, tag = "5")]
    pub(crate) time: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Chain {
    #[prost(message, optional, tag = "1")]
    pub(crate) repeat: Option<Repeat>,
    #[prost(sint64, tag = "2")]
    pub(crate) first: i64,
    #[prost(uint32, tag = "3")]
    pub(crate) repeats: u32,
    #[prost(string, repeated, tag = "4")]
    pub(crate) muted: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Claim {
    #[prost(message, optional, tag = "1")]
    pub(crate) submit: Option<Submit>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) timer: Option<Bytes>,
    #[prost(uint64, tag = "3")]
    pub(crate) window: u64,
    #[prost(fixed64, tag = "4")]
    pub(crate) digest: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Keep {
    #[prost(string, tag = "1")]
    pub(crate) topic: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) event: Option<Event>,
    #[prost(message, optional, tag = "3")]
    pub(crate) series: Option<Series>,
    #[prost(fixed64, tag = "4")]
    pub(crate) digest: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Drop {
    #[prost(uint64, tag = "1")]
    pub(crate) epoch: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) revision: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Series {
    #[prost(string, tag = "1")]
    pub(crate) producer: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) rule: Option<Rule>,
    #[prost(sint64, tag = "4")]
    pub(crate) done: i64,
    #[prost(uint64, tag = "5")]
    pub(crate) fired: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) skipped: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) epoch: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) revision: u64,
    #[prost(bool, tag = "9")]
    pub(crate) dynamic: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Rule {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(string, tag = "2")]
    pub(crate) zone: String,
    #[prost(sint64, tag = "3")]
    pub(crate) anchor: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) period: u64,
    #[prost(sint64, optional, tag = "5")]
    pub(crate) start: Option<i64>,
    #[prost(sint64, optional, tag = "6")]
    pub(crate) end_time: Option<i64>,
    #[prost(uint64, optional, tag = "7")]
    pub(crate) end_count: Option<u64>,
    #[prost(uint32, tag = "8")]
    pub(crate) policy: u32,
    #[prost(uint32, tag = "9")]
    pub(crate) max: u32,
    #[prost(uint64, tag = "10")]
    pub(crate) deadline: u64,
    #[prost(uint64, tag = "11")]
    pub(crate) jitter: u64,
    #[prost(bool, tag = "12")]
    pub(crate) suspended: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Submit {
    #[prost(string, tag = "1")]
    pub(crate) producer: String,
    #[prost(string, tag = "2")]
    pub(crate) topic: String,
    #[prost(string, tag = "3")]
    pub(crate) event_id: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) event: Option<Event>,
    #[prost(oneof = "When", tags = "5, 6")]
    pub(crate) when: Option<When>,
    #[prost(uint64, tag = "7")]
    pub(crate) max_delay: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) max_pending: u64,
    #[prost(fixed64, tag = "9")]
    pub(crate) digest: u64,
    #[prost(message, optional, tag = "20")]
    pub(crate) repeat: Option<Repeat>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub(crate) enum When {
    #[prost(uint64, tag = "5")]
    After(u64),
    #[prost(sint64, tag = "6")]
    At(i64),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Cancel {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Reschedule {
    #[prost(oneof = "When", tags = "5, 6")]
    pub(crate) when: Option<When>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct State {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(oneof = "Kind", tags = "2, 3, 4, 20, 40, 41")]
    pub(crate) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Kind {
    #[prost(message, tag = "2")]
    Timer(Timer),
    #[prost(message, tag = "3")]
    Ended(Ended),
    #[prost(message, tag = "4")]
    Progress(Progress),
    #[prost(message, tag = "20")]
    Claimed(Claimed),
    #[prost(message, tag = "40")]
    Half(HalfOf),
    #[prost(message, tag = "41")]
    Decided(DecidedOf),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Claimed {
    #[prost(string, tag = "1")]
    pub(crate) producer: String,
    #[prost(sint64, tag = "2")]
    pub(crate) until: i64,
    #[prost(fixed64, tag = "3")]
    pub(crate) digest: u64,
    #[prost(message, optional, tag = "4")]
    pub(crate) receipt: Option<Receipt>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Timer {
    #[prost(string, tag = "1")]
    pub(crate) producer: String,
    #[prost(string, tag = "2")]
    pub(crate) topic: String,
    #[prost(sint64, tag = "3")]
    pub(crate) due: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) seq: u64,
    #[prost(uint32, tag = "5")]
    pub(crate) generation: u32,
    #[prost(fixed64, tag = "6")]
    pub(crate) digest: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) max_delay: u64,
    #[prost(string, tag = "8")]
    pub(crate) event_id: String,
    #[prost(message, optional, tag = "9")]
    pub(crate) event: Option<Event>,
    #[prost(message, optional, tag = "10")]
    pub(crate) series: Option<Series>,
    #[prost(bool, tag = "20")]
    pub(crate) claimed: bool,
    #[prost(message, optional, tag = "21")]
    pub(crate) chain: Option<Chain>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ended {
    #[prost(bool, tag = "1")]
    pub(crate) fired: bool,
    #[prost(sint64, tag = "2")]
    pub(crate) due: i64,
    #[prost(sint64, tag = "3")]
    pub(crate) at: i64,
    #[prost(fixed64, tag = "4")]
    pub(crate) digest: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Progress {
    #[prost(uint64, tag = "1")]
    pub(crate) applied: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) term: u64,
    #[prost(string, tag = "3")]
    pub(crate) leader: String,
    #[prost(sint64, tag = "4")]
    pub(crate) watermark: i64,
}

/// What one process asks another one that leads a shard.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Question {
    #[prost(uint32, tag = "1")]
    pub(crate) shard: u32,
    #[prost(oneof = "Asked", tags = "2, 3, 4, 5, 6, 40, 41")]
    pub(crate) asked: Option<Asked>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
#[expect(clippy::large_enum_variant, reason = "it lives from a message to its meaning")]
pub(crate) enum Asked {
    #[prost(message, tag = "2")]
    Ask(Ask),
    #[prost(bytes = "bytes", tag = "3")]
    Look(Bytes),
    #[prost(message, tag = "4")]
    List(List),
    #[prost(message, tag = "5")]
    Series(Empty),
    #[prost(message, tag = "6")]
    Dynamic(AskDynamic),
    #[prost(bytes = "bytes", tag = "40")]
    LookHalf(Bytes),
    #[prost(message, tag = "41")]
    Halves(ListHalves),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Kept {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) id: Bytes,
    #[prost(string, tag = "2")]
    pub(crate) producer: String,
    #[prost(sint64, tag = "3")]
    pub(crate) due: i64,
    #[prost(sint64, tag = "4")]
    pub(crate) done: i64,
    #[prost(uint64, tag = "5")]
    pub(crate) fired: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) skipped: u64,
    /// Its name, if somebody put it.
    #[prost(string, optional, tag = "7")]
    pub(crate) dynamic: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AllKept {
    #[prost(message, repeated, tag = "1")]
    pub(crate) kept: Vec<Kept>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AskDynamic {
    #[prost(string, tag = "1")]
    pub(crate) producer: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) id: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Dynamic {
    #[prost(message, optional, tag = "1")]
    pub(crate) series: Option<Series>,
    #[prost(message, optional, tag = "2")]
    pub(crate) event: Option<Event>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AllDynamic {
    #[prost(message, repeated, tag = "1")]
    pub(crate) dynamic: Vec<Dynamic>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ask {
    #[prost(uint64, tag = "1")]
    pub(crate) offset: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) command: Option<Command>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct List {
    #[prost(string, tag = "1")]
    pub(crate) producer: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) after: Option<Slot>,
    #[prost(uint64, tag = "3")]
    pub(crate) most: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Slot {
    #[prost(sint64, tag = "1")]
    pub(crate) due: i64,
    #[prost(uint64, tag = "2")]
    pub(crate) seq: u64,
}

/// What it is told.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Reply {
    #[prost(message, optional, tag = "1")]
    pub(crate) answer: Option<Answer>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) listed: Vec<Listed>,
    #[prost(message, optional, tag = "3")]
    pub(crate) series: Option<AllKept>,
    #[prost(message, optional, tag = "4")]
    pub(crate) dynamic: Option<AllDynamic>,
    #[prost(message, optional, tag = "40")]
    pub(crate) halves: Option<HalvesListed>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Answer {
    #[prost(uint32, tag = "1")]
    pub(crate) word: u32,
    #[prost(sint64, tag = "2")]
    pub(crate) due: i64,
    /// Of what was claimed.
    #[prost(message, optional, tag = "20")]
    pub(crate) receipt: Option<Receipt>,
    #[prost(message, optional, tag = "40")]
    pub(crate) standing: Option<StandingOf>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Receipt {
    #[prost(string, tag = "1")]
    pub(crate) event_id: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) timer: Option<Bytes>,
    #[prost(sint64, tag = "3")]
    pub(crate) due: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Listed {
    #[prost(message, optional, tag = "1")]
    pub(crate) slot: Option<Slot>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) id: Bytes,
    #[prost(string, tag = "3")]
    pub(crate) producer: String,
    #[prost(string, tag = "4")]
    pub(crate) event_id: String,
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub(crate) key: Option<Bytes>,
}

impl From<Record> for Event {
    fn from(Record { key, value, headers }: Record) -> Self {
        let headers = headers.into_iter().map(|Header { name, value }| Named { name, value }).collect();
        Self { key, value, headers }
    }
}

impl From<Event> for Record {
    fn from(Event { key, value, headers }: Event) -> Self {
        let headers = headers.into_iter().map(|Named { name, value }| Header { name, value }).collect();
        Self { key, value, headers }
    }
}
