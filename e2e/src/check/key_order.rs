//! C-08: attempts of one lane follow the log, and only a new owner may go back, never below what was committed.
//!
//! A lane is a key, or a partition, as the Processor's order says. Where only first attempts are in order, all others are
//! left out, and a record lets the next one pass as soon as its first attempt has ended.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use super::{
    Anomaly, Class, Verdict,
    index::{Attempt, Dead, Index, Row, anomaly},
    timing::Ending,
};
use crate::{
    history::{Answer, Mono},
    model::{Order, Processor, Start},
};

pub(super) fn check(index: &Index<'_>) -> Verdict {
    if !index.scanned {
        return Verdict::Unknown("the log was not read".to_owned());
    }
    let ordered = index.model.processors.iter().filter(|processor| processor.order != Order::None);
    Verdict::of(ordered.flat_map(|processor| of_processor(index, processor)).collect())
}

fn of_processor(index: &Index<'_>, processor: &Processor) -> Vec<Anomaly> {
    let mut lanes: BTreeMap<(u32, &str), Vec<&Row<'_>>> = BTreeMap::new();
    for row in index.log.values().filter(|row| row.producer == processor.producer && processor.wants(row.id))
    {
        let key = if processor.order == Order::Partition { Some("all") } else { row.key };
        if let Some(key) = key {
            lanes.entry((row.partition, key)).or_default().push(row);
        }
    }
    let firsts = processor.order == Order::KeyFirstAttempt;
    let mut attempts: HashMap<&str, Vec<&Attempt<'_>>> = HashMap::new();
    let mine = index.attempts.iter().filter(|attempt| attempt.processor == processor.name);
    for attempt in mine.filter(|attempt| !firsts || attempt.number == 1) {
        attempts.entry(attempt.id).or_default().push(attempt);
    }
    let dead: HashMap<_, _> = index
        .dead
        .iter()
        .filter(|dead| dead.processor == processor.name)
        .map(|dead| ((dead.partition, dead.offset), dead))
        .collect();
    let mut found = Vec::new();
    for ((partition, key), rows) in lanes {
        let before_it = |row: &&&Row<'_>| processor.start == Start::Ready && !attempts.contains_key(row.id);
        let records = rows
            .iter()
            .skip_while(before_it)
            .map(|row| Record {
                offset: row.offset,
                attempts: attempts.get(row.id).cloned().unwrap_or_default(),
                dead: dead.get(&(row.partition, row.offset)).copied(),
            })
            .collect();
        let commits = index
            .commits
            .iter()
            .filter(|(_, name, at, _)| *name == processor.name && *at == partition)
            .map(|(at, _, _, offset)| (*at, *offset))
            .collect();
        let lane = Lane { index, name: &processor.name, key, firsts, records, commits };
        found.extend(lane.walk());
    }
    found
}

/// One record of the key and what became of it.
struct Record<'a, 'i> {
    offset: u64,
    attempts: Vec<&'i Attempt<'a>>,
    dead: Option<&'i Dead<'a>>,
}

/// One lane of one Processor.
struct Lane<'a, 'i> {
    index: &'i Index<'a>,
    name: &'i str,
    key: &'i str,
    /// Whether only first attempts are in order.
    firsts: bool,
    records: Vec<Record<'a, 'i>>,
    /// When an offset was seen committed.
    commits: Vec<(Mono, u64)>,
}

/// Where the automaton is.
struct Cursor<'a, 'i> {
    epoch: u64,
    at: usize,
    last: &'i Attempt<'a>,
    /// When this epoch's first attempt arrived.
    since: Mono,
}

impl<'a, 'i> Lane<'a, 'i> {
    fn walk(&self) -> Vec<Anomaly> {
        let mut starts: Vec<(usize, &'i Attempt<'a>)> = Vec::new();
        for (i, record) in self.records.iter().enumerate() {
            starts.extend(record.attempts.iter().map(|attempt| (i, *attempt)));
        }
        starts.sort_by_key(|(_, attempt)| attempt.recv);
        let mut found = Vec::new();
        let mut cursor: Option<Cursor<'a, 'i>> = None;
        let mut front = 0;
        for (i, attempt) in starts {
            while self.records.get(front).is_some_and(|record| self.terminal(record, attempt.recv)) {
                front += 1;
            }
            let legal = match &cursor {
                Some(now) if attempt.epoch < now.epoch => {
                    if attempt.began >= now.since && !self.index.wakes(now.since, attempt.began) {
                        found.push(self.anomaly(Class::StaleStart, i, attempt, Some(now)));
                    }
                    continue;
                }
                Some(now) if attempt.epoch == now.epoch => self.step(now, i, attempt),
                _ => self.take_over(i, attempt, front),
            };
            if let Err(class) = legal {
                found.push(self.anomaly(class, i, attempt, cursor.as_ref()));
            }
            let since = cursor
                .as_ref()
                .filter(|now| now.epoch == attempt.epoch)
                .map_or(attempt.recv, |now| now.since);
            cursor = Some(Cursor { epoch: attempt.epoch, at: i, last: attempt, since });
        }
        found
    }

