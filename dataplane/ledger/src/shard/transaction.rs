//! Half messages: prepared, decided on once, and asked about meanwhile. Pure.
//!
//! One that is committed becomes a timer in the same transaction, due at once unless it says otherwise: so it appears as any
//! timer does, once, and a destination that fails loses nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use evhub_event::{Controls, Record, record::DELAY_KEYS};

use super::{Draft, MOST_REMEMBERED, REMEMBER, Shard, within};
use crate::{
    Answer, TimerId, When,
    chain::Chain,
    half::{
        Checked, Commit, Decide, Decided, Decision, Doubtful, Exhausted, Half, HalfListed, Prepare, Standing,
        State, Waits, Wanted, Which, next_check,
    },
    leader::Deviation,
    series::NEVER,
    state::Entry,
    timer::Timer,
    timetable::Slot,
};

/// How many that were decided on are forgotten at once.
const MOST_FORGOTTEN: usize = 500;

/// What a shard knows of half messages.
#[derive(Clone, Debug, Default)]
pub(super) struct Halves {
    prepared: HashMap<TimerId, Prepared>,
    /// Those that are prepared, by their destinations and in the order in which they were.
    listed: BTreeMap<(u32, Slot), TimerId>,
    /// Those whose publishers are to be asked, by their destinations, by whether they say themselves whom, and when.
    checks: BTreeMap<(u32, bool), BTreeSet<(i64, TimerId)>>,
    decided: HashMap<TimerId, Decided>,
    /// Those that were decided on, in that order.
    order: VecDeque<(i64, TimerId)>,
    held: usize,
}

/// One that nobody has decided on.
#[derive(Clone, Debug)]
struct Prepared {
    slot: Slot,
    destination: u32,
    digest: u64,
    /// Where its record lies, once that is known.
    at: Option<u64>,
    /// The size of its event.
    bytes: u32,
    when: Option<When>,
    waits: Waits,
    /// What it becomes, where that is in memory.
    whole: Option<Box<Timer>>,
}

impl Shard {
    // === commands ===

    pub(super) fn prepare(
        &mut self,
        id: TimerId,
        (offset, taken): (u64, i64),
        prepare: Prepare,
        others: impl Fn(&str) -> u64,
        draft: &mut Draft,
    ) -> Answer {
        if let Some(answer) = self.prepared_before(id, prepare.digest, Some(offset)) {
            return answer;
        }
        let Prepare {
            producer,
            topic,
            event_id,
            record,
            when,
            max_delay,
            max_pending,
            interval,
            callback,
            digest,
        } = prepare;
        let max_delay = u64::try_from(max_delay.as_millis()).unwrap_or(u64::MAX);
        if when.is_some_and(|when| within(when, taken, max_delay).is_none()) {
            return Answer::TooLong;
        }
        let line = self.destination(&producer, &topic);
        let known = &self.destinations[line as usize];
        if known.pending.saturating_add(others(&producer)) >= max_pending {
            return Answer::TooMany;
        }
        let timer = Timer {
            id: id.published(),
            producer: Arc::clone(&known.producer),
            topic: Arc::clone(&known.topic),
            due: taken,
            seq: offset,
            generation: 0,
            digest,
            max_delay,
            event_id,
            record,
            series: None,
            claimed: false,
            chain: None,
        };
        draft.tally.prepared += 1;
        if self.is(Deviation::PreparedIsPublished) {
            self.put(timer.clone(), draft);
        }
        let waits =
            Waits { checks: 0, next: next_check(interval, 0, taken), callback: callback.map(Arc::new) };
        self.put_half(Half { id, timer, when, waits }, draft);
        Answer::Half(Standing { state: State::Prepared, at: taken, due: 0, first: true })
    }

    pub(super) fn decide(
        &mut self,
        id: TimerId,
        (offset, taken): (u64, i64),
        Decision { producer, decide }: &Decision,
        draft: &mut Draft,
    ) -> Answer {
        if let Some(answer) = self.decided_before(id, producer, Some(offset)) {
            if let (true, Answer::Half(_)) = (self.is(Deviation::DecidedAgain), &answer) {
                return self.decide_again(id, (offset, taken), decide, draft);
            }
            return answer;
        }
        self.settle(id, (offset, taken), decide, draft)
    }

