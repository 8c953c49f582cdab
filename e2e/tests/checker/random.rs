//! Random correct histories are valid; one random corruption of them is found and called by its name.

use evhub_e2e::{
    check::Class,
    history::{Answer, Entry, History, Outcome, Rec},
};
use proptest::prelude::*;

use crate::{
    reference::execution,
    story::{classes, model},
};

/// The entries of a history, to be spoiled.
type Entries = Vec<Entry>;

/// A way to spoil a history. Each says which class must be found, or `None` where this history offers no place for it.
type Corruption = fn(&mut Entries, usize) -> Option<Class>;

const CORRUPTIONS: [(&str, Corruption); 20] = [
    ("drop a record", drop_record),
    ("drop a delivery", drop_delivery),
    ("drop a dead letter", drop_letter),
    ("swap two records", swap_records),
    ("swap two attempts", swap_attempts),
    ("move a receipt", move_receipt),
    ("duplicate a success", duplicate_success),
    ("duplicate a number", duplicate_number),
    ("change a hash", change_hash),
    ("move an epoch", move_epoch),
    ("repeat an old attempt", repeat_old),
    ("shift a number", shift_number),
    ("let a rejected event appear", appear),
    ("hurry a retry", hurry),
    ("delay a retry", dawdle),
    ("make one attempt more", one_more),
    ("let an answer take longer", linger),
    ("attempt by an old generation", be_stale),
    ("attempt while suspended", be_deaf),
    ("attempt after removal", be_undead),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn correct_histories_are_valid(seed: u64, events in 5u64..60, crashes in 0u64..6) {
        prop_assert_eq!(classes(&execution(seed, events, crashes), &model()), []);
    }

    #[test]
    fn one_corruption_is_found(seed: u64, crashes in 0u64..4, which in 0..CORRUPTIONS.len(), place: usize) {
        let (name, corrupt) = CORRUPTIONS[which];
        let mut history = execution(seed, 40, crashes);
        if let Some(class) = corrupt(&mut history.0, place) {
            let found = classes(&history, &model());
            prop_assert!(found.contains(&class), "{}: {:?} is not among {:?}", name, class, found);
        }
    }
}

/// No corruption may be one that never finds a place.
#[test]
fn every_corruption_bites() {
    for (name, corrupt) in CORRUPTIONS {
        let bites = (0..20).filter(|seed| {
            let History(mut entries) = execution(*seed, 40, 2);
            corrupt(&mut entries, *seed as usize).is_some()
        });
        assert!(bites.count() >= 10, "{name} finds no place");
    }
}

/// One of the entries that fit.
fn one(entries: &[Entry], place: usize, fits: impl Fn(&Rec) -> bool) -> Option<usize> {
    let fitting: Vec<_> = (0..entries.len()).filter(|i| fits(&entries[*i].rec)).collect();
    (!fitting.is_empty()).then(|| fitting[place % fitting.len()])
}

fn drop_record(entries: &mut Entries, place: usize) -> Option<Class> {
    let acked: Vec<String> = entries.iter().filter_map(|entry| acked_id(entries, &entry.rec)).collect();
    let i = one(entries, place, |rec| matches!(rec, Rec::Log { id, .. } if acked.contains(id)))?;
    entries.remove(i);
    Some(Class::LostAck)
}

/// The id of an `Invoke` that was acknowledged.
fn acked_id(entries: &[Entry], rec: &Rec) -> Option<String> {
    let Rec::Invoke { op, id, .. } = rec else { return None };
    let done = |entry: &Entry| matches!(&entry.rec, Rec::Complete { op: o, outcome: Outcome::Acked { .. } } if o == op);
    entries.iter().any(done).then(|| id.clone())
}

fn ids_with(entries: &[Entry], answer: Answer) -> Vec<(u64, String)> {
    let answered = |attempt: u64| {
        entries.iter().any(
            |e| matches!(&e.rec, Rec::Done { attempt: a, answer: b, .. } if *a == attempt && *b == answer),
        )
    };
    let ids = entries.iter().filter_map(|entry| match &entry.rec {
        Rec::Recv { attempt, id, .. } if answered(*attempt) => Some((*attempt, id.clone())),
        _ => None,
    });
    ids.collect()
}

fn is_dead(entries: &[Entry], id: &str) -> bool {
    entries.iter().any(|entry| matches!(&entry.rec, Rec::Dead { id: dead, .. } if dead == id))
}

