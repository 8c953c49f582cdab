//! What comes due, and what is forgotten. Pure.

use std::sync::Arc;

use bytes::Bytes;
use evhub_event::{
    Header,
    record::{DUE, TIMER},
};

use super::{Draft, MOST_REMEMBERED, NOWHERE, REMEMBER, Shard};
use crate::{
    TimerId,
    state::Entry,
    timer::{End, Ended, Timer},
};

/// What one transaction may fire: so many, about so many bytes, into so many topics.
const MOST: (usize, usize, usize) = (2_000, 2 << 20, 16);
/// How many are read back at once, and how far ahead of their time, in milliseconds.
const AHEAD: (usize, i64) = (256, 1_000);
/// How many that ended are forgotten at once.
const MOST_FORGOTTEN: usize = 500;

impl Shard {
    /// Fires what is due by now into topics that are not barred, in turns.
    pub fn fire(&mut self, now: i64, barred: impl Fn(&str) -> bool, draft: &mut Draft) {
        let ready = self.table.ready(now, self.turn).into_iter();
        let mut lines: Vec<u32> =
            ready.filter(|line| !barred(&self.destinations[*line as usize].topic)).take(MOST.2).collect();
        while !lines.is_empty() {
            lines.retain(|line| {
                if draft.fires.len() >= MOST.0 || draft.bytes >= MOST.1 {
                    return false;
                }
                self.turn = *line;
                self.fire_one(*line, now, draft)
            });
        }
    }

    /// Events that are due by now, or soon, in topics that are not barred, and have to be read back first: of no more than one
    /// transaction fires.
    pub fn missing(&self, now: i64, barred: impl Fn(&str) -> bool) -> Vec<(TimerId, u64)> {
        let barred = |line: u32| barred(&self.destinations[line as usize].topic);
        if self.timers.is_empty() || self.table.next(barred).is_none_or(|due| due > now) {
            return Vec::new();
        }
        let absent = self.table.soon(now.saturating_add(AHEAD.1), MOST.0).filter_map(|timer| {
            let (id, pending) = self.timers.at(timer).filter(|(_, pending)| pending.whole.is_none())?;
            pending.at().filter(|_| !barred(pending.destination)).map(|at| (id, at))
        });
        absent.take(AHEAD.0).collect()
    }

    /// An event was read back; `None` if it cannot be, and then nobody looks for it again: its timer stays pending and fires
    /// under a later leader that can.
    pub fn fetched(&mut self, id: TimerId, timer: Option<Timer>) {
        if self.half_fetched(id, timer.as_ref()) {
            return;
        }
        let Some(pending) = self.timers.get_mut(&id) else { return };
        match timer {
            Some(timer) if pending.whole.is_none() => {
                self.cached.0 += pending.size();
                pending.whole = Some(Box::new(timer));
                self.held.insert((pending.slot, id));
            }
            Some(_) => {}
            None => {
                pending.place = NOWHERE;
                self.table.remove(pending.destination, pending.slot);
            }
        }
    }

    /// When something is due next, in topics that are not barred.
    pub fn next(&self, barred: impl Fn(&str) -> bool) -> Option<i64> {
        self.table.next(|line| barred(&self.destinations[line as usize].topic))
    }

    /// The topic among these of which something is due by now and whose turn it is.
    pub fn overdue_in(&self, now: i64, among: impl Fn(&str) -> bool) -> Option<Arc<str>> {
        let topics = self.table.ready(now, self.turn).into_iter();
        let mut topics = topics.map(|line| &self.destinations[line as usize].topic);
        topics.find(|topic| among(topic)).cloned()
    }

    /// How much is due by now, at least; counting ends at some point.
    pub fn overdue(&self, now: i64) -> usize {
        self.table.due(now).take(100_000).count()
    }

    /// Forgets what ended long ago, or too much of it.
    pub fn forget(&mut self, now: i64, draft: &mut Draft) {
        for _ in 0..MOST_FORGOTTEN {
            let Some((at, id)) = self.order.front().copied() else { break };
            if at.saturating_add(REMEMBER) > now && self.order.len() <= MOST_REMEMBERED {
                break;
            }
            self.order.pop_front();
            self.ended.remove(&id);
            draft.puts.insert(id, Entry::Gone(id));
        }
        self.forget_decided(now, draft);
    }

    /// Whether so much is to be forgotten that it is worth a transaction.
    pub fn must_forget(&self, now: i64) -> bool {
        let many = self.order.len() >= MOST_REMEMBERED + MOST_FORGOTTEN;
        // An hour more than is promised, so that there are many.
        let old = |(at, _): &(i64, TimerId)| at.saturating_add(REMEMBER + 3_600_000) <= now;
        many || self.order.front().is_some_and(old) || self.must_forget_decided(old)
    }

    /// Fires the first of a destination, if it is due. Returns whether there may be more.
    fn fire_one(&mut self, line: u32, now: i64, draft: &mut Draft) -> bool {
        let head = self.table.head(line).filter(|((due, _), _)| *due <= now);
        let Some((id, pending)) = head.and_then(|(_, timer)| self.timers.at(timer)) else { return false };
        let Some(timer) = pending.whole.as_deref() else { return false };
        if timer.series.is_some() {
            return self.fire_run(id, now, draft);
        }
        if timer.claimed {
            return self.fire_claimed(id, draft);
        }
        let (due, digest) = (timer.due, timer.digest);
        draft.tally.fired += 1;
        draft.tally.late += now.saturating_sub(due).max(0) as u64;
        if timer.chain.is_some() {
            let timer = timer.clone();
            fired(timer.clone(), draft);
            self.go_on(timer, now, draft);
        } else {
            let whole = self.take(id).and_then(|pending| pending.whole);
            if let Some(timer) = whole {
                fired(*timer, draft);
            }
            self.end(id, Ended { how: End::Fired, due, at: now, digest }, draft);
        }
        true
    }
}

/// Lets the event appear, with what made it appear: the same whoever fires it.
fn fired(Timer { id, topic, due, mut record, chain, .. }: Timer, draft: &mut Draft) {
    let header = |name: &str, value: String| Header { name: name.to_owned(), value: Bytes::from(value) };
    record.headers.push(header(TIMER, id.to_string()));
    record.headers.push(header(DUE, due.to_string()));
    record.headers.extend(chain.iter().flat_map(|chain| chain.headers()));
    draft.bytes += record.size();
    draft.fires.push((topic, record));
}
