//! This member's part of what the Processor allows, while others own some of its partitions: how much it needs, and what it says
//! of that. I/O.

use std::{collections::VecDeque, time::Duration};

use evhub_journal::{Journal, WriteError};
use evhub_routing::Policy;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::Member;
use crate::{
    Progress,
    exchange::{Ear, Saying, Sharing},
    pace::share::{Need, Stake, WHOLE, Word},
};

/// How often it is looked at what is needed.
const LOOK: Duration = Duration::from_millis(250);
/// How many looks tell what is needed: what was needed a second ago may be again.
const LOOKS: usize = 4;

/// What there is to know of this member's part.
pub(super) struct Shares {
    ear: Option<Ear>,
    /// The generation, and what it has in it; none while it has everything, or nothing.
    stake: Option<(u64, Stake)>,
    /// Lives while there is a stake.
    sharing: Option<Sharing>,
    look_at: Instant,
    /// What was used between looks, the last one at the end.
    used: VecDeque<Used>,
    saying: Option<Saying>,
}

/// What was used between two looks.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    /// Attempts under way at once.
    at_once: u64,
    /// Attempts begun.
    begun: u64,
    /// Something waited for its part of the allowance.
    waited: bool,
}

/// What came.
pub(super) enum Heard {
    Word(u64, Word),
    /// Nothing will come any more.
    Nothing,
    Said(Result<(), WriteError>),
    Look,
}

impl Shares {
    pub(super) fn new(ear: Option<Ear>) -> Self {
        Self { ear, stake: None, sharing: None, look_at: Instant::now(), used: VecDeque::new(), saying: None }
    }

    /// Whether others own some of the partitions.
    pub(super) fn is_shared(&self) -> bool {
        self.sharing.is_some()
    }

    /// Waits for the next thing to deal with. Cancel-safe.
    pub(super) async fn next(&mut self) -> Heard {
        let look_at = self.stake.as_ref().map(|_| self.look_at);
        let Self { ear, saying, .. } = self;
        tokio::select! {
            heard = hear(ear) => {
                if let Some((generation, word)) = heard {
                    return Heard::Word(generation, word);
                }
                *ear = None;
                Heard::Nothing
            }
            said = say(saying) => {
                *saying = None;
                Heard::Said(said)
            }
            () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => Heard::Look,
        }
    }

    /// So many attempts are under way, of which some began now; whether more would have, were the part larger.
    pub(super) fn note(&mut self, under_way: u64, began: u64, waited: bool) {
        if self.stake.is_none() {
            return;
        }
        if self.used.is_empty() {
            self.used.push_back(Used::default());
        }
        if let Some(used) = self.used.back_mut() {
            used.at_once = used.at_once.max(under_way);
            used.begun += began;
            used.waited |= waited;
        }
    }

    /// What was needed lately, in parts of what the policy allows.
    fn need(&self, policy: &Policy) -> Need {
        if self.used.iter().any(|used| used.waited) {
            return Need::More;
        }
        let at_once = self.used.iter().map(|used| used.at_once).max().unwrap_or(0);
        let begun = u128::from(self.used.iter().map(|used| used.begun).sum::<u64>());
        let by_rate = policy.rate_limit.map_or(0, |limit| {
            let time = LOOK.as_nanos() * self.used.len().max(1) as u128;
            let all = u128::from(limit.events.max(1)) * time;
            u32::try_from(begun * limit.per.as_nanos() * u128::from(WHOLE) / all.max(1)).unwrap_or(WHOLE)
        });
        Need::Parts(by_rate.max(in_parts(at_once, policy)).min(WHOLE))
    }
}

impl<J: Journal> Member<J> {
    /// So many of the partitions are this member's by this generation.
    pub(super) fn begin_shares(&mut self, generation: u64, owned: usize) {
        let (owned, all) = (u32::try_from(owned).unwrap_or(u32::MAX), self.out.shared.joined.partitions);
        let at_once = self.out.current.policy().max_in_flight;
        let shared = owned > 0 && owned < all;
        self.shares.stake =
            shared.then(|| (generation, Stake::new(fastrand::u64(..), (owned, all), at_once)));
        self.shares.sharing = shared.then(|| self.out.shared.exchange.share());
        self.shares.used.clear();
        self.shares.saying = None;
        self.take_share();
    }

    /// What came of the others, or is to be said to them.
    pub(super) fn weigh(&mut self, heard: Heard) {
        let Some((generation, stake)) = &mut self.shares.stake else { return };
        match heard {
            Heard::Word(of, word) if of == *generation => stake.hear(&word),
            Heard::Word(..) | Heard::Nothing | Heard::Said(Ok(())) => {}
            // What may have been said is waited for; what was refused nobody will hear.
            Heard::Said(Err(error)) => {
                if matches!(error, WriteError::Rejected(_)) {
                    stake.unsaid();
                }
                debug!(processor = %self.out.shared.name, %error, "a word on shares cannot be said");
            }
            Heard::Look => self.look_at_need(),
        }
        self.take_share();
    }

    fn look_at_need(&mut self) {
        let policy = self.out.current.policy();
        let need = self.shares.need(policy);
        let under_way = Progress::get(&self.out.shared.progress.in_flight);
        let used = in_parts(under_way, policy);
        self.shares.look_at = Instant::now() + LOOK;
        self.shares.used.push_back(Used { at_once: under_way, ..Used::default() });
        while self.shares.used.len() > LOOKS {
            self.shares.used.pop_front();
        }
        // Who does not hear does not know what it was given, so it says nothing either.
        if self.shares.ear.is_none() || self.shares.saying.is_some() {
            return;
        }
        let Some((generation, stake)) = &mut self.shares.stake else { return };
        if let Some(word) = stake.say(need, used) {
            let shared = &self.out.shared;
            self.shares.saying = Some(shared.exchange.say(&shared.joined.uid, *generation, &word));
        }
    }

    pub(super) fn take_share(&mut self) {
        let parts = self.shares.stake.as_ref().map_or(WHOLE, |(_, stake)| stake.parts());
        self.out.gate.share(parts, self.out.current.policy());
    }
}

/// How much of the policy's allowance so many attempts at once are, rounded up.
fn in_parts(at_once: u64, policy: &Policy) -> u32 {
    let most = u64::from(policy.max_in_flight.max(1));
    u32::try_from((at_once * u64::from(WHOLE)).div_ceil(most)).unwrap_or(WHOLE)
}

async fn hear(ear: &mut Option<Ear>) -> Option<(u64, Word)> {
    match ear {
        Some(ear) => ear.recv().await,
        None => std::future::pending().await,
    }
}

async fn say(saying: &mut Option<Saying>) -> Result<(), WriteError> {
    match saying {
        Some(saying) => saying.await,
        None => std::future::pending().await,
    }
}