    /// A new owner may begin anywhere between what was committed and the first record without an end.
    fn take_over(&self, i: usize, attempt: &Attempt<'_>, front: usize) -> Result<(), Class> {
        if i < self.floor(attempt.began) {
            Err(Class::Regress)
        } else if i > front {
            Err(Class::Gap)
        } else {
            Ok(())
        }
    }

    /// The same owner may repeat what failed, or go on to the next.
    fn step(&self, now: &Cursor<'_, '_>, i: usize, attempt: &Attempt<'_>) -> Result<(), Class> {
        if i < self.floor(attempt.began) {
            Err(Class::Regress)
        } else if i == now.at {
            match self.index.ending(now.last) {
                Ending::Success => Err(Class::RetryAfterSuccess),
                _ => Ok(()),
            }
        } else if i == now.at + 1 {
            if self.terminal(&self.records[now.at], attempt.recv) { Ok(()) } else { Err(Class::Reorder) }
        } else if i > now.at {
            if self.passed_over(now.at..i, attempt.recv) { Ok(()) } else { Err(Class::Gap) }
        } else {
            Err(Class::Reorder)
        }
    }

    /// Whether a new owner may leave these out. Where only first attempts are in order, one that failed at the owner before
    /// lives on in `.state`, while an earlier record, delivered but not yet committed, is attempted again.
    fn passed_over(&self, between: Range<usize>, by: Mono) -> bool {
        self.firsts && self.records[between].iter().all(|record| self.terminal(record, by))
    }

    /// Whether a record had its end by then.
    fn terminal(&self, record: &Record<'_, '_>, by: Mono) -> bool {
        let delivered = |attempt: &&Attempt<'_>| matches!(attempt.done, Some((Answer::Success | Answer::Ambiguous, from, _)) if from <= by);
        let died = |dead: &Dead<'_>| {
            let mut last = record.attempts.iter().filter(|attempt| attempt.number == dead.attempts);
            last.any(|attempt| attempt.recv < by && !self.index.under_way(attempt, by))
        };
        let tried = |attempt: &&Attempt<'_>| attempt.recv < by && !self.index.under_way(attempt, by);
        record.attempts.iter().any(delivered)
            || record.dead.is_some_and(died)
            || (self.firsts && record.attempts.iter().any(tried))
    }

    /// How many leading records had ended and were committed by then. One that ever failed may live on in `.state`,
    /// which no commit shows, so counting stops there.
    fn floor(&self, by: Mono) -> usize {
        let Some((at, offset)) = self.commits.iter().rev().find(|(at, _)| *at <= by) else { return 0 };
        let settled = |record: &&Record<'_, '_>| {
            record.offset < *offset
                && self.terminal(record, *at)
                && record.attempts.iter().all(|attempt| self.index.ending(attempt) == Ending::Success)
        };
        self.records.iter().take_while(settled).count()
    }

    fn anomaly(
        &self,
        class: Class,
        i: usize,
        attempt: &Attempt<'_>,
        now: Option<&Cursor<'_, '_>>,
    ) -> Anomaly {
        let before =
            now.map_or("nothing".to_owned(), |now| format!("record {} at epoch {}", now.at, now.epoch));
        let text = format!(
            "{}, key {}: record {i} at epoch {} was attempted after {before}",
            self.name, self.key, attempt.epoch
        );
        let last = now.map(|now| now.last.entries()).into_iter().flatten();
        let between = now.map_or(i, |now| now.at.min(i))..i;
        let skipped = self.records[between].iter().filter_map(|record| record.attempts.last());
        anomaly(class, text, last.chain(skipped.flat_map(|a| a.entries()).take(8)).chain(attempt.entries()))
    }
}
