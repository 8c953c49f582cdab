//! How Processors are doing, for whoever serves control: in orders of magnitude, so that what is at rest, or is always busy in the
//! same way, is said once. I/O: asks the log how far those are behind that have something before them.
//!
//! [`measure`] and [`troubles`] decide, and are pure. At most so many are asked for at a time, by turns: of thousands that are
//! busy each is known a little later.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use evhub_dispatch::Progress;
use evhub_journal::{Error, Journal, TopicPartition};
use evhub_lifecycle::Drain;
use evhub_proto::control::{self, Trouble};
use evhub_routing::{Name, Processor, Snapshot};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::Follow;
use crate::{Hub, backlog::Backlog};

/// How often is looked.
const LOOK: Duration = Duration::from_secs(3);
/// Of how many the log is asked at a time.
const AT_ONCE: usize = 64;
/// How long it is remembered that events were given up, and what a backlog is compared with.
const LATELY: Duration = Duration::from_mins(5);
/// A backlog below this is none that grows.
const BACKLOG: u64 = 1_000;

/// All Processors that are not at rest.
pub(super) type Observed = BTreeMap<Name, Seen>;

/// How one Processor is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    backlog: u64,
    oldest: Option<i64>,
    parked: u64,
    dead_lettered: u64,
    exhausted: bool,
    troubles: Vec<Trouble>,
}

/// What is known of one from earlier looks.
#[derive(Debug, Default)]
struct Known {
    uid: String,
    /// What the log said last, and whether it was ever asked.
    log: Option<Log>,
    /// How many dead letters had been written here when it was asked.
    asked: u64,
    /// How many dead letters were written here, and when it was found that more were.
    dead: (u64, Option<Instant>),
    /// A backlog of a while ago.
    before: Option<(u64, Instant)>,
    is_growing: bool,
}

/// What the log says of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Log {
    backlog: u64,
    oldest: Option<i64>,
    dead: u64,
}

/// Until the drain begins.
pub(super) async fn run<J: Journal>(follow: &Follow, hub: &Hub<J>, drain: &Drain) {
    if follow.settings.control.is_none() || !hub.dispatches {
        return;
    }
    let work = async {
        let mut watch = Watch::default();
        loop {
            sleep(LOOK).await;
            let snapshot = hub.running();
            watch.ask(hub, &snapshot).await;
            let observed = watch.observed(hub, &snapshot);
            follow.observed.send_if_modified(|known| {
                let is_new = known.as_ref() != Some(&observed);
                *known = Some(observed);
                is_new
            });
        }
    };
    tokio::select! {
        () = drain.begun() => {}
        () = work => {}
    }
}

#[derive(Default)]
struct Watch {
    known: BTreeMap<Name, Known>,
    /// Who is asked for next.
    turns: VecDeque<Name>,
    /// What was said last of each.
    said: Observed,
}

impl Watch {
    /// Asks the log for those whose turn it is.
    async fn ask<J: Journal>(&mut self, hub: &Hub<J>, snapshot: &Snapshot) {
        let is_same = |name: &Name, known: &Known| {
            snapshot.processors.get(name).is_some_and(|processor| processor.uid == known.uid)
        };
        self.known.retain(|name, known| is_same(name, known));
        for (name, processor) in &snapshot.processors {
            if !self.known.contains_key(name) {
                self.known.insert(name.clone(), Known { uid: processor.uid.clone(), ..Known::default() });
                self.turns.push_back(name.clone());
            }
        }
        let mut asked = 0;
        for _ in 0..self.turns.len() {
            if asked >= AT_ONCE {
                return;
            }
            let Some(name) = self.turns.pop_front() else { return };
            let (Some(processor), Some(known)) = (snapshot.processors.get(&name), self.known.get_mut(&name))
            else {
                continue;
            };
            self.turns.push_back(name);
            let progress = hub.board.of(&processor.uid);
            if !is_busy(processor, &progress, known) {
                continue;
            }
            asked += 1;
            known.asked = Progress::get(&progress.dead_lettered);
            match look(&hub.journal, processor).await {
                Ok(log) => known.learn(log, Instant::now()),
                // It would be away for the others as well.
                Err(error) => return debug!(%error, "it is not known how far Processors are behind"),
            }
        }
    }

