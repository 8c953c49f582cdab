//! C-13: while one Processor's target is in trouble, all others are served as before (P-16).
//!
//! Times of trouble and of calm take turns within one run, so that the machine's moods are in both. A turn is drawn or
//! left out as a whole: what lies in one is not independent of the rest of it. One kind of trouble alone may be what disturbs
//! the others, and then no drawing of turns is sure of it; that it is no mood of the machine shows by its size: half of all
//! that was delivered in that turn stood still for a while.

use std::{collections::HashMap, fmt, time::Duration};

use super::{
    Class, Verdict,
    index::{Index, anomaly},
};
use crate::history::{Mono, draw};

/// By how much the slowest of a hundred may be slower, and how much of that nobody notices.
const RATIO: f64 = 1.2;
const NOTICEABLE: Mono = 10_000_000;
/// By how much longer half the deliveries of a turn must take than in the worst turn of calm, for that turn to be enough.
const STANDSTILL: Mono = 300_000_000;
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
    let slower = compared.surely.0 > RATIO && noticed;
    let still = compared.worst.1.saturating_sub(compared.worst.0) > STANDSTILL;
    if !slower && !still {
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
    /// What half of the deliveries took in the worst turn, of calm and of trouble.
    worst: (Mono, Mono),
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (usual, meanwhile) = (Duration::from_nanos(self.usual), Duration::from_nanos(self.meanwhile));
        let ratio = self.meanwhile as f64 / self.usual.max(1) as f64;
        let (low, high) = self.surely;
        let worst = (Duration::from_nanos(self.worst.0), Duration::from_nanos(self.worst.1));
        write!(
            f,
            "with one in trouble 99 of 100 deliveries to others took {meanwhile:.1?}, otherwise {usual:.1?}: {ratio:.2} times \
             as long, surely {low:.2} to {high:.2}; half of them took {:.1?} in the worst turn of trouble, {:.1?} in that of \
             calm",
            worst.1, worst.0
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
    let worst = |turns: &[Turn]| turns.iter().map(|turn| part(std::iter::once(turn), 50)).max().unwrap_or(0);
    Ok(Compared {
        usual,
        meanwhile,
        surely: interval(&calm, &trouble),
        worst: (worst(&calm), worst(&trouble)),
    })
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
    part(turns, 99)
}

/// What so many of 100 stay under.
fn part<'t>(turns: impl Iterator<Item = &'t Turn>, percent: usize) -> Mono {
    let mut all: Vec<Mono> = turns.flatten().copied().collect();
    let at = all.len() * percent / 100;
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