fn drop_delivery(entries: &mut Entries, place: usize) -> Option<Class> {
    let delivered = ids_with(entries, Answer::Success);
    let i = one(
        entries,
        place,
        |rec| matches!(rec, Rec::Log { id, .. } if delivered.iter().any(|(_, d)| d == id) && !is_dead(entries, id)),
    )?;
    let Rec::Log { id: gone, .. } = entries[i].rec.clone() else { return None };
    entries.retain(|entry| !matches!(&entry.rec, Rec::Recv { id, .. } if *id == gone));
    Some(Class::Lost)
}

fn drop_letter(entries: &mut Entries, place: usize) -> Option<Class> {
    let i = one(entries, place, |rec| matches!(rec, Rec::Dead { .. }))?;
    let Rec::Dead { id: gone, .. } = entries[i].rec.clone() else { return None };
    entries.retain(|entry| !matches!(&entry.rec, Rec::Dead { id, .. } if *id == gone));
    Some(Class::Lost)
}

/// Two acknowledged neighbours change places.
fn swap_records(entries: &mut Entries, place: usize) -> Option<Class> {
    let acked: Vec<String> = entries.iter().filter_map(|entry| acked_id(entries, &entry.rec)).collect();
    let fits = |rec: &Rec| matches!(rec, Rec::Log { id, .. } if acked.contains(id));
    let i = one(entries, place, fits)?;
    let j = (0..entries.len()).find(|j| *j != i && fits(&entries[*j].rec))?;
    let offset_of = |entry: &Entry| match entry.rec {
        Rec::Log { offset, .. } => offset,
        _ => 0,
    };
    let moves = [(i, offset_of(&entries[j])), (j, offset_of(&entries[i]))];
    for (at, to) in moves {
        if let Rec::Log { offset, .. } = &mut entries[at].rec {
            *offset = to;
        }
    }
    Some(Class::WrongRecord)
}

/// The second event of a lane goes first. Only first attempts count, and no crash explains it.
fn swap_attempts(entries: &mut Entries, place: usize) -> Option<Class> {
    let lane = format!("k{}", place % 4);
    let first = |rec: &Rec| matches!(rec, Rec::Recv { key: Some(key), number: 1, .. } if *key == lane);
    let mut firsts: Vec<usize> = (0..entries.len()).filter(|i| first(&entries[*i].rec)).collect();
    firsts.sort_by_key(|i| entries[*i].at);
    let (&i, &j) = (firsts.first()?, firsts.last()?);
    let (Rec::Recv { id: a, .. }, Rec::Recv { id: b, .. }) = (entries[i].rec.clone(), entries[j].rec.clone())
    else {
        return None;
    };
    if a == b {
        return None;
    }
    if let Rec::Recv { id, .. } = &mut entries[i].rec {
        *id = b;
    }
    Some(Class::Gap)
}

fn move_receipt(entries: &mut Entries, place: usize) -> Option<Class> {
    let fits = |rec: &Rec| matches!(rec, Rec::Complete { outcome: Outcome::Acked { .. }, .. });
    let i = one(entries, place, fits)?;
    let j = (0..entries.len()).find(|j| *j != i && fits(&entries[*j].rec))?;
    let Rec::Complete { outcome: there, .. } = entries[j].rec.clone() else { return None };
    if let Rec::Complete { outcome, .. } = &mut entries[i].rec {
        *outcome = there;
    }
    Some(Class::InconsistentOffset)
}

/// A copy of the attempt and its answer, later.
fn again(entries: &mut Entries, attempt: u64, later: u64, change: impl Fn(&mut u32, &mut u64)) {
    let copies: Vec<Entry> = entries
        .iter()
        .filter(|entry| match &entry.rec {
            Rec::Recv { attempt: a, .. } | Rec::Done { attempt: a, .. } => *a == attempt,
            _ => false,
        })
        .cloned()
        .collect();
    for mut copy in copies {
        copy.at += later;
        match &mut copy.rec {
            Rec::Recv { attempt, number, epoch, began, .. } => {
                *attempt += 1_000_000;
                *began += later;
                change(number, epoch);
            }
            Rec::Done { attempt, from, .. } => {
                *attempt += 1_000_000;
                *from += later;
            }
            _ => {}
        }
        entries.push(copy);
    }
}

/// Attempts that ended so and were their event's last.
fn last_with(entries: &[Entry], answer: Answer, place: usize) -> Option<u64> {
    let mut last: Vec<u64> = Vec::new();
    for (attempt, id) in ids_with(entries, answer) {
        let later =
            |e: &Entry| matches!(&e.rec, Rec::Recv { attempt: a, id: i, .. } if *i == id && *a > attempt);
        if !entries.iter().any(later) {
            last.push(attempt);
        }
    }
    (!last.is_empty()).then(|| last[place % last.len()])
}

/// Past everything else in the history.
const LATER: u64 = 100_000_000_000;

