//! A history arranged for the checks: publishes with their ends, attempts with their answers, the log in order. Pure.

use std::collections::{BTreeMap, HashMap};

use super::{Anomaly, Class};
use crate::{
    history::{Answer, Entry, Fault, History, Mono, Outcome, Rec},
    model::Model,
};

/// A publish.
pub(super) struct Op<'a> {
    pub(super) producer: &'a str,
    pub(super) client: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) id: &'a str,
    pub(super) hash: u64,
    pub(super) invoked: Mono,
    pub(super) ended: Mono,
    pub(super) outcome: Option<&'a Outcome>,
    entries: [Option<&'a Entry>; 2],
}

/// A record of the log.
pub(super) struct Row<'a> {
    pub(super) producer: &'a str,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) id: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) hash: u64,
    pub(super) entry: &'a Entry,
}

/// An attempt, as its target saw it.
pub(super) struct Attempt<'a> {
    pub(super) processor: &'a str,
    pub(super) id: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) hash: u64,
    pub(super) number: u32,
    pub(super) epoch: u64,
    pub(super) delivery: &'a str,
    pub(super) generation: i64,
    pub(super) began: Mono,
    pub(super) recv: Mono,
    /// The answer, when it began to leave, and when it had left.
    pub(super) done: Option<(Answer, Mono, Mono)>,
    entries: [Option<&'a Entry>; 2],
}

/// A dead letter.
pub(super) struct Dead<'a> {
    pub(super) processor: &'a str,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) id: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) hash: u64,
    pub(super) attempts: u32,
    pub(super) reason: &'a str,
    pub(super) entry: &'a Entry,
}

/// A fault's time.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) from: Mono,
    pub(super) until: Mono,
    pub(super) fault: &'a Fault,
    pub(super) entry: &'a Entry,
}

/// What the hub said of a Processor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It runs this generation; whether suspended.
    Running(i64, bool),
    /// It is not there.
    Gone,
}

/// The whole history, arranged.
pub(super) struct Index<'a> {
    pub(super) model: &'a Model,
    pub(super) ops: Vec<Op<'a>>,
    /// By producer, partition, offset.
    pub(super) log: BTreeMap<(&'a str, u32, u64), Row<'a>>,
    /// The first place of each id.
    pub(super) places: HashMap<&'a str, (&'a str, u32, u64)>,
    /// Pairs of rows that share a place, or an id.
    pub(super) collisions: Vec<(Class, String, Vec<Entry>)>,
    /// In the order of arrival.
    pub(super) attempts: Vec<Attempt<'a>>,
    pub(super) dead: Vec<Dead<'a>>,
    pub(super) commits: Vec<(Mono, &'a str, u32, u64)>,
    /// Ends of processes, in order.
    pub(super) ends: Vec<Window<'a>>,
    pub(super) pauses: Vec<Window<'a>>,
    /// When something was done to the log's brokers.
    pub(super) logs: Vec<Window<'a>>,
    /// When nobody listened at a Processor's target.
    pub(super) aways: Vec<(&'a str, Window<'a>)>,
    /// When a Processor's target treated everything badly.
    pub(super) troubles: Vec<(&'a str, Window<'a>)>,
    /// What the hub said of its Processors, in order.
    pub(super) told: Vec<(Mono, &'a str, Told, &'a Entry)>,
    pub(super) scanned: bool,
    pub(super) left: Vec<(&'a str, u64, &'a Entry)>,
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History, model: &'a Model) -> Self {
        let mut index = Self {
            model,
            ops: ops(history),
            log: BTreeMap::new(),
            places: HashMap::new(),
            collisions: Vec::new(),
            attempts: attempts(history),
            dead: Vec::new(),
            commits: Vec::new(),
            ends: Vec::new(),
            pauses: Vec::new(),
            logs: Vec::new(),
            aways: Vec::new(),
            troubles: Vec::new(),
            told: Vec::new(),
            scanned: false,
            left: Vec::new(),
        };
        for entry in &history.0 {
            index.take(entry);
        }
        index.ends.sort_by_key(|window| window.from);
        index.commits.sort_unstable();
        index.told.sort_by_key(|(at, ..)| *at);
        index
    }

    fn take(&mut self, entry: &'a Entry) {
        match &entry.rec {
            Rec::Log { producer, partition, offset, id, key, hash } => self.row(Row {
                producer,
                partition: *partition,
                offset: *offset,
                id,
                key: key.as_deref(),
                hash: *hash,
                entry,
            }),
            Rec::Dead { processor, partition, offset, id, key, hash, attempts, reason } => {
                self.dead.push(Dead {
                    processor,
                    partition: *partition,
                    offset: *offset,
                    id,
                    key: key.as_deref(),
                    hash: *hash,
                    attempts: *attempts,
                    reason,
                    entry,
                });
            }
            Rec::Fault { fault, until, .. } => {
                let window = Window { from: entry.at, until: *until, fault, entry };
                match fault {
                    Fault::Kill | Fault::CleanStop => self.ends.push(window),
                    Fault::Pause => self.pauses.push(window),
                    Fault::Log(_) => self.logs.push(window),
                    Fault::Away(processor) => self.aways.push((processor, window)),
                    Fault::Trouble(processor) => self.troubles.push((processor, window)),
                    Fault::Other(_) => {}
                }
            }
            Rec::Commit { processor, partition, offset } => {
                self.commits.push((entry.at, processor, *partition, *offset));
            }
            Rec::Running { processor, generation, suspended } => {
                self.told.push((entry.at, processor, Told::Running(*generation, *suspended), entry));
            }
            Rec::Gone { processor } => self.told.push((entry.at, processor, Told::Gone, entry)),
            Rec::Scanned { .. } => self.scanned = true,
            Rec::Left { processor, pending } => self.left.push((processor, *pending, entry)),
            Rec::Invoke { .. } | Rec::Complete { .. } | Rec::Recv { .. } | Rec::Done { .. } => {}
        }
    }

    fn row(&mut self, row: Row<'a>) {
        let place = (row.producer, row.partition, row.offset);
        if let Some(first) =
            self.places.get(row.id).filter(|first| **first != place).and_then(|p| self.log.get(p))
        {
            let slice = vec![first.entry.clone(), row.entry.clone()];
            self.collisions.push((Class::Copied, format!("{} lies in the log twice", row.id), slice));
        } else if let Some(other) = self.log.get(&place).filter(|other| other.id != row.id) {
            let text = format!("{place:?} held {} and {}", other.id, row.id);
            let slice = vec![other.entry.clone(), row.entry.clone()];
            self.collisions.push((Class::InconsistentOffset, text, slice));
        }
        self.places.entry(row.id).or_insert(place);
        self.log.entry(place).or_insert(row);
    }

    /// Attempts of one Processor at one event, in the order of arrival.
    pub(super) fn deliveries(&self) -> BTreeMap<(&'a str, &'a str), Vec<&Attempt<'a>>> {
        let mut map: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for attempt in &self.attempts {
            map.entry((attempt.processor, attempt.id)).or_default().push(attempt);
        }
        map
    }
}