    pub(super) fn checked(
        &mut self,
        id: TimerId,
        (offset, taken): (u64, i64),
        checked: &Checked,
        draft: &mut Draft,
    ) -> Answer {
        if let Some(answer) = self.decided_before(id, "", Some(offset)) {
            if let (true, Answer::Half(_), Some(decide)) =
                (self.is(Deviation::LateAnswerCounts), &answer, &checked.decide)
            {
                return self.decide_again(id, (offset, taken), decide, draft);
            }
            return answer;
        }
        if let Some(decide) = &checked.decide {
            let answer = self.settle(id, (offset, taken), decide, draft);
            // A decision that cannot be obeyed is none.
            if answer != Answer::TooLong {
                return answer;
            }
        }
        let Some(half) = self.half(id) else { return Answer::Unknown };
        // It was asked again meanwhile, by whoever leads now.
        if half.waits.checks != checked.checks || half.waits.is_held() {
            return prepared(half.timer.due, false);
        }
        draft.tally.checked += 1;
        let more = u32::from(!self.is(Deviation::ChecksForgotten));
        let checks = half.waits.checks.saturating_add(more);
        let own = half.waits.callback.as_ref().map(|callback| callback.interval);
        let interval = checked.interval.max(own.unwrap_or_default());
        let mut next = next_check(interval, checks, taken);
        if checks >= checked.max_checks {
            draft.tally.exhausted += 1;
            match checked.on_exhausted {
                Exhausted::Rollback if self.is(Deviation::ExhaustedForgotten) => {
                    self.take_half(id);
                    draft.puts.insert(id, Entry::HalfGone(id));
                    return Answer::Unknown;
                }
                Exhausted::Rollback => return self.settle(id, (offset, taken), &Decide::Rollback, draft),
                Exhausted::Commit => {
                    return self.settle(id, (offset, taken), &Decide::Commit(Commit::default()), draft);
                }
                Exhausted::Hold => next = NEVER,
            }
        }
        let (waits, at) = (Waits { checks, next, callback: half.waits.callback }, half.timer.due);
        self.put_half(Half { waits, timer: half.timer, ..half }, draft);
        prepared(at, true)
    }

    /// What is said of one that is there already to who prepares it.
    pub(super) fn prepared_before(&self, id: TimerId, digest: u64, offset: Option<u64>) -> Option<Answer> {
        if let Some(known) = self.halves.prepared.get(&id) {
            let first = offset.is_none() || offset == Some(known.slot.1);
            let same = digest == known.digest;
            return Some(if same { prepared(known.slot.0, first) } else { Answer::Conflict });
        }
        let Some(decided) = self.halves.decided.get(&id) else { return self.published_before(id, digest) };
        let standing = Standing { first: false, ..decided.standing(None) };
        Some(if digest == decided.digest { Answer::Half(standing) } else { Answer::Conflict })
    }

    /// What is said of one whose decision is forgotten, while what it became is still pending, or remembered: else another one
    /// would take that timer's place.
    fn published_before(&self, id: TimerId, digest: u64) -> Option<Answer> {
        let published = id.published();
        let pending = self.timers.get(&published).map(|pending| (pending.digest, pending.slot.0));
        let ended = || self.ended.get(&published).map(|ended| (ended.digest, ended.due));
        let (known, due) = pending.or_else(ended)?;
        let standing = Standing { state: State::Committed, at: due, due, first: false };
        Some(if digest == known { Answer::Half(standing) } else { Answer::Conflict })
    }

    /// What is said of one that cannot be decided on, because it is, or because there is none of this Producer.
    pub(super) fn decided_before(&self, id: TimerId, producer: &str, offset: Option<u64>) -> Option<Answer> {
        let other = |owner: &str| !producer.is_empty() && *owner != *producer;
        if let Some(known) = self.halves.prepared.get(&id) {
            let is_others = other(&self.destinations[known.destination as usize].producer);
            return is_others.then_some(Answer::Unknown);
        }
        Some(match self.halves.decided.get(&id) {
            Some(decided) if !other(&decided.producer) => Answer::Half(decided.standing(offset)),
            _ => Answer::Unknown,
        })
    }

    /// What is said now to who prepared one and heard nothing. Of one that was refused alone nothing is kept.
    pub(super) fn recall_prepare(&self, id: TimerId, offset: u64, prepare: &Prepare) -> Answer {
        let too_long = matches!(prepare.when, Some(When::After(delay)) if delay > prepare.max_delay);
        let refused = if too_long { Answer::TooLong } else { Answer::TooMany };
        self.prepared_before(id, prepare.digest, Some(offset)).unwrap_or(refused)
    }

