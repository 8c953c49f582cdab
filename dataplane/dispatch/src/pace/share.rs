//! Which part of a Processor's allowance is whose, while several processes own its partitions. Pure.
//!
//! Each owner begins with as much of it as it has of the partitions, which needs no word to anybody: together that is never more
//! than all. Who uses less lends the rest, and who needs more takes it: each says so in words that all owners read in the same
//! order, and make the same of ([`Book`]). What one holds changes by its own words alone, and it counts what it gives away as
//! given before it says so ([`Stake`]). So however late words are read, nobody ever uses what another one has.
//!
//! Words are of one generation of the group. With the next one, before which every owner has given up all its partitions, all
//! begin anew.

use std::collections::BTreeMap;

/// All of an allowance, in parts.
pub const WHOLE: u32 = 10_000;
/// What an owner that needs nothing keeps at the least: enough to begin with, and so little that one owner of many may have nearly
/// all. It keeps more where that is not one attempt at once: everybody may make one at any time.
pub const LEAST: u32 = 50;

/// What an owner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Who says it: a number that nobody else has drawn.
    pub owner: u64,
    /// Which of its words this is, rising.
    pub number: u64,
    /// What it began with.
    pub base: u32,
    /// What it has more than this it gives away.
    pub keeps: u32,
    /// As much as this it wants, if others have given away.
    pub wants: u32,
}

/// What everybody makes of one generation's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book(BTreeMap<u64, Held>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    number: u64,
    base: u32,
    holds: u32,
    wants: u32,
}

impl Book {
    /// The next word. One that comes late, after a later one of the same owner, says nothing any more.
    pub fn read(&mut self, word: &Word) {
        let Word { owner, number, base, keeps, wants } = *word;
        let first = Held { number: 0, base, holds: base, wants: 0 };
        let mut held = self.0.get(&owner).copied().unwrap_or(first);
        if self.0.contains_key(&owner) && number <= held.number {
            return;
        }
        held.number = number;
        held.wants = wants;
        held.holds = held.holds.min(keeps);
        self.0.insert(owner, held);
        let granted = wants.saturating_sub(held.holds).min(self.free_for(owner));
        if let Some(held) = self.0.get_mut(&owner) {
            held.holds += granted;
        }
    }

    /// What an owner has now; nothing is known of one that has said nothing.
    pub fn holds(&self, owner: u64) -> Option<u32> {
        self.0.get(&owner).map(|held| held.holds)
    }

    /// What was given away and not taken.
    pub fn free(&self) -> u32 {
        let sum = |of: fn(&Held) -> u32| self.0.values().map(of).sum::<u32>();
        sum(|held| held.base).saturating_sub(sum(|held| held.holds))
    }

    /// What of it this one may take: all up to what it began with, and beyond that what nobody lacks of what he began with.
    fn free_for(&self, owner: u64) -> u32 {
        let lacks = self.0.get(&owner).map_or(0, |held| held.base.saturating_sub(held.holds));
        let free = self.free();
        free.min(lacks.max(free.saturating_sub(self.lent_and_wanted(owner))))
    }

    /// What others than this one lack of what they began with and want back.
    fn lent_and_wanted(&self, owner: u64) -> u32 {
        let others = self.0.iter().filter(|(other, _)| **other != owner);
        others.map(|(_, held)| held.wants.min(held.base).saturating_sub(held.holds)).sum()
    }
}

/// How much of the allowance an owner needs, as it went lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// This many parts were in use at the most.
    Parts(u32),
    /// All that it has, and something waited.
    More,
}

/// What one owner does with its part.
#[derive(Clone, Debug)]
pub struct Stake {
    owner: u64,
    base: u32,
    /// What it keeps whatever it needs.
    least: u32,
    number: u64,
    book: Book,
    /// What it has at the most if its last words count, as long as it is not known whether they do.
    unheard: Option<u32>,
    /// What it is about to give away, as soon as no more is in use.
    lowering: Option<u32>,
}

impl Stake {
    /// An owner of so many of all partitions, of an allowance of so many attempts at once.
    pub fn new(owner: u64, (owned, all): (u32, u32), at_once: u32) -> Self {
        let base = u64::from(WHOLE) * u64::from(owned) / u64::from(all.max(1));
        let base = u32::try_from(base).unwrap_or(WHOLE).min(WHOLE);
        let least = LEAST.max(WHOLE.div_ceil(at_once.max(1))).min(base);
        Self { owner, base, least, number: 0, book: Book::default(), unheard: None, lowering: None }
    }

    fn holds(&self) -> u32 {
        self.book.holds(self.owner).unwrap_or(self.base)
    }

    /// What may be in use now.
    pub fn parts(&self) -> u32 {
        [Some(self.holds()), self.unheard, self.lowering].into_iter().flatten().min().unwrap_or(0)
    }

    /// Somebody's word.
    pub fn hear(&mut self, word: &Word) {
        self.book.read(word);
        if word.owner == self.owner && word.number == self.number {
            self.unheard = None;
        }
    }

    /// The last word will never be read by anybody.
    pub fn unsaid(&mut self) {
        self.unheard = None;
    }