    /// What is to be said: what was said before, where it is of the same order.
    fn observed<J: Journal>(&mut self, hub: &Hub<J>, snapshot: &Snapshot) -> Observed {
        let now = (Instant::now(), Timestamp::now().as_millisecond());
        let mut observed = Observed::new();
        for (name, known) in &mut self.known {
            let Some(processor) = snapshot.processors.get(name) else { continue };
            let retention = processor
                .routes
                .iter()
                .filter_map(|route| snapshot.producers.get(&route.producer)?.retention)
                .min();
            let seen = measure(known, &hub.board.of(&processor.uid), retention, now);
            let seen = self.said.remove(name).filter(|said| said.is_like(&seen)).unwrap_or(seen);
            if seen != Seen::default() {
                observed.insert(name.clone(), seen);
            }
        }
        self.said.clone_from(&observed);
        observed
    }
}

/// Whether the log may have something to say of it that is not known.
fn is_busy(processor: &Processor, progress: &Progress, known: &Known) -> bool {
    let is_at_rest = |log: &Log| log.backlog == 0;
    processor.suspend
        || progress.suspended.load(Relaxed)
        || Progress::get(&progress.unresolved) > 0
        || Progress::get(&progress.parked) > 0
        || Progress::get(&progress.dead_lettered) != known.asked
        || !known.log.as_ref().is_some_and(is_at_rest)
}

async fn look<J: Journal>(journal: &J, processor: &Processor) -> Result<Log, Error> {
    let mut log = Log::default();
    if let Some(backlog) = Backlog::of(journal, processor).await? {
        log.backlog = backlog.lag();
        if log.backlog > 0 {
            log.oldest = backlog.oldest(journal).await?;
        }
    }
    if journal.look_up(&processor.dead_topic).await?.is_some() {
        let at = TopicPartition { topic: processor.dead_topic.clone(), partition: 0 };
        log.dead = journal.end(&at).await?.saturating_sub(journal.start(&at).await?);
    }
    Ok(log)
}

impl Known {
    fn learn(&mut self, log: Log, now: Instant) {
        let (before, since) = *self.before.get_or_insert((log.backlog, now));
        if now.duration_since(since) >= LATELY {
            self.is_growing = log.backlog >= BACKLOG && log.backlog / 2 >= before;
            self.before = Some((log.backlog, now));
        }
        self.is_growing &= log.backlog >= BACKLOG;
        self.log = Some(log);
    }
}

/// How one is doing, with now as an instant and in milliseconds since the Unix epoch.
fn measure(
    known: &mut Known,
    progress: &Progress,
    retention: Option<Duration>,
    (now, millis): (Instant, i64),
) -> Seen {
    let log = known.log.unwrap_or_default();
    let dead = Progress::get(&progress.dead_lettered);
    if dead > known.dead.0 {
        known.dead = (dead, Some(now));
    }
    let age = log.oldest.map(|oldest| Duration::from_millis(u64::try_from(millis - oldest).unwrap_or(0)));
    Seen {
        backlog: log.backlog,
        oldest: log.oldest,
        parked: Progress::get(&progress.parked),
        dead_lettered: log.dead,
        exhausted: progress.suspended.load(Relaxed),
        troubles: troubles(known, progress, age.zip(retention), now),
    }
}

fn troubles(
    known: &Known,
    progress: &Progress,
    age: Option<(Duration, Duration)>,
    now: Instant,
) -> Vec<Trouble> {
    let lately = known.dead.1.is_some_and(|at| now.duration_since(at) < LATELY);
    let is_old = age.is_some_and(|(age, retention)| age >= retention.mul_f64(0.8));
    let all = [
        (is_old, Trouble::RetentionRisk),
        (progress.breaker_open.load(Relaxed), Trouble::TargetFailing),
        (lately, Trouble::DeadLettering),
        (known.is_growing, Trouble::BacklogGrowing),
    ];
    all.into_iter().filter_map(|(holds, trouble)| holds.then_some(trouble)).collect()
}

impl Seen {
    /// Whether it is of the same order.
    fn is_like(&self, other: &Self) -> bool {
        let orders = |seen: &Self| [seen.backlog, seen.parked, seen.dead_lettered].map(order);
        orders(self) == orders(other)
            && self.exhausted == other.exhausted
            && self.troubles == other.troubles
            && self.oldest.is_some() == other.oldest.is_some()
    }
}

/// How many digits it has.
fn order(count: u64) -> u32 {
    count.checked_ilog10().map_or(0, |order| order + 1)
}

/// How many are told of in one message.
const MOST: usize = 1_000;

