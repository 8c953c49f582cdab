//! How a target answers: by the event and the attempt, so that a repeat gets what the first got. Pure.

use std::collections::BTreeMap;

use crate::history::draw;

/// What a target does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Answers with this status after so many milliseconds.
    Answer(u16, u64),
    /// Never answers.
    Hang,
    /// Sends an answer one byte a second.
    Drip,
    /// Resets the connection without a byte.
    Reset,
    /// Sends what is not HTTP.
    Garbage,
    /// Sends a success and resets the connection behind it.
    Torn,
    /// Answers with this status at once, and with a wish.
    Ask(u16, Wish),
    /// Answers with this status, and with a body that has no end.
    Endless(u16),
    /// Sends more headers than anybody should read.
    Flood,
    /// Sends ten thousand interim answers before a success.
    Hints,
}

/// What a `Retry-After` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// So many seconds.
    Seconds(u64),
    /// An instant that is so many seconds away, give or take one.
    Date(u64),
    /// Nothing that can be read.
    Nonsense,
}

/// How a target treats one event through all its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// 200.
    Fine,
    /// 200, after up to 150 ms.
    Slow,
    /// Each attempt fails by the toss of a coin.
    Half,
    /// 503 twice, then 200.
    Unavailable,
    /// 404 once, then 200.
    Missing,
    /// Hangs once.
    Hangs,
    /// Drips once.
    Drips,
    /// Resets once.
    Resets,
    /// Talks nonsense once.
    Babbles,
    /// Tears its first success.
    Tears,
    /// Fails everything for 700 ms, then nothing for 700 ms, and so on.
    Flaps,
    /// 400 always.
    Refuses,
    /// 503 always.
    Broken,
    /// 404 until told that it is healed.
    Absent,
    /// 400 until told that it is healed.
    Wrong,
    /// 400, after three seconds or a little more.
    RefusesLate,
    /// Never answers.
    Stuck,
    /// 200, after half a second or a little more.
    Late,
    /// Wants to be left alone for a second, twice.
    Throttles,
    /// Wants to be left alone until an instant, once.
    ThrottlesByDate,
    /// Wants to be left alone as good as for ever, once.
    ThrottlesForEver,
    /// Wants to be left alone for no time at all, once.
    ThrottlesForNothing,
    /// 503 with a wish for a second, once.
    Asks,
    /// 503 with a wish that cannot be read, once.
    AsksNonsense,
    /// 200 with a body that has no end.
    Endless,
    /// 503 with a body that has no end, once.
    EndlessFailure,
    /// More headers than anybody should read, once.
    Floods,
    /// Ten thousand interim answers, then 200.
    Hints,
}

/// The modes of a target, each with its weight.
#[derive(Clone, Debug)]
pub struct Script {
    modes: Vec<(Mode, u64)>,
    seed: u64,
}

impl Mode {
    /// Every way to misbehave, mostly behaving.
    pub const MIXED: [(Self, u64); 13] = [
        (Self::Fine, 50),
        (Self::Slow, 20),
        (Self::Half, 5),
        (Self::Unavailable, 4),
        (Self::Missing, 3),
        (Self::Hangs, 3),
        (Self::Drips, 2),
        (Self::Resets, 3),
        (Self::Babbles, 3),
        (Self::Tears, 2),
        (Self::Flaps, 3),
        (Self::Refuses, 2),
        (Self::Broken, 2),
    ];

    /// Every way to fail, to answer late and to ask for time, mostly behaving.
    pub const TRYING: [(Self, u64); 21] = [
        (Self::Fine, 60),
        (Self::Slow, 5),
        (Self::Late, 2),
        (Self::Unavailable, 4),
        (Self::Missing, 2),
        (Self::Hangs, 2),
        (Self::Drips, 1),
        (Self::Resets, 2),
        (Self::Babbles, 2),
        (Self::Refuses, 2),
        (Self::Broken, 2),
        (Self::Throttles, 4),
        (Self::ThrottlesByDate, 3),
        (Self::ThrottlesForEver, 2),
        (Self::ThrottlesForNothing, 2),
        (Self::Asks, 3),
        (Self::AsksNonsense, 2),
        (Self::Endless, 2),
        (Self::EndlessFailure, 2),
        (Self::Floods, 1),
        (Self::Hints, 1),
    ];

