//! What waits: written straight into the log as a ledger would have, and taken over from there. Does I/O.

use std::{process, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use evhub_bench::machine;
use evhub_journal::{Journal, Place};
use evhub_ledger::{
    TimerId,
    claim::{By, Claimed, Receipt},
    ledger::Figures,
    state::Entry,
    timer::Timer,
};
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{MAX_DELAY, PRODUCER, SHARDS, Site, event_id, millis, record};

/// How many writes are under way at once.
const AT_ONCE: usize = 5_000;
/// What is written has other numbers than what is submitted.
const FIRST: u64 = 1 << 40;
/// How long a process is left alone before its memory is looked at.
const REST: Duration = Duration::from_secs(3);

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Timers,
    Keys,
}

/// What taking it over came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rebuilt {
    /// Seconds until all of it was known and all shards were led.
    pub(crate) seconds: f64,
    /// KiB that the process held before, held afterwards, and held at the most.
    pub(crate) before: u64,
    pub(crate) resident: u64,
    pub(crate) peak: u64,
    /// Seconds from the first shard that was led until all that was overdue had fired.
    pub(crate) fired: f64,
}

/// Writes so many into the state; so many of the timers, evenly among the others, are overdue.
pub(super) async fn seed<J: Journal>(site: &Site<J>, what: What, count: u64, overdue: u64) -> Result<()> {
    let topic = format!("{}._ledger.state", site.prefix);
    let now = millis();
    let each = count.checked_div(overdue).unwrap_or(u64::MAX).max(1);
    let write = |number: u64| {
        let due = if number % each == each - 1 { now } else { far(number, now) };
        let (shard, entry) = match what {
            What::Timers => timer(site, FIRST + number, due),
            What::Keys => key(FIRST + number, now),
        };
        let written = site.log.append(&topic, Place::Partition(shard), entry.encode());
        async move { written.await.map(drop).context("write into the state") }
    };
    iter(0..count).map(write).buffer_unordered(AT_ONCE).try_collect().await
}

/// Some instant that is not soon, of events that come in any order.
fn far(number: u64, now: i64) -> i64 {
    let span = MAX_DELAY.as_millis() as u64 / 2;
    now + (span / 2 + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % span) as i64
}

fn timer<J: Journal>(site: &Site<J>, number: u64, due: i64) -> (u32, Entry) {
    let (id, record) = (site.timer(number), record(number));
    let timer = Timer {
        id,
        producer: Arc::from(PRODUCER),
        topic: Arc::from(site.topic.as_str()),
        due,
        seq: number,
        generation: 0,
        digest: number,
        max_delay: MAX_DELAY.as_millis() as u64,
        event_id: event_id(number),
        record,
        series: None,
        claimed: false,
        chain: None,
    };
    (id.shard(), Entry::Pending(Box::new(timer)))
}

fn key(number: u64, now: i64) -> (u32, Entry) {
    let id = TimerId::of_claim(PRODUCER, By::Key(&event_id(number)), SHARDS);
    let receipt = Receipt { event_id: event_id(number), timer: None };
    let claimed = Claimed { producer: Arc::from(PRODUCER), until: far(number, now), digest: number, receipt };
    (id.shard(), Entry::Claimed(id, Box::new(claimed)))
}

/// Takes all of it over, without anything that was known before.
pub(super) async fn rebuild<J: Journal>(
    site: &Site<J>,
    what: What,
    count: u64,
    overdue: u64,
) -> Result<Rebuilt> {
    let memory = |field| machine::memory(process::id(), field);
    let (before, began) = (memory("VmRSS")?, Instant::now());
    let leading = site.begin();
    site.until("a shard is led", |figures| figures.led > 0).await?;
    let led = Instant::now();
    let known = |figures: &Figures| match what {
        What::Timers => figures.pending + figures.tally.fired,
        What::Keys => figures.keys,
    };
    let all = |figures: &Figures| figures.led == u64::from(SHARDS) && known(figures) == count;
    site.until("all is known", all).await?;
    let seconds = began.elapsed().as_secs_f64();
    site.until("all that is overdue has fired", |figures| figures.tally.fired >= overdue).await?;
    let fired = led.elapsed().as_secs_f64();
    sleep(REST).await;
    let (resident, peak) = (memory("VmRSS")?, memory("VmHWM")?);
    leading.stop().await?;
    Ok(Rebuilt { seconds, before, resident, peak, fired })
}

impl FromStr for What {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "timers" => Ok(Self::Timers),
            "keys" => Ok(Self::Keys),
            _ => bail!("nothing that waits is called {text}"),
        }
    }
}