    /// What to say now, if anything. `used` is what is in use at this moment, of which nothing is given away.
    pub fn say(&mut self, need: Need, used: u32) -> Option<Word> {
        if self.unheard.is_some() {
            return None;
        }
        let holds = self.holds();
        let wanted = match need {
            Need::More => WHOLE,
            // Half as much again, because it varies.
            Need::Parts(parts) => (parts + parts / 2).clamp(self.least, WHOLE),
        };
        let owed = self.book.lent_and_wanted(self.owner);
        let fair = if holds > self.base { self.base.max(holds.saturating_sub(owed)) } else { holds };
        let keeps = holds.min(wanted).min(fair).max(self.least.min(holds));
        // A little is not worth a word.
        let gives = keeps < holds - holds / 8;
        let known = self.book.0.get(&self.owner).map_or(0, |held| held.wants);
        let wants = if wanted > holds { wanted } else { 0 };
        let takes =
            wants > 0 && (self.book.free_for(self.owner) > 0 || known == 0) || (wants == 0 && known > 0);
        self.lowering = gives.then_some(keeps);
        if gives && used > keeps || !(gives || takes) {
            return None;
        }
        self.lowering = None;
        let keeps = if gives { keeps } else { holds };
        self.unheard = Some(keeps);
        self.number += 1;
        Some(Word {
            owner: self.owner,
            number: self.number,
            base: self.base,
            keeps,
            wants: if gives { 0 } else { wants },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LEAST, Need, Stake, WHOLE, Word};

    /// Owners with shares of twelve partitions, and the words that were written, of which each has read so many.
    struct Group {
        stakes: Vec<Stake>,
        log: Vec<Word>,
        read: Vec<usize>,
        used: Vec<u32>,
    }

    impl Group {
        fn new(owned: &[u32]) -> Self {
            let all = owned.iter().sum();
            let stakes: Vec<_> =
                (1..).zip(owned).map(|(n, owned)| Stake::new(n, (*owned, all), 1000)).collect();
            let (read, used) = (vec![0; stakes.len()], vec![0; stakes.len()]);
            Self { stakes, log: Vec::new(), read, used }
        }

        /// One has this need: it uses what it may, says what there is to say, and, unless that is lost, it is written.
        fn turn(&mut self, who: usize, need: Need, lost: bool) {
            let may = self.stakes[who].parts();
            self.used[who] = match need {
                Need::More => may,
                Need::Parts(parts) => parts.min(may),
            };
            if let Some(word) = self.stakes[who].say(need, self.used[who]) {
                if lost {
                    self.stakes[who].unsaid();
                } else {
                    self.log.push(word);
                }
            }
        }

        fn read(&mut self, who: usize) {
            if let Some(word) = self.log.get(self.read[who]) {
                self.stakes[who].hear(word);
                self.read[who] += 1;
            }
        }

        fn settle(&mut self, needs: &[Need]) {
            for _ in 0..20 {
                for (who, need) in needs.iter().enumerate() {
                    self.turn(who, *need, false);
                    while self.read[who] < self.log.len() {
                        self.read(who);
                    }
                }
            }
        }
    }

    #[test]
    fn one_busy_owner_has_nearly_all_and_gives_it_back() {
        let mut group = Group::new(&[4, 4, 4]);
        let idle = Need::Parts(0);
        assert_eq!(group.stakes.iter().map(Stake::parts).sum::<u32>(), WHOLE / 3 * 3);
        group.settle(&[Need::More, idle, idle]);
        assert_eq!(group.stakes[1].parts(), LEAST);
        assert!(group.stakes[0].parts() >= WHOLE / 10 * 9, "{}", group.stakes[0].parts());
        group.settle(&[Need::More, Need::More, Need::More]);
        let parts: Vec<u32> = group.stakes.iter().map(Stake::parts).collect();
        assert!(parts.iter().all(|parts| parts.abs_diff(WHOLE / 3) < WHOLE / 20), "{parts:?}");
    }

    #[test]
    fn who_needs_little_keeps_that_and_half_as_much_again() {
        let mut group = Group::new(&[1, 1]);
        group.settle(&[Need::Parts(1000), Need::More]);
        assert_eq!((group.stakes[0].parts(), group.stakes[1].parts()), (1500, WHOLE - 1500));
    }

    #[test]
    fn what_is_in_use_is_not_given_away() {
        let mut stake = Stake::new(1, (1, 2), 1000);
        assert_eq!(stake.say(Need::Parts(0), 3000), None);
        assert_eq!(stake.parts(), LEAST, "nothing more begins");
        assert!(stake.say(Need::Parts(0), 10).is_some_and(|word| word.keeps == LEAST));
    }

    #[test]
    fn everybody_keeps_one_attempt_at_once() {
        for (at_once, least) in [(1000, LEAST), (64, 157), (8, 1250), (2, WHOLE / 2), (1, WHOLE / 2)] {
            let mut stake = Stake::new(1, (1, 2), at_once);
            let kept = stake.say(Need::Parts(0), 0).map_or(stake.parts(), |word| word.keeps);
            assert_eq!(kept, least, "of {at_once}");
        }
    }

    proptest! {
        /// However late each reads, whatever is lost and whatever is needed: together they never use more than there is.
        #[test]
        fn never_more_than_all(
            owned in prop::collection::vec(1u32..5, 1..5),
            steps in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8, 0u32..WHOLE), 0..200),
        ) {
            let mut group = Group::new(&owned);
            for (who, what, parts) in steps {
                let who = who.index(owned.len());
                match what {
                    0..=3 => group.read(who),
                    4 | 5 => group.turn(who, Need::More, false),
                    6 => group.turn(who, Need::Parts(parts), false),
                    _ => group.turn(who, Need::More, true),
                }
                prop_assert!(group.used.iter().sum::<u32>() <= WHOLE, "{:?}", group.used);
            }
        }
    }
}