/// An anomaly with its slice in order of time.
pub(super) fn anomaly<'e>(
    class: Class,
    text: impl Into<String>,
    slice: impl IntoIterator<Item = &'e Entry>,
) -> Anomaly {
    let mut slice: Vec<Entry> = slice.into_iter().cloned().collect();
    slice.sort_by_key(|entry| entry.at);
    slice.dedup();
    Anomaly { class, text: text.into(), slice }
}

impl<'a> Op<'a> {
    pub(super) fn entries(&self) -> impl Iterator<Item = &'a Entry> {
        self.entries.into_iter().flatten()
    }

    pub(super) fn receipt(&self) -> Option<(u32, u64)> {
        match self.outcome {
            Some(Outcome::Acked { partition, offset }) => Some((*partition, *offset)),
            _ => None,
        }
    }
}

impl<'a> Attempt<'a> {
    pub(super) fn entries(&self) -> impl Iterator<Item = &'a Entry> {
        self.entries.into_iter().flatten()
    }

    /// From when on the hub may know the answer.
    pub(super) fn answered(&self) -> Option<Mono> {
        self.done.and_then(|(answer, from, _)| (answer != Answer::PeerGone).then_some(from))
    }
}

fn ops(history: &History) -> Vec<Op<'_>> {
    let mut ends: HashMap<u64, &Entry> = HashMap::new();
    for entry in &history.0 {
        if let Rec::Complete { op, .. } = &entry.rec {
            ends.insert(*op, entry);
        }
    }
    let mut ops: Vec<_> = history.0.iter().filter_map(|entry| op(entry, &ends)).collect();
    ops.sort_by_key(|op| op.invoked);
    ops
}

fn op<'a>(entry: &'a Entry, ends: &HashMap<u64, &'a Entry>) -> Option<Op<'a>> {
    let Rec::Invoke { op, producer, client, key, id, hash } = &entry.rec else { return None };
    let end = ends.get(op).copied();
    let outcome = end.and_then(|end| match &end.rec {
        Rec::Complete { outcome, .. } => Some(outcome),
        _ => None,
    });
    Some(Op {
        producer,
        client,
        key: key.as_deref(),
        id,
        hash: *hash,
        invoked: entry.at,
        ended: end.map_or(Mono::MAX, |end| end.at),
        outcome,
        entries: [Some(entry), end],
    })
}

fn attempts(history: &History) -> Vec<Attempt<'_>> {
    let mut ends: HashMap<u64, &Entry> = HashMap::new();
    for entry in &history.0 {
        if let Rec::Done { attempt, .. } = &entry.rec {
            ends.insert(*attempt, entry);
        }
    }
    let mut attempts: Vec<_> = history.0.iter().filter_map(|entry| attempt(entry, &ends)).collect();
    attempts.sort_by_key(|attempt| attempt.recv);
    attempts
}

fn attempt<'a>(entry: &'a Entry, ends: &HashMap<u64, &'a Entry>) -> Option<Attempt<'a>> {
    let Rec::Recv { attempt, processor, id, key, hash, number, epoch, delivery, generation, began } =
        &entry.rec
    else {
        return None;
    };
    let end = ends.get(attempt).copied();
    let done = end.and_then(|end| match &end.rec {
        Rec::Done { answer, from, .. } => Some((*answer, *from, end.at)),
        _ => None,
    });
    Some(Attempt {
        processor,
        id,
        key: key.as_deref(),
        hash: *hash,
        number: *number,
        epoch: *epoch,
        delivery,
        generation: *generation,
        began: *began,
        recv: entry.at,
        done,
        entries: [Some(entry), end],
    })
}