fn duplicate_success(entries: &mut Entries, place: usize) -> Option<Class> {
    let attempt = last_with(entries, Answer::Success, place)?;
    again(entries, attempt, LATER, |number, _| *number += 1);
    Some(Class::RepeatAfterSuccess)
}

fn duplicate_number(entries: &mut Entries, place: usize) -> Option<Class> {
    let attempt = last_with(entries, Answer::Success, place)?;
    again(entries, attempt, LATER, |_, _| {});
    Some(Class::SameEpochRepeat)
}

fn repeat_old(entries: &mut Entries, place: usize) -> Option<Class> {
    let attempt = last_with(entries, Answer::Success, place)?;
    // A crash right after it might have been the reason.
    let crash =
        entries.iter().filter(|e| matches!(e.rec, Rec::Fault { .. })).map(|e| e.at).max().unwrap_or(0);
    if entries
        .iter()
        .any(|e| e.at <= crash && matches!(&e.rec, Rec::Recv { attempt: a, .. } if *a == attempt))
    {
        return None;
    }
    again(entries, attempt, LATER, |_, epoch| *epoch += 100);
    Some(Class::DurableRepeated)
}

fn change_hash(entries: &mut Entries, place: usize) -> Option<Class> {
    let i = one(entries, place, |rec| matches!(rec, Rec::Log { .. } | Rec::Recv { .. } | Rec::Dead { .. }))?;
    if let Rec::Log { hash, .. } | Rec::Recv { hash, .. } | Rec::Dead { hash, .. } = &mut entries[i].rec {
        *hash ^= 1 << (place % 64);
    }
    Some(Class::Corrupt)
}

/// An attempt that has a successor claims an epoch above it.
fn move_epoch(entries: &mut Entries, place: usize) -> Option<Class> {
    let retried: Vec<String> =
        entries.iter().filter_map(|e| number_of(&e.rec).filter(|(_, n)| *n > 1)).map(|(id, _)| id).collect();
    let i =
        one(entries, place, |rec| matches!(rec, Rec::Recv { id, number: 1, .. } if retried.contains(id)))?;
    if let Rec::Recv { epoch, .. } = &mut entries[i].rec {
        *epoch += 100;
    }
    Some(Class::StaleEpoch)
}

fn number_of(rec: &Rec) -> Option<(String, u32)> {
    match rec {
        Rec::Recv { id, number, .. } => Some((id.clone(), *number)),
        _ => None,
    }
}

/// The last attempt of an event says one more than it is.
fn shift_number(entries: &mut Entries, place: usize) -> Option<Class> {
    let attempt = last_with(entries, Answer::Success, place)?;
    let i = one(entries, place, |rec| matches!(rec, Rec::Recv { attempt: a, .. } if *a == attempt))?;
    let Rec::Recv { id, number, epoch, .. } = entries[i].rec.clone() else { return None };
    // After an attempt of an older owner one more may be right.
    let explained = |e: &Entry| matches!(&e.rec, Rec::Recv { id: d, epoch: f, .. } if *d == id && *f < epoch);
    if entries.iter().any(explained) {
        return None;
    }
    if let Rec::Recv { number: shifted, .. } = &mut entries[i].rec {
        *shifted = number + 1;
    }
    Some(Class::WrongNumber)
}

fn appear(entries: &mut Entries, place: usize) -> Option<Class> {
    let i = one(entries, place, |rec| matches!(rec, Rec::Complete { outcome: Outcome::Acked { .. }, .. }))?;
    if let Rec::Complete { outcome, .. } = &mut entries[i].rec {
        *outcome = Outcome::Rejected("FULL".into());
    }
    Some(Class::AbortedWrite)
}

/// The last retries whose predecessor was answered by the same owner: its answer's begin, and the attempt.
fn retries(entries: &[Entry]) -> Vec<(u64, u64)> {
    let mut retries = Vec::new();
    for entry in entries {
        let Rec::Recv { attempt, id, number, epoch, .. } = &entry.rec else { continue };
        let before = entries.iter().find_map(|other| match &other.rec {
            Rec::Recv { attempt, id: i, number: n, epoch: e, .. }
                if i == id && n + 1 == *number && e == epoch =>
            {
                Some(*attempt)
            }
            _ => None,
        });
        let answered = entries.iter().find_map(|other| match &other.rec {
            Rec::Done { attempt: a, answer: Answer::Failure(_) | Answer::Cut, from }
                if Some(*a) == before =>
            {
                Some(*from)
            }
            _ => None,
        });
        let goes_on = |other: &Entry| matches!(&other.rec, Rec::Recv { id: i, number: n, epoch: e, .. } if i == id && (n > number || e > epoch));
        retries.extend(answered.filter(|_| !entries.iter().any(goes_on)).map(|from| (from, *attempt)));
    }
    retries
}

