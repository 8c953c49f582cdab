//! Many who ask at once, each for its next when the one before is answered. Does I/O.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use evhub_journal::{ClusterSettings, Journal, Place, TopicSettings};
use evhub_ledger::{
    Answer, Command, When,
    claim::{self, By, Claim},
    command::Verb,
};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::Instant};

use super::{MAX_DELAY, PARTITIONS, PRODUCER, SHARDS, Site, event_id, millis, record, used};

/// How many ask at once.
pub(crate) const AT_ONCE: u64 = 1_000;
/// What is asked before anything counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// The window of a key.
const WINDOW: Duration = Duration::from_mins(10);

/// What the askers came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Answers a second.
    pub(crate) rate: f64,
    /// Microseconds of the process's processor time for each, the askers' included.
    pub(crate) micros: f64,
    /// Microseconds until an answer, at 50 % and at 99 %.
    pub(crate) waited: [u64; 2],
}

/// Timers that are due much later.
pub(super) async fn submits<J: Journal>(site: &Site<J>, seconds: u64) -> Result<Asked> {
    let leading = site.lead().await?;
    let due = millis() + i64::try_from(MAX_DELAY.as_millis())? / 2;
    let asked = closed(seconds, |number| {
        let asked = ask(site, site.submit(number, due));
        async move { expect_scheduled(&asked.await?) }
    })
    .await?;
    leading.stop().await?;
    Ok(asked)
}

/// The same events without a key, and with one.
pub(super) async fn keys<J: Journal>(site: &Site<J>, seconds: u64) -> Result<[Asked; 2]> {
    let topic = format!("{}.shop.orders", site.prefix);
    let settings =
        TopicSettings { partitions: PARTITIONS, max_record_bytes: 1 << 20, ..TopicSettings::default() };
    site.log.ensure(&topic, settings).await?;
    let leading = site.lead().await?;
    let plain = closed(seconds, |number| {
        let written = site.log.append(&topic, Place::ByKey, record(number));
        async move { written.await.map(drop).context("publish without a key") }
    })
    .await?;
    let keyed = closed(seconds, |number| {
        let asked = ask(site, publish(site, number));
        async move {
            match asked.await? {
                Answer::Claimed(_) => Ok(()),
                other => bail!("a publish was answered {other:?}"),
            }
        }
    })
    .await?;
    leading.stop().await?;
    Ok([plain, keyed])
}

/// Asks for timers, all at their instants, and waits until all are accepted.
pub(super) async fn all<J: Journal>(site: &Site<J>, count: u64, due: impl Fn(u64) -> i64) -> Result<()> {
    let next = AtomicU64::new(0);
    let askers = (0..AT_ONCE).map(|_| async {
        loop {
            let number = next.fetch_add(1, Relaxed);
            if number >= count {
                return anyhow::Ok(());
            }
            expect_scheduled(&ask(site, site.submit(number, due(number))).await?)?;
        }
    });
    futures_util::future::try_join_all(askers).await.map(drop)
}

fn ask<J: Journal>(site: &Site<J>, command: Command) -> impl Future<Output = Result<Answer>> + Send + use<J> {
    let ledger = site.ledger.clone();
    async move { Ok(ledger.ask(command, 1 << 10, ClusterSettings::default()).await?) }
}

fn expect_scheduled(answer: &Answer) -> Result<()> {
    ensure!(matches!(answer, Answer::Scheduled(_)), "a submit was answered {answer:?}");
    Ok(())
}

/// An event that is published under a key of its own.
fn publish<J: Journal>(site: &Site<J>, number: u64) -> Command {
    // When is meant only where there is a timer.
    let submit = site.event(number, When::At(0));
    let id = evhub_ledger::TimerId::of_claim(PRODUCER, By::Key(&event_id(number)), SHARDS);
    let digest = claim::digest(&submit.record, None, None);
    Command { id, verb: Verb::Claim(Box::new(Claim { submit, timer: None, window: WINDOW, digest })) }
}

/// As much as so many can ask one after the other.
async fn closed<F>(seconds: u64, one: impl Fn(u64) -> F) -> Result<Asked>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let next = Arc::new(AtomicU64::new(0));
    let from = Instant::now() + WARM_UP;
    let to = from + Duration::from_secs(seconds);
    let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    let mut under_way = JoinSet::new();
    let begin = |under_way: &mut JoinSet<Result<Instant>>| {
        let (began, asked) = (Instant::now(), one(next.fetch_add(1, Relaxed)));
        under_way.spawn(async move { asked.await.map(|()| began) });
    };
    (0..AT_ONCE).for_each(|_| begin(&mut under_way));
    let mut before = None;
    while let Some(ended) = under_way.join_next().await {
        let (began, now) = (ended??, Instant::now());
        if now >= from {
            before.get_or_insert(used()?);
        }
        if (from..to).contains(&now) {
            times.saturating_record((now - began).as_micros() as u64);
        }
        if now < to {
            begin(&mut under_way);
        }
    }
    let (answers, used) = (times.len() as f64, used()? - before.unwrap_or_default());
    let at = |quantile| times.value_at_quantile(quantile);
    Ok(Asked {
        rate: answers / seconds as f64,
        micros: used * 1e6 / answers.max(1.0),
        waited: [at(0.5), at(0.99)],
    })
}