    /// The same of who told what came of a question.
    pub(super) fn recall_checked(&self, id: TimerId, offset: u64) -> Answer {
        let waits = || self.halves.prepared.get(&id).map(|known| prepared(known.slot.0, false));
        self.decided_before(id, "", Some(offset)).or_else(waits).unwrap_or(Answer::Unknown)
    }

    /// Decides on one that nobody has decided on.
    fn settle(
        &mut self,
        id: TimerId,
        (offset, taken): (u64, i64),
        decide: &Decide,
        draft: &mut Draft,
    ) -> Answer {
        let Some(known) = self.halves.prepared.get(&id) else { return Answer::Unknown };
        let producer = Arc::clone(&self.destinations[known.destination as usize].producer);
        let (digest, mut due) = (known.digest, 0);
        let committed = match decide {
            Decide::Rollback => false,
            Decide::Commit(commit) => {
                // Whoever applies a command has read back what it needs.
                let Some(timer) = known.whole.clone() else { return Answer::Unknown };
                let Some(timer) = published(*timer, commit, known.when, (offset, taken)) else {
                    return Answer::TooLong;
                };
                due = timer.due;
                self.take_half(id);
                self.put(timer, draft);
                true
            }
        };
        self.take_half(id);
        let decided = Decided { committed, by: offset, at: taken, due, digest, producer };
        let standing = decided.standing(Some(offset));
        if committed {
            draft.tally.committed += 1;
        } else {
            draft.tally.rolled_back += 1;
        }
        if self.is(Deviation::DecisionForgotten) {
            draft.puts.insert(id, Entry::HalfGone(id));
            return Answer::Half(standing);
        }
        draft.puts.insert(id, Entry::Decided(id, decided.clone()));
        self.remember_decided(id, decided);
        Answer::Half(standing)
    }

    /// A mistake that tests plant.
    fn decide_again(
        &mut self,
        id: TimerId,
        (offset, taken): (u64, i64),
        decide: &Decide,
        draft: &mut Draft,
    ) -> Answer {
        let Some(before) = self.halves.decided.get(&id).cloned() else { return Answer::Unknown };
        let committed = matches!(decide, Decide::Commit(_));
        let decided = Decided { committed, by: offset, at: taken, ..before };
        draft.puts.insert(id, Entry::Decided(id, decided.clone()));
        let standing = decided.standing(Some(offset));
        self.remember_decided(id, decided);
        Answer::Half(standing)
    }

    // === questions ===

    /// How many are prepared, and how many of them nobody is asked about any more.
    pub fn prepared(&self) -> (usize, usize) {
        (self.halves.prepared.len(), self.halves.held)
    }

    /// When a publisher is to be asked next.
    pub fn next_check(&self) -> Option<i64> {
        self.halves.checks.values().filter_map(|line| Some(line.first()?.0)).min()
    }

    /// Those whose publishers are to be asked, as far as they are wanted, those first that wait longest, whosever they are.
    pub fn doubtful(&self, wanted: &Wanted) -> Vec<TimerId> {
        let Wanted { by, each, all, bytes, except, flying } = wanted;
        let lines = self.halves.checks.iter().filter(|((line, own), _)| {
            let producer = &self.destinations[*line as usize].producer;
            !except.iter().any(|one| one.own == *own && *one.producer == **producer)
        });
        let due = lines.flat_map(|(_, checks)| {
            let due = checks.iter().take_while(|(next, _)| next <= by);
            due.filter(|(_, id)| !flying.contains(id) && self.is_there(*id)).take(*each)
        });
        let mut due: Vec<(i64, TimerId)> = due.copied().collect();
        due.sort_unstable();
        let mut room = Some(*bytes);
        let fits = |(_, id): &(i64, TimerId)| {
            let Some(left) = room else { return false };
            let size = self.halves.prepared.get(id).map_or(0, |known| known.bytes as usize);
            room = left.checked_sub(size);
            room.is_some() || left == *bytes
        };
        due.into_iter().take(*all).take_while(fits).map(|(_, id)| id).collect()
    }

    /// Whether the event of one can be had: it is in memory, or lies in the log as far as is known.
    fn is_there(&self, id: TimerId) -> bool {
        self.halves.prepared.get(&id).is_some_and(|known| known.whole.is_some() || known.at.is_some())
    }

    /// What whoever asks the publisher has to know; where its event is not in memory, without it, and with the place where it
    /// lies.
    pub fn doubt(&self, id: TimerId) -> Option<(Doubtful, Option<u64>)> {
        let known = self.halves.prepared.get(&id)?;
        let record = known.whole.as_deref().map(|timer| timer.record.clone());
        let place = if record.is_some() { None } else { Some(known.at?) };
        let Waits { checks, next, callback } = known.waits.clone();
        let producer = self.destinations[known.destination as usize].producer.to_string();
        Some((Doubtful { id, producer, record: record.unwrap_or_default(), checks, next, callback }, place))
    }