    /// What happens to this attempt, so many milliseconds into the run.
    pub fn act(self, seed: u64, id: &str, attempt: u32, now_ms: u64, healed: bool) -> Act {
        let dice = draw(seed, &[id, &attempt.to_string()]);
        let once = |act| if attempt == 1 { act } else { Act::Answer(200, 0) };
        let failing = |failing| Act::Answer(if failing { 503 } else { 200 }, 0);
        match self {
            Self::Fine => Act::Answer(if dice.is_multiple_of(2) { 200 } else { 204 }, 0),
            Self::Slow => Act::Answer(200, 10 + dice % 140),
            Self::Half => Act::Answer(if dice.is_multiple_of(2) { 500 } else { 202 }, dice % 20),
            Self::Unavailable => failing(attempt <= 2),
            Self::Missing => once(Act::Answer(404, 0)),
            Self::Hangs => once(Act::Hang),
            Self::Drips => once(Act::Drip),
            Self::Resets => once(Act::Reset),
            Self::Babbles => once(Act::Garbage),
            Self::Tears => once(Act::Torn),
            Self::Flaps => failing((now_ms / 700).is_multiple_of(2)),
            Self::Refuses => Act::Answer(400, 0),
            Self::Broken => failing(true),
            Self::Absent => Act::Answer(if healed { 200 } else { 404 }, 0),
            Self::Wrong => Act::Answer(if healed { 200 } else { 400 }, 0),
            Self::RefusesLate => Act::Answer(400, 3000 + dice % 500),
            Self::Stuck => Act::Hang,
            Self::Late => Act::Answer(200, 500 + dice % 150),
            Self::Throttles if attempt <= 2 => Act::Ask(429, Wish::Seconds(1)),
            Self::ThrottlesByDate => once(Act::Ask(429, Wish::Date(2))),
            Self::ThrottlesForEver => once(Act::Ask(429, Wish::Seconds(1_000_000_000))),
            Self::ThrottlesForNothing => once(Act::Ask(429, Wish::Seconds(0))),
            Self::Asks => once(Act::Ask(503, Wish::Seconds(1))),
            Self::AsksNonsense => once(Act::Ask(503, Wish::Nonsense)),
            Self::Endless => Act::Endless(200),
            Self::EndlessFailure => once(Act::Endless(503)),
            Self::Floods => once(Act::Flood),
            Self::Hints => Act::Hints,
            Self::Throttles => failing(false),
        }
    }
}

impl Script {
    /// A script that chooses among these by their weights.
    pub fn new(modes: &[(Mode, u64)], seed: u64) -> Self {
        Self { modes: modes.to_vec(), seed }
    }

    /// How an event is treated.
    pub fn mode(&self, id: &str) -> Mode {
        let total: u64 = self.modes.iter().map(|(_, weight)| weight).sum();
        let mut dice = draw(self.seed, &[id]) % total.max(1);
        for (mode, weight) in &self.modes {
            if dice < *weight {
                return *mode;
            }
            dice -= weight;
        }
        Mode::Fine
    }

    /// What happens to this attempt, unless everything takes the same turn for now.
    pub fn act(&self, turn: Option<Mode>, id: &str, attempt: u32, now_ms: u64, healed: bool) -> (Mode, Act) {
        let mode = turn.unwrap_or_else(|| self.mode(id));
        (mode, mode.act(self.seed, id, attempt, now_ms, healed))
    }

    /// A counter for each mode that is a fault.
    pub fn faults(&self) -> BTreeMap<Mode, u64> {
        self.modes.iter().map(|(mode, _)| (*mode, 0)).filter(|(mode, _)| *mode != Mode::Fine).collect()
    }
}
