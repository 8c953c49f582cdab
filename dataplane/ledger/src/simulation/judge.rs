//! What must hold at any instant, and at the end: the invariants by their names in the ledger's design.

mod halves;

use std::collections::{BTreeMap, BTreeSet};

use evhub_event::record::{DUE, OCCURRENCE, TIMER};

use super::{
    chains, claims,
    kafka::Written,
    schedules,
    world::{COMMANDS, SHARDS, SKEW, STATE, TOPICS, World},
};
use crate::{
    Answer, Command, TimerId,
    command::Verb,
    half::Which,
    leader::Planted,
    shard::Shard,
    state::{Entry, Progress},
    timer::End,
};

/// What is seen to have fired.
struct Fire {
    id: TimerId,
    event: String,
    due: i64,
    at: i64,
    key: Option<bytes::Bytes>,
    topic: &'static str,
    transaction: usize,
}

/// What readers see of a shard's state.
#[derive(Default)]
pub(super) struct Known {
    entries: BTreeMap<TimerId, Entry>,
    pub(super) progress: Progress,
}

impl Known {
    /// What is known of a timer.
    pub(super) fn entry(&self, id: TimerId) -> Option<&Entry> {
        self.entries.get(&id)
    }
}

/// Holds at any instant.
pub(super) fn look(world: &World) -> Result<(), String> {
    let fires = fires(world);
    let mut count: BTreeMap<&str, u32> = BTreeMap::new();
    for fire in &fires {
        *count.entry(&fire.event).or_default() += 1;
        if fire.at < fire.due - SKEW {
            return Err(format!("S5: {} fired {} ms early", fire.event, fire.due - fire.at));
        }
    }
    if let Some((event, times)) = count.iter().find(|(_, times)| **times > 1) {
        return Err(format!("S3: {event} fired {times} times"));
    }
    for shard in 0..SHARDS {
        let mut last = 0;
        for (offset, written) in world.kafka.visible(STATE, shard) {
            if written.epoch < last {
                return Err(format!("S1: epoch {} behind {last} at {offset} of {shard}", written.epoch));
            }
            last = written.epoch;
        }
        kept(world, shard, &fires)?;
        halves::look(world, shard, &fires)?;
    }
    claims::look(world)?;
    chains::look(world)?;
    schedules::look(world)?;
    in_order(world, &fires)
}

/// S2 and S4: what was applied is pending and has not fired, or has ended and fired just so.
fn kept(world: &World, shard: u32, fires: &[Fire]) -> Result<(), String> {
    let known = known(world, shard);
    let mut earlier = BTreeSet::new();
    for (offset, written) in world.kafka.visible(COMMANDS, shard) {
        let Ok(Command { id, verb: Verb::Submit(submit) }) = Command::decode(&written.record) else {
            continue;
        };
        if offset >= known.progress.applied {
            if !earlier.contains(&id) && known.entries.contains_key(&id) {
                return Err(format!(
                    "S2: {} at {offset} of {shard} is not applied, and known",
                    submit.event_id
                ));
            }
            continue;
        }
        if submit.repeat.is_some() {
            // Looked at elsewhere: it fires more than once.
            continue;
        }
        earlier.insert(id);
        let fired = fires.iter().any(|fire| fire.id == id);
        let fits = match known.entries.get(&id) {
            Some(Entry::Pending(_)) => !fired,
            Some(Entry::Ended(_, ended)) => fired == (ended.how == End::Fired),
            _ => false,
        };
        if !fits {
            let entry = known.entries.get(&id);
            return Err(format!(
                "S2/S4: {} at {offset} of {shard}, fired {fired}, is {entry:?}",
                submit.event_id
            ));
        }
    }
    Ok(())
}

/// S7: of one key what is due earlier fires earlier, if it was known by then.
fn in_order(world: &World, fires: &[Fire]) -> Result<(), String> {
    let (mut seqs, mut moved, mut applied) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    for shard in 0..SHARDS {
        for (offset, written) in world.kafka.visible(COMMANDS, shard) {
            match Command::decode(&written.record) {
                Ok(Command { id, verb: Verb::Submit(submit) }) if submit.repeat.is_none() => {
                    seqs.entry(id).or_insert(offset);
                }
                Ok(Command { id, verb: Verb::Reschedule(_) }) => drop(moved.insert(id)),
                _ => {}
            }
        }
        for (_, written) in world.kafka.visible(STATE, shard) {
            if let Ok(Entry::Progress(progress)) = Entry::decode(&written.record) {
                applied.insert(written.transaction, progress.applied);
            }
        }
    }
    // What was published for a topic and key of a shard, in the order in which it fired.
    let mut lines: BTreeMap<_, Vec<&Fire>> = BTreeMap::new();
    for fire in fires.iter().filter(|fire| !moved.contains(&fire.id)) {
        if let Some(key) = &fire.key {
            lines.entry((fire.topic, fire.id.shard(), key)).or_default().push(fire);
        }
    }
    for line in lines.values() {
        for (n, fire) in line.iter().enumerate() {
            let Some(seq) = seqs.get(&fire.id) else { continue };
            for earlier in &line[..n] {
                let passed =
                    seqs.get(&earlier.id).is_some_and(|other| (fire.due, *seq) < (earlier.due, *other));
                if passed && applied.get(&earlier.transaction).is_some_and(|applied| seq < applied) {
                    return Err(format!("S7: {} fired before {}", earlier.event, fire.event));
                }
            }
        }
    }
    Ok(())
}