/// Moves an attempt, and its answer with it.
fn shift(entries: &mut Entries, attempt: u64, to: u64) {
    let at = entries
        .iter()
        .find(|entry| matches!(&entry.rec, Rec::Recv { attempt: a, .. } if *a == attempt))
        .map_or(0, |entry| entry.at);
    for entry in entries.iter_mut() {
        match &mut entry.rec {
            Rec::Recv { attempt: a, began, .. } if *a == attempt => (entry.at, *began) = (to, to),
            Rec::Done { attempt: a, from, .. } if *a == attempt => {
                *from = *from + to - at;
                entry.at = entry.at + to - at;
            }
            _ => {}
        }
    }
}

fn hurry(entries: &mut Entries, place: usize) -> Option<Class> {
    let retries = retries(entries);
    let (from, attempt) = *retries.get(place % retries.len().max(1))?;
    shift(entries, attempt, from + 1_000_000);
    Some(Class::TooSoon)
}

/// Long after everything else, so that no crash lies between that would excuse it.
fn dawdle(entries: &mut Entries, place: usize) -> Option<Class> {
    let retries = retries(entries);
    let (_, attempt) = *retries.get(place % retries.len().max(1))?;
    shift(entries, attempt, 3 * LATER);
    Some(Class::TooLate)
}

fn one_more(entries: &mut Entries, place: usize) -> Option<Class> {
    let dead: Vec<String> = entries
        .iter()
        .filter_map(|entry| match &entry.rec {
            Rec::Dead { id, reason, .. } if reason == "MAX_ATTEMPTS" => Some(id.clone()),
            _ => None,
        })
        .collect();
    let last = |id: &String| {
        entries.iter().rev().find_map(|entry| match &entry.rec {
            Rec::Recv { attempt, id: i, number: 3, .. } if i == id => Some(*attempt),
            _ => None,
        })
    };
    let attempt = last(dead.get(place % dead.len().max(1))?)?;
    again(entries, attempt, LATER, |number, _| *number += 1);
    Some(Class::TooManyAttempts)
}

/// An answer leaves only when the next attempt of its lane is under way.
fn linger(entries: &mut Entries, place: usize) -> Option<Class> {
    let mut lanes: std::collections::BTreeMap<(String, u64), Vec<(u64, u64)>> =
        std::collections::BTreeMap::new();
    for entry in entries.iter() {
        if let Rec::Recv { attempt, key: Some(key), epoch, began, .. } = &entry.rec {
            lanes.entry((key.clone(), *epoch)).or_default().push((*began, *attempt));
        }
    }
    let mut pairs = Vec::new();
    for lane in lanes.values_mut() {
        lane.sort_unstable();
        pairs.extend(
            lane.windows(2).filter(|pair| pair[1].0 - pair[0].0 < 300_000_000).map(|p| (p[0].1, p[1].0)),
        );
    }
    let (attempt, next) = *pairs.get(place % pairs.len().max(1))?;
    for entry in entries.iter_mut() {
        if let Rec::Done { attempt: a, from, .. } = &mut entry.rec
            && *a == attempt
        {
            (*from, entry.at) = (next + 1_000_000, next + 2_000_000);
        }
    }
    Some(Class::Overlap)
}

/// What the hub says just before some attempt, so much earlier.
fn say(entries: &mut Entries, place: usize, earlier: u64, rec: Rec) -> Option<()> {
    let i = one(entries, place, |rec| matches!(rec, Rec::Recv { began, .. } if *began >= earlier))?;
    let Rec::Recv { began, .. } = entries[i].rec else { return None };
    entries.push(Entry { at: began - earlier, rec });
    Some(())
}

fn be_stale(entries: &mut Entries, place: usize) -> Option<Class> {
    let rec = Rec::Running { processor: crate::story::PROCESSOR.into(), generation: 2, suspended: false };
    say(entries, place, 1, rec).map(|()| Class::StaleGeneration)
}

fn be_deaf(entries: &mut Entries, place: usize) -> Option<Class> {
    let rec = Rec::Running { processor: crate::story::PROCESSOR.into(), generation: 1, suspended: true };
    say(entries, place, 1, rec).map(|()| Class::WhileSuspended)
}

fn be_undead(entries: &mut Entries, place: usize) -> Option<Class> {
    let rec = Rec::Gone { processor: crate::story::PROCESSOR.into() };
    say(entries, place, 1_100_000_000, rec).map(|()| Class::AfterRemoval)
}
