//! What must hold of half messages: T1 to T8.

use std::collections::{BTreeMap, BTreeSet};

use super::{COMMANDS, Fire, SHARDS, STATE, World};
use crate::{
    Answer, Command, TimerId,
    command::Verb,
    half::{Decide, Decided, Exhausted, Half, State},
    simulation::world::policy,
    state::{Entry, Progress},
};

/// What readers see of a shard's half messages.
#[derive(Default)]
struct Known {
    prepared: BTreeMap<TimerId, Half>,
    decided: BTreeMap<TimerId, Decided>,
    progress: Progress,
}

/// Reads it, and looks whether it changes as it may: T1, T6.
fn known(world: &World, shard: u32) -> Result<Known, String> {
    let mut known = Known::default();
    for (offset, written) in world.kafka.visible(STATE, shard) {
        match Entry::decode(&written.record) {
            Ok(Entry::Half(half)) => {
                if known.decided.contains_key(&half.id) {
                    return Err(format!("T1: {:?} is prepared at {offset} and was decided on", half.id));
                }
                known.prepared.insert(half.id, *half);
            }
            Ok(Entry::Decided(id, decided)) => {
                known.prepared.remove(&id);
                if known.decided.insert(id, decided.clone()).is_some_and(|before| before != decided) {
                    return Err(format!("T1: {id:?} is decided on again at {offset}"));
                }
            }
            Ok(Entry::HalfGone(id)) => {
                let decided = known.decided.remove(&id).is_some();
                let undecided = known.prepared.remove(&id).is_some();
                // No history is as long as what is remembered.
                if decided || undecided {
                    return Err(format!("T5/T7: nothing is known of {id:?} any more at {offset}"));
                }
            }
            Ok(Entry::Progress(progress)) => known.progress = progress,
            _ => {}
        }
    }
    Ok(known)
}

/// Holds at any instant.
pub(super) fn look(world: &World, shard: u32, fires: &[Fire]) -> Result<(), String> {
    let known = known(world, shard)?;
    let fired: BTreeSet<TimerId> = fires.iter().map(|fire| fire.id).collect();
    let mut prepared = BTreeSet::new();
    for (offset, written) in world.kafka.visible(COMMANDS, shard) {
        let Ok(Command { id, verb }) = Command::decode(&written.record) else { continue };
        let applied = offset < known.progress.applied;
        match verb {
            Verb::Prepare(prepare) if applied => {
                prepared.insert(id);
                let there = known.prepared.contains_key(&id) || known.decided.contains_key(&id);
                if !there {
                    return Err(format!("T5: {} was prepared at {offset} and is gone", prepare.event_id));
                }
            }
            Verb::Decide(_) | Verb::Checked(_) => {
                let told = world.answers.get(&(shard, offset));
                answered(id, told, &verb, prepared.contains(&id), known.decided.get(&id))
                    .map_err(|why| format!("{why} at {offset} of {shard}"))?;
            }
            _ => {}
        }
    }
    for (id, _) in world.halves.iter().filter(|(id, _)| id.shard() == shard) {
        let committed = known.decided.get(id).is_some_and(|decided| decided.committed);
        if fired.contains(&id.published()) && !committed {
            return Err(format!("T2: {id:?} is published and not committed"));
        }
    }
    Ok(())
}

/// T4, T7, T8: what was said to who decided is what was decided, and stays so.
fn answered(
    id: TimerId,
    told: Option<&Answer>,
    verb: &Verb,
    prepared: bool,
    decided: Option<&Decided>,
) -> Result<(), String> {
    let Some(told) = told else { return Ok(()) };
    let standing = match told {
        Answer::Unknown if prepared => return Err(format!("T7: {id:?} was said to be unknown")),
        Answer::Unknown => return Ok(()),
        _ if !prepared => return Err(format!("T8: {id:?} was never prepared, and is {told:?}")),
        Answer::Half(standing) => standing,
        told => return Err(format!("T4: {id:?} was said to be {told:?}")),
    };
    if standing.state == State::Prepared {
        let asked = matches!(verb, Verb::Checked(checked) if checked.decide.is_none());
        return if asked { Ok(()) } else { Err(format!("T1: {id:?} was decided on, and is not")) };
    }
    let Some(decided) = decided else {
        return Err(format!("T1: {id:?} is {standing:?}, and not decided on"));
    };
    let said = (standing.state == State::Committed, standing.due);
    if said != (decided.committed, decided.due) {
        return Err(format!("T1/T4: {id:?} was said to be {standing:?}, and is {decided:?}"));
    }
    let wanted = match verb {
        Verb::Decide(decision) => Some(&decision.decide),
        Verb::Checked(checked) => checked.decide.as_ref(),
        _ => None,
    };
    let fits = wanted.is_none_or(|wanted| matches!(wanted, Decide::Commit(_)) == decided.committed);
    if standing.first && !fits {
        return Err(format!("T4: {id:?} was decided as nobody wanted it: {verb:?}, {decided:?}"));
    }
    Ok(())
}

/// Holds when all is well again, and everybody was asked.
pub(super) fn end(world: &World, fires: &[Fire]) -> Result<(), String> {
    for shard in 0..SHARDS {
        let known = known(world, shard)?;
        for (id, prepare) in world.halves.iter().filter(|(id, _)| id.shard() == shard) {
            let fired = fires.iter().filter(|fire| fire.event == prepare.event_id).count();
            match known.decided.get(id) {
                Some(decided) if fired != usize::from(decided.committed) => {
                    return Err(format!(
                        "T2/T3: {} was published {fired} times: {decided:?}",
                        prepare.event_id
                    ));
                }
                Some(_) => {}
                None => {
                    let half = known.prepared.get(id).ok_or("T5: a half message is gone")?;
                    if !half.waits.is_held() || policy(*id) != Exhausted::Hold || fired > 0 {
                        return Err(format!("T5: {} is in doubt for good: {half:?}", prepare.event_id));
                    }
                }
            }
        }
    }
    Ok(())
}
