//! What must hold of publishes under a key, by a model of its own: the commands as they lie in the log, one after the other.
//!
//! D1: of each key and window one event is published, and once. D2: whoever asks is told of that one, or that its content
//! is another. D3: what is acknowledged is published in the end.

use std::collections::BTreeMap;

use super::{
    judge::known,
    world::{COMMANDS, SHARDS, TOPICS, World},
};
use crate::{
    Answer, Command, TimerId,
    claim::{Claim, Receipt},
    command::Verb,
};

/// One command, and what must become of it.
struct Told {
    shard: u32,
    offset: u64,
    event: String,
    publishes: bool,
    answer: Answer,
}

/// Holds at any instant.
pub(super) fn look(world: &World) -> Result<(), String> {
    let published = published(world);
    let applied: Vec<u64> = (0..SHARDS).map(|shard| known(world, shard).progress.applied).collect();
    for Told { shard, offset, event, publishes, answer } in told(world) {
        let times = published.get(&event).copied().unwrap_or(0);
        if times > usize::from(publishes) {
            return Err(format!("D1: {event} at {offset} of {shard} is published {times} times"));
        }
        if times > 0 && offset >= applied[shard as usize] {
            return Err(format!("D1: {event} at {offset} of {shard} is published, and not applied"));
        }
        if let Some(said) = world.answers.get(&(shard, offset)).filter(|said| **said != answer) {
            return Err(format!("D2: {event} at {offset} of {shard} is told {said:?}, not {answer:?}"));
        }
    }
    Ok(())
}

/// Holds when all is well again.
pub(super) fn end(world: &World) -> Result<(), String> {
    let published = published(world);
    for Told { shard, offset, event, publishes, .. } in told(world) {
        let times = published.get(&event).copied().unwrap_or(0);
        if times != usize::from(publishes) {
            return Err(format!("D3: {event} at {offset} of {shard} is published {times} times in the end"));
        }
    }
    Ok(())
}

fn told(world: &World) -> Vec<Told> {
    let mut all = Vec::new();
    for shard in 0..SHARDS {
        let mut keys: BTreeMap<TimerId, (i64, u64, Receipt)> = BTreeMap::new();
        for (offset, written) in world.kafka.visible(COMMANDS, shard) {
            let Ok(Command { id, verb: Verb::Claim(claim) }) = Command::decode(&written.record) else {
                continue;
            };
            let Claim { submit, timer, window, digest } = *claim;
            let event = submit.event_id;
            let taken = keys.get(&id).filter(|(until, ..)| *until > written.at).cloned();
            let publishes = taken.is_none();
            let (_, first, receipt) = taken.unwrap_or_else(|| {
                let timer = timer.map(|timer| (timer, submit.when.due(written.at)));
                let until = written.at + window.as_millis() as i64;
                let claimed = (until, digest, Receipt { event_id: event.clone(), timer });
                keys.insert(id, claimed.clone());
                claimed
            });
            let answer = if first == digest { Answer::Claimed(Box::new(receipt)) } else { Answer::Conflict };
            all.push(Told { shard, offset, event, publishes, answer });
        }
    }
    all
}

/// How often each event is seen.
fn published(world: &World) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for topic in TOPICS {
        for (_, written) in world.kafka.visible(topic, 0) {
            let id = written.record.header("ce_id").map(|id| id.to_vec()).unwrap_or_default();
            *count.entry(String::from_utf8_lossy(&id).into_owned()).or_default() += 1;
        }
    }
    count
}
