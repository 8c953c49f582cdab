//! What must hold of schedules that are put, deleted and fired, whatever happened.
//!
//! P1 (S3): of each schedule every instant fires once, and in their order, through edits and when it is made again. P2: what
//! fires does so by the rule that was put last, and nothing fires behind a deletion. P3: in the end what was put last is kept,
//! and nothing else is, and it has fired what is due. P4: what fires besides is there once for each time it was asked for.

use std::collections::BTreeMap;

use evhub_event::record::{DUE, TIMER};

use super::{
    judge::known,
    kafka::Written,
    world::{COMMANDS, SHARDS, STATE, TOPICS, World},
};
use crate::{Answer, Command, Keep, TimerId, command::Verb, series::Pace, state::Entry};

/// One run.
struct Run {
    nominal: i64,
    transaction: usize,
}

/// What somebody asked for, and where in the log: to keep it so, or to keep it no more.
type Wish = (u64, Option<Box<Keep>>);

/// Holds at any instant.
pub(super) fn look(world: &World) -> Result<(), String> {
    let (wishes, applied) = (wishes(world), applied(world));
    for (id, runs) in &runs(world, &wishes) {
        let mut last = i64::MIN;
        for Run { nominal, transaction } in runs {
            if *nominal <= last {
                return Err(format!("P1: {id} fired {nominal} behind {last}"));
            }
            last = *nominal;
            let Some(to) = applied.get(transaction) else { continue };
            match wish(&wishes[id], *to) {
                Some(keep) if fits(keep, *nominal) => {}
                keep => return Err(format!("P2: {id} fired {nominal} by {:?}", keep.map(|keep| &keep.rule))),
            }
        }
    }
    for (event, times) in besides(world) {
        if times > 1 {
            return Err(format!("P4: {event} fired {times} times"));
        }
    }
    Ok(())
}

/// Holds when all is well again and everything was due.
pub(super) fn end(world: &World) -> Result<(), String> {
    for (id, all) in wishes(world) {
        let known = known(world, id.shard());
        let kept = match known.entry(id) {
            Some(Entry::Pending(timer)) => Some(timer),
            _ => None,
        };
        let keep = wish(&all, u64::MAX);
        if keep.map(|keep| keep.digest) != kept.map(|timer| timer.digest) {
            return Err(format!("P3: {id} is {kept:?}, not {keep:?}"));
        }
        // The last that happened is that time passed.
        if kept.is_some_and(|timer| timer.due <= world.now - 5_000) {
            return Err(format!("P3: {id} has not fired what is due: {kept:?}"));
        }
    }
    let besides = besides(world);
    for shard in 0..SHARDS {
        for (offset, written) in world.kafka.visible(COMMANDS, shard) {
            let Ok(Command { verb: Verb::Fire, .. }) = Command::decode(&written.record) else { continue };
            if let Some(Answer::Claimed(receipt)) = world.answers.get(&(shard, offset))
                && besides.get(&receipt.event_id) != Some(&1)
            {
                return Err(format!("P4: {} is acknowledged and did not fire", receipt.event_id));
            }
        }
    }
    Ok(())
}

/// Whether a rule has an instant.
fn fits(keep: &Keep, nominal: i64) -> bool {
    match &keep.rule.pace {
        Pace::Every(anchor, period) => !keep.rule.suspended && (nominal - anchor) % *period as i64 == 0,
        Pace::Cron(..) => false,
    }
}

/// What counts when commands are applied so far.
fn wish(all: &[Wish], to: u64) -> Option<&Keep> {
    all.iter().rev().find(|(offset, _)| *offset < to).and_then(|(_, keep)| keep.as_deref())
}

fn wishes(world: &World) -> BTreeMap<TimerId, Vec<Wish>> {
    let mut all: BTreeMap<TimerId, Vec<Wish>> = BTreeMap::new();
    for shard in 0..SHARDS {
        for (offset, written) in world.kafka.visible(COMMANDS, shard) {
            match Command::decode(&written.record) {
                Ok(Command { id, verb: Verb::Keep(keep) }) => {
                    all.entry(id).or_default().push((offset, Some(keep)));
                }
                Ok(Command { id, verb: Verb::Drop(_) }) => all.entry(id).or_default().push((offset, None)),
                _ => {}
            }
        }
    }
    all
}

fn runs(world: &World, wishes: &BTreeMap<TimerId, Vec<Wish>>) -> BTreeMap<TimerId, Vec<Run>> {
    let mut all: BTreeMap<TimerId, Vec<Run>> = BTreeMap::new();
    for (_, written) in TOPICS.into_iter().flat_map(|topic| world.kafka.visible(topic, 0)) {
        let Some(id) = text(written, TIMER).and_then(|id| id.parse().ok()) else { continue };
        let Some(nominal) = text(written, DUE).and_then(|due| due.parse().ok()) else { continue };
        if wishes.contains_key(&id) {
            all.entry(id).or_default().push(Run { nominal, transaction: written.transaction });
        }
    }
    all
}

/// How often each event is there that has no timer.
fn besides(world: &World) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for (_, written) in TOPICS.into_iter().flat_map(|topic| world.kafka.visible(topic, 0)) {
        if let (None, Some(event)) = (text(written, TIMER), text(written, "ce_id")) {
            *count.entry(event).or_default() += 1;
        }
    }
    count
}

fn text(written: &Written, name: &str) -> Option<String> {
    written.record.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

/// How far commands are applied with each transaction.
fn applied(world: &World) -> BTreeMap<usize, u64> {
    let written = (0..SHARDS).flat_map(|shard| world.kafka.visible(STATE, shard));
    let progress = written.filter_map(|(_, written)| match Entry::decode(&written.record) {
        Ok(Entry::Progress(progress)) => Some((written.transaction, progress.applied)),
        _ => None,
    });
    progress.collect()
}
