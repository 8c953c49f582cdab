//! Schedules: made, changed, dropped, and run after run. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Draft, Pending, Shard, over};
use crate::{
    Answer, Keep, TimerId,
    claim::Receipt,
    leader::Deviation,
    series::{Dynamic, Generation, Kept, MOST_DYNAMIC, Series},
    timer::{End, Ended, Timer},
};

/// The schedules that somebody put, by their Producers. They are in memory, less what they publish: so they are counted and listed.
pub(super) type Dynamics = HashMap<Arc<str>, BTreeMap<TimerId, Series>>;

impl Shard {
    /// All schedules.
    pub fn series(&self) -> Vec<Kept> {
        let kept = |(id, pending): (&TimerId, &Pending)| {
            let progress = *pending.series.as_deref()?;
            let producer = &self.destinations[pending.destination as usize].producer;
            let put = self.dynamics.get(producer).and_then(|all| all.get(id));
            let (producer, dynamic) = (producer.to_string(), put.map(|series| series.name.clone()));
            Some(Kept { id: *id, producer, due: pending.slot.0, progress, dynamic })
        };
        self.timers.iter().filter_map(kept).collect()
    }

    /// The schedules that somebody put for a Producer, without what they publish.
    pub fn dynamic(&self, producer: &str) -> Vec<Dynamic> {
        let all = self.dynamics.get(producer).into_iter().flat_map(BTreeMap::values);
        all.map(|series| Dynamic { series: series.clone(), record: None }).collect()
    }

    /// One of them, with what it publishes where that is in memory.
    pub fn look_dynamic(&self, producer: &str, id: TimerId) -> Option<Dynamic> {
        let series = self.dynamics.get(producer)?.get(&id)?.clone();
        let whole = self.timers.get(&id).and_then(|pending| pending.whole.as_deref());
        Some(Dynamic { series, record: whole.map(|timer| timer.record.clone()) })
    }

    /// Makes or changes a schedule. What was before now is done with: a changed one goes on with its next run.
    pub(super) fn keep(
        &mut self,
        id: TimerId,
        (offset, taken): (u64, i64),
        keep: Keep,
        draft: &mut Draft,
    ) -> Answer {
        let before = self.timers.get(&id).and_then(|pending| pending.whole.as_deref());
        let known = before.and_then(|timer| timer.series.as_deref());
        match known {
            // Whoever puts one is obeyed, whichever snapshot it knows: the last one counts.
            Some(known) if known.generation > keep.generation && !keep.dynamic => return Answer::Conflict,
            None if keep.dynamic && self.has_most_dynamic(&keep.producer) => return Answer::TooMany,
            _ => {}
        }
        let same = |timer: &&Timer| timer.digest == keep.digest && *timer.topic == *keep.topic;
        if let Some(timer) = before.filter(same) {
            let due = timer.due;
            self.confirm(timer.clone(), &keep, draft);
            return Answer::Scheduled(due);
        }
        let Keep { producer, topic, name, record, rule, generation, dynamic, digest } = keep;
        let generation = known.map_or(generation, |known| known.generation.max(generation));
        let Some(series) = Series::begun(&producer, &name, rule, generation, taken) else {
            return Answer::Unreadable;
        };
        let ended = self.ended.get(&id).map(|ended| ended.due);
        let progress = match known {
            _ if self.is(Deviation::RunsForgotten) => series.progress,
            Some(known) => known.progress.resumed(taken),
            None => series.progress.resumed(ended.unwrap_or(taken)),
        };
        let series = series.put(dynamic).at(progress);
        // It is there again: nothing is to be forgotten of it later.
        if self.ended.remove(&id).is_some() {
            self.order.retain(|(_, other)| *other != id);
        }
        let timer = Timer {
            id,
            producer: producer.into(),
            topic: topic.into(),
            due: series.due(),
            seq: offset,
            generation: 0,
            digest,
            max_delay: 0,
            event_id: name,
            record,
            series: Some(Box::new(series)),
            claimed: false,
            chain: None,
        };
        let due = timer.due;
        self.put(timer, draft);
        Answer::Scheduled(due)
    }

    /// One that is put again as it is stays as it is; but whoever knows an older snapshot does not end it any more.
    fn confirm(&mut self, timer: Timer, keep: &Keep, draft: &mut Draft) {
        let Some(series) = timer.series.as_deref() else { return };
        if keep.dynamic && series.generation < keep.generation {
            let series = series.clone().as_of(keep.generation);
            self.put(Timer { series: Some(Box::new(series)), ..timer }, draft);
        }
    }

    fn has_most_dynamic(&self, producer: &str) -> bool {
        self.dynamics.get(producer).is_some_and(|all| all.len() >= MOST_DYNAMIC)
    }

    /// Fires a schedule once more. Its runs are as they were.
    pub(super) fn fire_now(&mut self, id: TimerId, (offset, taken): (u64, i64), draft: &mut Draft) -> Answer {
        let timer = self.timers.get(&id).and_then(|pending| pending.whole.clone());
        let Some(timer) = timer else { return Answer::Unknown };
        let Some(series) = timer.series.as_deref() else { return Answer::Unknown };
        let (event_id, record) = series.once_more(&timer.record, (offset, taken));
        let (producer, topic) = (timer.producer.to_string(), timer.topic.to_string());
        if !self.publish(id.at(offset), offset, (&producer, &topic, event_id.clone(), record), draft) {
            return Answer::Stuck;
        }
        draft.tally.fired += 1;
        Answer::Claimed(Box::new(Receipt { event_id, timer: None }))
    }

    pub(super) fn drop_series(
        &mut self,
        id: TimerId,
        generation: Generation,
        taken: i64,
        draft: &mut Draft,
    ) -> Answer {
        let Some(pending) = self.timers.get(&id) else {
            return self.ended.get(&id).map_or(Answer::Unknown, |ended| over(*ended));
        };
        let series = pending.whole.as_deref().and_then(|timer| timer.series.as_deref());
        let Some(series) = series else { return Answer::Unknown };
        if series.generation > generation {
            return Answer::Conflict;
        }
        let (due, digest) = (series.progress.done, pending.digest);
        if self.is(Deviation::DropUnwritten) {
            self.take(id);
            return Answer::Cancelled;
        }
        self.end(id, Ended { how: End::Cancelled, due, at: taken, digest }, draft);
        Answer::Cancelled
    }

    /// Fires the run that is due, passes over what is missed, and puts the schedule again. Returns whether there may be more.
    pub(super) fn fire_run(&mut self, id: TimerId, now: i64, draft: &mut Draft) -> bool {
        let timer = self.timers.get(&id).and_then(|pending| pending.whole.clone());
        let Some(timer) = timer else { return false };
        let Some(series) = timer.series.as_deref() else { return false };
        let (run, next) = series.step(now);
        if let Some(run) = run {
            let record = series.record(id, &timer.record, run);
            draft.bytes += record.size();
            draft.fires.push((Arc::clone(&timer.topic), record));
            draft.tally.fired += 1;
            draft.tally.late += now.saturating_sub(run.due).max(0) as u64;
        }
        let due = next.due();
        let goes_on = run.is_some() || due != timer.due;
        self.put(Timer { due, series: Some(Box::new(next)), ..*timer }, draft);
        goes_on
    }
}

#[cfg(test)]
mod tests;