/// What is to be said where this was said before; all of it where nothing was.
pub(super) fn messages(before: Option<&Observed>, now: &Observed) -> Vec<control::Observed> {
    let none = Observed::new();
    let known = before.unwrap_or(&none);
    let new = now.iter().filter(|(name, seen)| known.get(name) != Some(seen));
    let new = new.map(|(name, seen)| seen.message(name));
    let gone = known.keys().filter(|name| !now.contains_key(name));
    let all: Vec<control::Progress> = new.chain(gone.map(|name| Seen::default().message(name))).collect();
    let mut messages: Vec<control::Observed> =
        all.chunks(MOST).map(|some| control::Observed { whole: false, processors: some.to_vec() }).collect();
    if before.is_none() {
        if messages.is_empty() {
            messages.push(control::Observed::default());
        }
        messages[0].whole = true;
    }
    messages
}

impl Seen {
    fn message(&self, Name { namespace, name }: &Name) -> control::Progress {
        control::Progress {
            name: Some(control::Name { namespace: namespace.clone(), name: name.clone() }),
            backlog: self.backlog,
            oldest: self.oldest,
            parked: self.parked,
            dead_lettered: self.dead_lettered,
            exhausted: self.exhausted,
            troubles: self.troubles.iter().map(|trouble| i32::from(*trouble)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;

    #[test]
    fn what_is_of_the_same_order_is_not_said_again() {
        let of = |backlog, parked| Seen { backlog, parked, ..Seen::default() };
        assert!(of(12, 0).is_like(&of(99, 0)) && of(0, 3).is_like(&of(0, 9)));
        assert!(!of(0, 0).is_like(&of(1, 0)), "something is not nothing");
        assert!(!of(99, 0).is_like(&of(100, 0)) && !of(99, 0).is_like(&of(99, 1)));
        let failing = Seen { troubles: vec![Trouble::TargetFailing], ..of(12, 0) };
        assert!(!failing.is_like(&of(12, 0)));
    }

    #[test]
    fn troubles_are_told_while_they_last() {
        let (progress, mut known, began) = (Progress::default(), Known::default(), Instant::now());
        let retention = Some(Duration::from_secs(1_000));
        let at = |known: &mut Known, after: Duration| {
            measure(known, &progress, retention, (began + after, NOW)).troubles
        };
        assert_eq!(at(&mut known, Duration::ZERO), []);
        progress.breaker_open.store(true, Relaxed);
        Progress::add(&progress.dead_lettered, 1);
        assert_eq!(at(&mut known, Duration::ZERO), [Trouble::TargetFailing, Trouble::DeadLettering]);
        progress.breaker_open.store(false, Relaxed);
        assert_eq!(at(&mut known, LATELY), [], "that was a while ago");
        // An event of 799 and one of 800 seconds ago, where a thousand are kept.
        for (age, expected) in [(799_000, vec![]), (800_000, vec![Trouble::RetentionRisk])] {
            known.learn(Log { backlog: 1, oldest: Some(NOW - age), dead: 0 }, began);
            assert_eq!(at(&mut known, LATELY), expected);
        }
    }

    #[test]
    fn a_backlog_grows_when_it_has_doubled_and_no_longer_than_it_is_one() {
        let (mut known, began) = (Known::default(), Instant::now());
        let mut learn = |backlog, after: u32| {
            known.learn(Log { backlog, oldest: None, dead: 0 }, began + LATELY * after);
            known.is_growing
        };
        assert!(!learn(800, 0) && !learn(5_000, 0), "nothing is known of before");
        assert!(learn(5_000, 1) && learn(6_000, 1));
        assert!(!learn(900, 1), "it has been worked off");
        assert!(!learn(6_000, 2), "it is no more than it was");
        assert!(learn(12_000, 3));
    }

    #[test]
    fn first_all_is_said_and_then_what_is_different() {
        let of = |names: &[(&str, u64)]| -> Observed {
            let seen = |parked| Seen { parked, ..Seen::default() };
            names.iter().map(|(name, parked)| (Name::new("shop", *name), seen(*parked))).collect()
        };
        let said = |before: Option<&Observed>, now: &Observed| -> Vec<(bool, Vec<(String, u64)>)> {
            let one = |one: control::Progress| (one.name.unwrap().name, one.parked);
            let all = messages(before, now).into_iter();
            all.map(|said| (said.whole, said.processors.into_iter().map(one).collect())).collect()
        };
        assert_eq!(said(None, &of(&[])), [(true, vec![])], "that all are at rest is something to say");
        let first = of(&[("a", 1), ("b", 2)]);
        assert_eq!(said(None, &first), [(true, vec![("a".into(), 1), ("b".into(), 2)])]);
        assert_eq!(said(Some(&first), &first), []);
        let second = of(&[("b", 20), ("c", 3)]);
        assert_eq!(
            said(Some(&first), &second),
            [(false, vec![("b".into(), 20), ("c".into(), 3), ("a".into(), 0)])]
        );
    }
}