    /// Where the event of one lies that is not in memory.
    pub fn half_place(&self, id: TimerId) -> Option<(TimerId, u64)> {
        let known = self.halves.prepared.get(&id).filter(|known| known.whole.is_none())?;
        known.at.map(|at| (id, at))
    }

    /// What is known of one.
    pub fn look_half(&self, id: TimerId) -> Option<HalfListed> {
        if let Some(known) = self.halves.prepared.get(&id) {
            return Some(self.half_listed(id, known));
        }
        let decided = self.halves.decided.get(&id)?;
        Some(HalfListed {
            id,
            producer: decided.producer.to_string(),
            event_id: String::new(),
            key: None,
            standing: decided.standing(None),
            checks: 0,
            next: NEVER,
        })
    }

    /// Those of a Producer that nobody has decided on, behind a place, those first that were prepared first.
    pub fn list_halves(
        &self,
        producer: &str,
        which: Which,
        after: Option<Slot>,
        most: usize,
    ) -> Vec<(Slot, HalfListed)> {
        use std::ops::Bound::{Excluded, Included};
        let lines = (0_u32..).zip(&self.destinations).filter(|(_, known)| *known.producer == *producer);
        let mut found: Vec<(Slot, HalfListed)> = Vec::new();
        for (line, _) in lines {
            let from = after.map_or(Included((line, (i64::MIN, 0))), |slot| Excluded((line, slot)));
            let range = self.halves.listed.range((from, Included((line, (i64::MAX, u64::MAX)))));
            let meant = range.filter_map(|((_, slot), id)| {
                let known = self.halves.prepared.get(id)?;
                let is_meant = match which {
                    Which::Prepared => true,
                    Which::InDoubt => known.waits.checks > 0,
                    Which::Held => known.waits.is_held(),
                };
                is_meant.then(|| (*slot, self.half_listed(*id, known)))
            });
            found.extend(meant.take(most));
        }
        found.sort_unstable_by_key(|(slot, _)| *slot);
        found.truncate(most);
        found
    }

    fn half_listed(&self, id: TimerId, known: &Prepared) -> HalfListed {
        let whole = known.whole.as_deref();
        HalfListed {
            id,
            producer: self.destinations[known.destination as usize].producer.to_string(),
            event_id: whole.map(|timer| timer.event_id.clone()).unwrap_or_default(),
            key: whole.and_then(|timer| timer.record.key.clone()),
            standing: Standing { state: State::Prepared, at: known.slot.0, due: 0, first: false },
            checks: known.waits.checks,
            next: known.waits.next,
        }
    }

    // === changes ===

    /// One that is whole in memory.
    fn half(&self, id: TimerId) -> Option<Half> {
        let known = self.halves.prepared.get(&id)?;
        let timer = *known.whole.clone()?;
        Some(Half { id, timer, when: known.when, waits: known.waits.clone() })
    }

    fn put_half(&mut self, half: Half, draft: &mut Draft) {
        draft.bytes += half.timer.record.size();
        draft.puts.insert(half.id, Entry::Half(Box::new(half.clone())));
        self.insert_half(half, None);
    }

    pub(super) fn insert_half(&mut self, half: Half, at: Option<u64>) {
        let Half { id, timer, when, waits } = half;
        self.take_half(id);
        let destination = self.destination(&timer.producer, &timer.topic);
        let (slot, digest, bytes) = ((timer.due, timer.seq), timer.digest, timer.record.size());
        self.destinations[destination as usize].pending += 1;
        self.halves.listed.insert((destination, slot), id);
        if waits.is_held() {
            self.halves.held += 1;
        } else {
            let line = (destination, waits.callback.is_some());
            self.halves.checks.entry(line).or_default().insert((waits.next, id));
        }
        // What is not durable yet has to be in memory; see `settled`.
        let keep = at.is_none() || self.cached.0 + bytes <= self.cached.1;
        self.cached.0 += if keep { bytes } else { 0 };
        let whole = keep.then(|| Box::new(timer));
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let known = Prepared { slot, destination, digest, at, bytes, when, waits, whole };
        self.halves.prepared.insert(id, known);
    }

