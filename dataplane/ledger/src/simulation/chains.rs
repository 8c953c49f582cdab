//! What must hold of repeated events, whatever happened.
//!
//! R1: each firing is there once, in the order of its count, and none beyond the end. R2: a Processor that has cancelled is named
//! in whatever fires afterwards. R3: in the end all have fired of what nobody cancelled.

use std::collections::{BTreeMap, BTreeSet};

use evhub_event::record::{CHAIN, OCCURRENCE, TIMER};

use super::world::{COMMANDS, SHARDS, STATE, TOPICS, World};
use crate::{
    Answer, Command, TimerId,
    command::{Mute, Verb},
    state::Entry,
};

/// One firing.
struct Firing {
    occurrence: u32,
    muted: String,
    transaction: usize,
}

/// Holds at any instant.
pub(super) fn look(world: &World) -> Result<(), String> {
    let (firings, mutes) = (firings(world), mutes(world));
    let applied = applied(world);
    for (id, count) in &world.chains {
        let Some(all) = firings.get(id) else { continue };
        let occurrences: Vec<u32> = all.iter().map(|firing| firing.occurrence).collect();
        let expected: Vec<u32> = (1..=all.len() as u32).collect();
        if occurrences != expected || all.len() as u32 > *count {
            return Err(format!("R1: {id} of {count} fired as {occurrences:?}"));
        }
        for (offset, Mute { processor, .. }) in mutes.get(id).into_iter().flatten() {
            let later = all.iter().filter(|it| applied.get(&it.transaction).is_some_and(|to| offset < to));
            let known = world.answers.get(&(id.shard(), *offset)) == Some(&Answer::Cancelled);
            let missing = |it: &&Firing| known && !it.muted.split(',').any(|one| one == processor);
            if let Some(Firing { occurrence, .. }) = later.into_iter().find(missing) {
                return Err(format!("R2: {id} fired as {occurrence} for {processor}, who had cancelled"));
            }
        }
    }
    Ok(())
}

/// Holds when all is well again and everything was due.
pub(super) fn end(world: &World) -> Result<(), String> {
    let (firings, mutes) = (firings(world), mutes(world));
    for (id, count) in &world.chains {
        let fired = firings.get(id).map_or(0, Vec::len) as u32;
        let left: BTreeSet<&str> =
            mutes.get(id).into_iter().flatten().map(|(_, mute)| mute.processor.as_str()).collect();
        if fired != *count && left.len() < 2 {
            return Err(format!("R3: {id} of {count} fired {fired} times in the end"));
        }
    }
    Ok(())
}

fn firings(world: &World) -> BTreeMap<TimerId, Vec<Firing>> {
    let mut all: BTreeMap<TimerId, Vec<Firing>> = BTreeMap::new();
    for (_, written) in TOPICS.into_iter().flat_map(|topic| world.kafka.visible(topic, 0)) {
        let text =
            |name: &str| written.record.header(name).map(|value| String::from_utf8_lossy(value).into_owned());
        let (Some(muted), Some(timer)) = (text(CHAIN), text(TIMER)) else { continue };
        let occurrence = text(OCCURRENCE).unwrap_or_default().parse().unwrap();
        let firing = Firing { occurrence, muted, transaction: written.transaction };
        all.entry(timer.parse().unwrap()).or_default().push(firing);
    }
    all
}

fn mutes(world: &World) -> BTreeMap<TimerId, Vec<(u64, Mute)>> {
    let mut all: BTreeMap<TimerId, Vec<(u64, Mute)>> = BTreeMap::new();
    for shard in 0..SHARDS {
        for (offset, written) in world.kafka.visible(COMMANDS, shard) {
            if let Ok(Command { id, verb: Verb::Mute(mute) }) = Command::decode(&written.record) {
                all.entry(id).or_default().push((offset, mute));
            }
        }
    }
    all
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
