//! What a candidate does, case by case; and a world of several of them, with a server that compares and swaps, answers that
//! come late or never, clocks that differ, and stops: at no moment do two lead.

use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing::USUAL;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn record(version: &str, holder: Option<&str>, transitions: u32) -> Record {
    Record { version: version.to_owned(), holder: holder.map(str::to_owned), transitions }
}

#[expect(clippy::unnecessary_wraps, reason = "what a candidate wishes, where it wishes something")]
fn replace(version: &str, transitions: u32) -> Option<Wish> {
    Some(Wish::Replace { version: version.to_owned(), transitions })
}

#[test]
fn one_that_nobody_has_is_taken_at_once() {
    let candidate = || Candidate::new("me".to_owned(), TIMING);
    assert_eq!(candidate().look(seconds(1), None), Some(Wish::Create { transitions: 1 }));
    assert_eq!(candidate().look(seconds(1), Some(&record("a", None, 3))), replace("a", 4));
    assert_eq!(candidate().look(seconds(1), Some(&record("a", Some(""), 3))), replace("a", 4));
}

#[test]
fn another_one_s_is_taken_when_it_has_stayed_the_same_for_long() {
    let mut candidate = Candidate::new("me".to_owned(), TIMING);
    assert_eq!(candidate.look(seconds(100), Some(&record("a", Some("other"), 3))), None);
    assert_eq!(candidate.look(seconds(109), Some(&record("b", Some("other"), 3))), None, "it was renewed");
    assert_eq!(candidate.look(seconds(118), Some(&record("b", Some("other"), 3))), None);
    assert_eq!(candidate.look(seconds(119), Some(&record("b", Some("other"), 3))), replace("b", 4));
}

#[test]
fn a_leader_renews_and_stops_when_it_cannot() {
    let mut candidate = Candidate::new("me".to_owned(), TIMING);
    candidate.look(seconds(1), None);
    candidate.wrote(seconds(1), &record("a", Some("me"), 1));
    assert!(candidate.is_leader(seconds(6)) && !candidate.is_leader(seconds(7)));
    assert_eq!(candidate.look(seconds(3), Some(&record("a", Some("me"), 1))), replace("a", 1));
    // Too late: it is somebody new, although nobody else was there.
    assert_eq!(candidate.look(seconds(9), Some(&record("a", Some("me"), 1))), replace("a", 2));
}

#[test]
fn one_that_is_deleted_is_waited_for_and_does_not_begin_anew() {
    let mut candidate = Candidate::new("me".to_owned(), TIMING);
    candidate.look(seconds(1), Some(&record("a", Some("other"), 7)));
    assert_eq!(candidate.look(seconds(2), None), None, "the other one may still believe in it");
    assert_eq!(candidate.look(seconds(12), None), Some(Wish::Create { transitions: 8 }));
}

#[test]
fn one_that_somebody_else_has_is_not_led_by_us() {
    let mut candidate = Candidate::new("me".to_owned(), TIMING);
    candidate.wrote(seconds(1), &record("a", Some("me"), 1));
    assert_eq!(candidate.look(seconds(2), Some(&record("b", Some("other"), 2))), None);
    assert!(!candidate.is_leader(seconds(2)));
}

#[test]
fn what_is_known_otherwise_of_transitions_counts() {
    let mut candidate = Candidate::new("me".to_owned(), TIMING);
    candidate.at_least(41);
    assert_eq!(candidate.look(seconds(1), None), Some(Wish::Create { transitions: 42 }));
    candidate.at_least(u32::MAX);
    assert_eq!(candidate.next(), i32::MAX as u32, "it fits into the field");
}

// === a world of several ===

/// What happens to one of them next.
#[derive(Clone, Debug)]
enum Step {
    /// It looks, and writes what it wishes; the answer may be lost.
    Turn { who: usize, answered: bool },
    /// It looks, and is stopped before it writes, for so long.
    Slow { who: usize, millis: u64 },
    /// Time passes.
    Wait { millis: u64 },
    /// It gives the Lease back, if it has it.
    Release { who: usize },
}

const MANY: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..MANY, prop::bool::weighted(0.8)).prop_map(|(who, answered)| Step::Turn { who, answered }),
        2 => (0..MANY, 0..15_000u64).prop_map(|(who, millis)| Step::Slow { who, millis }),
        5 => (0..6_000u64).prop_map(|millis| Step::Wait { millis }),
        1 => (0..MANY).prop_map(|who| Step::Release { who }),
    ]
}

/// A server that swaps what is still as it was.
#[derive(Default)]
struct Server {
    record: Option<Record>,
    writes: u32,
}

impl Server {
    fn write(&mut self, who: &str, wish: &Wish) -> Option<Record> {
        let transitions = match wish {
            Wish::Create { transitions } if self.record.is_none() => *transitions,
            Wish::Replace { version, transitions }
                if self.record.as_ref().is_some_and(|record| record.version == *version) =>
            {
                *transitions
            }
            _ => return None,
        };
        self.writes += 1;
        self.record = Some(record(&self.writes.to_string(), Some(who), transitions));
        self.record.clone()
    }
}

struct World {
    server: Server,
    candidates: Vec<Candidate>,
    /// By how much faster each one's clock runs, in percent.
    rates: Vec<u64>,
    millis: u64,
    epochs: Vec<u32>,
}

impl World {
    fn clock(&self, who: usize) -> Duration {
        Duration::from_millis(self.millis * self.rates[who] / 100)
    }

    fn turn(&mut self, who: usize, paused: u64, answered: bool) {
        let now = self.clock(who);
        let Some(wish) = self.candidates[who].look(now, self.server.record.as_ref()) else { return };
        // What is led since is counted from before the write is sent.
        let sent = self.clock(who);
        self.millis += paused;
        let led = self.candidates[who].is_leader(sent);
        if let Some(record) = self.server.write(&format!("c{who}"), &wish)
            && answered
        {
            if !led {
                let before = self.epochs.last().copied().unwrap_or(0);
                assert!(record.transitions > before, "{} after {before}", record.transitions);
                self.epochs.push(record.transitions);
            }
            self.candidates[who].wrote(sent, &record);
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let leaders = (0..MANY).filter(|who| self.candidates[*who].is_leader(self.clock(*who)));
        let leaders: Vec<usize> = leaders.collect();
        prop_assert!(leaders.len() <= 1, "{leaders:?} lead at {} ms", self.millis);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn never_do_two_lead(
        steps in prop::collection::vec(step(), 1..200),
        rates in prop::collection::vec(90u64..=130, MANY),
    ) {
        let candidates = (0..MANY).map(|who| Candidate::new(format!("c{who}"), TIMING)).collect();
        let mut world = World { server: Server::default(), candidates, rates, millis: 0, epochs: Vec::new() };
        for step in steps {
            match step {
                Step::Turn { who, answered } => world.turn(who, 0, answered),
                Step::Slow { who, millis } => world.turn(who, millis, true),
                Step::Wait { millis } => world.millis += millis,
                Step::Release { who } => {
                    let now = world.clock(who);
                    if world.candidates[who].is_leader(now)
                        && let Some(record) = &mut world.server.record
                    {
                        world.candidates[who].step_down();
                        world.server.writes += 1;
                        record.version = world.server.writes.to_string();
                        record.holder = None;
                    }
                }
            }
            world.check()?;
        }
    }
}
