//! C-13: while one Processor's target is in trouble, all others are served as before (P-16).
//!
//! Times of trouble and of calm take turns within one run, so that the machine's moods are in both. A turn is drawn or
//! left out as a whole: what lies in one is not independent of the rest of it.

use std::{collections::HashMap, fmt, time::Duration};

use super::{
    Class, Verdict,
    index::{Index, anomaly},
};
use crate::history::{Mono, draw};

/// By how much the slowest of a hundred may be slower, and how much of that nobody notices.
const RATIO: f64 = 1.2;
const NOTICEABLE: Mono = 10_000_000;
/// How long trouble's last attempts may reach into the calm after it.
const SETTLING: Mono = 1_500_000_000;
/// How often turns are drawn.
const DRAWS: u64 = 400;
/// The fewest turns of each kind, and the fewest deliveries in one, from which anything follows.
const TURNS: usize = 3;
const DELIVERIES: usize = 50;

/// How long deliveries of one turn took.
type Turn = Vec<Mono>;

pub(super) fn check(index: &Index<'_>) -> Verdict {
    if index.troubles.is_empty() {
        return Verdict::Valid;
    }
    let compared = match compare(index) {
        Ok(compared) => compared,
        Err(why) => return Verdict::Unknown(why),
    };
    let noticed = compared.meanwhile.saturating_sub(compared.usual) > NOTICEABLE;
    if compared.surely.0 <= RATIO || !noticed {
        return Verdict::Valid;
    }
    let windows = index.troubles.iter().map(|(_, window)| window.entry);
    Verdict::Invalid(vec![anomaly(Class::Disturbed, compared.to_string(), windows)])
}

/// What 99 of 100 deliveries to others took, without and with trouble.
pub(super) struct Compared {
    usual: Mono,
    meanwhile: Mono,
    /// Where the ratio of the two surely lies.
    surely: (f64, f64),
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (usual, meanwhile) = (Duration::from_nanos(self.usual), Duration::from_nanos(self.meanwhile));
        let ratio = self.meanwhile as f64 / self.usual.max(1) as f64;
        let (low, high) = self.surely;
        write!(
            f,
            "with one in trouble 99 of 100 deliveries to others took {meanwhile:.1?}, otherwise {usual:.1?}: {ratio:.2} times \
             as long, surely {low:.2} to {high:.2}"
        )
    }
}

/// The comparison, or why there is none.
pub(super) fn compare(index: &Index<'_>) -> Result<Compared, String> {
    let (calm, trouble) = turns(index);
    if calm.len() < TURNS || trouble.len() < TURNS {
        return Err(format!("{} turns of calm and {} of trouble", calm.len(), trouble.len()));
    }
    let (usual, meanwhile) = (high(calm.iter()), high(trouble.iter()));
    Ok(Compared { usual, meanwhile, surely: interval(&calm, &trouble) })
}

/// The deliveries of everybody else, by the turn in which their events were acknowledged: those of calm, those of trouble.
fn turns(index: &Index<'_>) -> (Vec<Turn>, Vec<Turn>) {
    let mut edges: Vec<(Mono, bool)> = vec![(0, false)];
    for (_, window) in &index.troubles {
        edges.extend([(window.from, true), (window.until, false)]);
    }
    edges.sort_unstable();
    let mut turns: Vec<Turn> = vec![Turn::new(); edges.len()];
    let acked: HashMap<&str, Mono> =
        index.ops.iter().filter(|op| op.receipt().is_some()).map(|op| (op.id, op.ended)).collect();
    let is_victim = |name: &str| !index.troubles.iter().any(|(troubled, _)| *troubled == name);
    for attempts in index.deliveries().values() {
        let Some(first) = attempts.first().filter(|first| is_victim(first.processor)) else { continue };
        let Some(acked) = acked.get(first.id) else { continue };
        let turn = edges.partition_point(|(from, _)| from <= acked) - 1;
        let (from, troubled) = edges[turn];
        if troubled || *acked >= from + SETTLING {
            turns[turn].push(first.recv.saturating_sub(*acked));
        }
    }
    let (mut calm, mut trouble) = (Vec::new(), Vec::new());
    for (turn, (_, troubled)) in turns.into_iter().zip(edges) {
        if turn.len() >= DELIVERIES {
            if troubled { trouble.push(turn) } else { calm.push(turn) }
        }
    }
    (calm, trouble)
}

/// What 99 of 100 stay under.
fn high<'t>(turns: impl Iterator<Item = &'t Turn>) -> Mono {
    let mut all: Vec<Mono> = turns.flatten().copied().collect();
    let at = all.len() * 99 / 100;
    if all.is_empty() { 0 } else { *all.select_nth_unstable(at).1 }
}

/// Where the ratio lies in 95 of 100 draws of turns.
fn interval(calm: &[Turn], trouble: &[Turn]) -> (f64, f64) {
    let drawn = |of: &'_ str, turns: &[Turn], n: u64| {
        let pick = |i: usize| draw(n, &[of, &i.to_string()]) as usize % turns.len();
        high((0..turns.len()).map(|i| &turns[pick(i)]))
    };
    let mut ratios: Vec<f64> = (0..DRAWS)
        .map(|n| drawn("trouble", trouble, n) as f64 / drawn("calm", calm, n).max(1) as f64)
        .collect();
    ratios.sort_by(f64::total_cmp);
    (ratios[ratios.len() / 40], ratios[ratios.len() - 1 - ratios.len() / 40])
}