/// Holds when all is well again and everything was due.
pub(super) fn end(world: &World) -> Result<(), String> {
    let fires = fires(world);
    for (id, submit) in &world.submits {
        let fired = fires.iter().filter(|fire| fire.event == submit.event_id).count();
        let told = |answer: Answer| {
            let cancels = world.kafka.visible(COMMANDS, id.shard()).filter(|(_, written)| {
                matches!(Command::decode(&written.record), Ok(Command { id: other, verb: Verb::Cancel }) if other == *id)
            });
            cancels.filter(|(offset, _)| world.answers.get(&(id.shard(), *offset)) == Some(&answer)).count()
        };
        let (cancelled, too_late) = (told(Answer::Cancelled), told(Answer::AlreadyFired));
        if cancelled > 0 && (fired > 0 || too_late > 0) {
            return Err(format!("S6: {} was cancelled and fired {fired} times", submit.event_id));
        }
        let known = known(world, id.shard());
        let was_cancelled =
            matches!(known.entries.get(id), Some(Entry::Ended(_, ended)) if ended.how == End::Cancelled);
        if fired != usize::from(!was_cancelled) {
            return Err(format!("S2/S9: {} fired {fired} times in the end", submit.event_id));
        }
    }
    claims::end(world)?;
    chains::end(world)?;
    schedules::end(world)?;
    halves::end(world, &fires)?;
    (0..SHARDS).try_for_each(|shard| same_again(world, shard))
}

/// S10: what is read back is what the leader knows.
fn same_again(world: &World, shard: u32) -> Result<(), String> {
    let leader = world.leader(shard).ok_or("S9: nobody leads")?;
    if !leader.leads() || leader.progress().applied != world.kafka.end_of(COMMANDS, shard) {
        return Err(format!("S9: shard {shard} has not applied everything: {:?}", leader.progress()));
    }
    let mut again = Shard::new(usize::MAX, Planted::NONE);
    for (offset, written) in world.kafka.visible(STATE, shard) {
        let entry = Entry::decode(&written.record).map_err(|error| format!("S10: {error} at {offset}"))?;
        again.load(offset, entry, world.now);
    }
    if again.taken() != leader.shard().taken() {
        return Err(format!("S10: keys {:?} and {:?}", again.taken(), leader.shard().taken()));
    }
    for topic in TOPICS {
        let pending = |shard: &Shard| {
            let listed = shard.list(topic, None, usize::MAX).into_iter();
            listed.map(|(slot, listed)| (slot, listed.id)).collect::<Vec<_>>()
        };
        let halves = |shard: &Shard| shard.list_halves(topic, Which::Prepared, None, usize::MAX);
        let ids = |shard| halves(shard).into_iter().map(|(slot, one)| (slot, one.id, one.checks, one.next));
        if !ids(&again).eq(ids(leader.shard())) {
            return Err(format!("S10: {:?} and {:?}", halves(&again), halves(leader.shard())));
        }
        let dynamic = |shard: &Shard| shard.dynamic(topic);
        if dynamic(&again) != dynamic(leader.shard()) {
            return Err(format!("S10: {:?} and {:?}", dynamic(&again), dynamic(leader.shard())));
        }
        if pending(&again) != pending(leader.shard()) {
            return Err(format!("S10: {:?} and {:?}", pending(&again), pending(leader.shard())));
        }
    }
    Ok(())
}

fn fires(world: &World) -> Vec<Fire> {
    let text = |written: &Written, name: &str| {
        let value = written.record.header(name).map(|value| String::from_utf8_lossy(value).into_owned());
        value.unwrap_or_default()
    };
    let fire = |topic, written: &Written| Fire {
        topic,
        id: text(written, TIMER).parse().unwrap(),
        event: text(written, "ce_id") + &text(written, OCCURRENCE),
        due: text(written, DUE).parse().unwrap(),
        at: written.at,
        key: written.record.key.clone(),
        transaction: written.transaction,
    };
    let all = TOPICS
        .into_iter()
        .flat_map(|topic| world.kafka.visible(topic, 0).map(move |(_, written)| (topic, written)));
    // What is published at once has no timer: it is looked at elsewhere.
    let timers = all.filter(|(_, written)| written.record.header(TIMER).is_some());
    timers.map(|(topic, written)| fire(topic, written)).collect()
}

pub(super) fn known(world: &World, shard: u32) -> Known {
    let mut known = Known::default();
    for (_, written) in world.kafka.visible(STATE, shard) {
        match Entry::decode(&written.record) {
            Ok(Entry::Progress(progress)) => known.progress = progress,
            Ok(Entry::Gone(id)) => drop(known.entries.remove(&id)),
            Ok(Entry::Pending(timer)) => drop(known.entries.insert(timer.id, Entry::Pending(timer))),
            Ok(Entry::Ended(id, ended)) => drop(known.entries.insert(id, Entry::Ended(id, ended))),
            Ok(
                Entry::Claimed(..)
                | Entry::Free(_)
                | Entry::Half(_)
                | Entry::Decided(..)
                | Entry::HalfGone(_)
                | Entry::Standing,
            )
            | Err(_) => {}
        }
    }
    known
}