    /// Takes one out, if it is there.
    pub(super) fn take_half(&mut self, id: TimerId) {
        let Some(known) = self.halves.prepared.remove(&id) else { return };
        self.halves.listed.remove(&(known.destination, known.slot));
        self.destinations[known.destination as usize].pending -= 1;
        let line = (known.destination, known.waits.callback.is_some());
        if known.waits.is_held() {
            self.halves.held -= 1;
        } else if let Some(checks) = self.halves.checks.get_mut(&line) {
            checks.remove(&(known.waits.next, id));
            if checks.is_empty() {
                self.halves.checks.remove(&line);
            }
        }
        if known.whole.is_some() {
            self.cached.0 -= known.bytes as usize;
        }
    }

    pub(super) fn remember_decided(&mut self, id: TimerId, decided: Decided) {
        let at = decided.at;
        if self.halves.decided.insert(id, decided).is_none() {
            self.halves.order.push_back((at, id));
        }
    }

    /// A record of the state says that nothing is kept of one any more.
    pub(super) fn half_gone(&mut self, id: TimerId) {
        self.take_half(id);
        self.halves.decided.remove(&id);
    }

    /// All is read.
    pub(super) fn halves_loaded(&mut self) {
        let decided = &self.halves.decided;
        self.halves.order.retain(|(at, id)| decided.get(id).is_some_and(|decided| decided.at == *at));
    }

    /// An event was read back. Returns whether it was that of a half message.
    pub(super) fn half_fetched(&mut self, id: TimerId, timer: Option<&Timer>) -> bool {
        let Some(known) = self.halves.prepared.get_mut(&id) else { return false };
        match timer {
            Some(timer) if known.whole.is_none() => {
                self.cached.0 += known.bytes as usize;
                known.whole = Some(Box::new(timer.clone()));
            }
            Some(_) => {}
            // It cannot be, and is not tried again: a later leader may.
            None => known.at = None,
        }
        true
    }

    /// Where the record of one lies: the transaction is committed.
    pub(super) fn half_settled(&mut self, id: TimerId, at: u64) {
        let Some(known) = self.halves.prepared.get_mut(&id) else { return };
        known.at = Some(at);
        if self.cached.0 > self.cached.1 && known.whole.take().is_some() {
            self.cached.0 -= known.bytes as usize;
        }
    }

    /// Forgets what was decided long ago, or too much of it.
    pub(super) fn forget_decided(&mut self, now: i64, draft: &mut Draft) {
        for _ in 0..MOST_FORGOTTEN {
            let Some((at, id)) = self.halves.order.front().copied() else { break };
            if at.saturating_add(REMEMBER) > now && self.halves.order.len() <= MOST_REMEMBERED {
                break;
            }
            self.halves.order.pop_front();
            self.halves.decided.remove(&id);
            draft.puts.insert(id, Entry::HalfGone(id));
        }
    }

    /// Whether so much was decided that forgetting it is worth a transaction.
    pub(super) fn must_forget_decided(&self, old: impl Fn(&(i64, TimerId)) -> bool) -> bool {
        let order = &self.halves.order;
        order.len() >= MOST_REMEMBERED + MOST_FORGOTTEN || order.front().is_some_and(old)
    }
}

fn prepared(at: i64, first: bool) -> Answer {
    Answer::Half(Standing { state: State::Prepared, at, due: 0, first })
}

/// What a half message becomes; `None` if that is further away than its Producer allows.
fn published(
    timer: Timer,
    Commit { when, delay_keys, repeat }: &Commit,
    prepared: Option<When>,
    (offset, taken): (u64, i64),
) -> Option<Timer> {
    let due = match when.or(prepared) {
        Some(when) => within(when, taken, timer.max_delay)?,
        None => taken,
    };
    if delay_keys.iter().any(|(_, delay)| delay.as_millis() > u128::from(timer.max_delay)) {
        return None;
    }
    let record = with_keys(timer.record.clone(), delay_keys);
    let chain = repeat.clone().map(|repeat| Chain::begun(repeat, due).map(Box::new)).transpose().ok()?;
    Some(Timer { due, seq: offset, record, chain, ..timer })
}

/// The event with these delays of keys, where there are any.
fn with_keys(mut record: Record, delay_keys: &[(String, std::time::Duration)]) -> Record {
    if !delay_keys.is_empty() {
        record.headers.retain(|header| header.name != DELAY_KEYS);
        let controls = Controls { delay_keys: delay_keys.to_vec(), ..Controls::default() };
        record.headers.extend(controls.headers());
    }
    record
}

#[cfg(test)]
mod tests;
