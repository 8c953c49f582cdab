//! What comes due: read where it appears, as whoever delivers reads it. Does I/O.
//!
//! How late an event is counts from the instant at which it was due to the one at which a reader of what is committed has it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use evhub_event::record::{DUE, TIMER};
use evhub_journal::{Journal, Polled, Stored, Tail, TopicPartition};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{PATIENCE, Site, ask, micros, millis, used};

/// How long is waited for what should not come: the same event again.
const GRACE: Duration = Duration::from_secs(1);

/// What came due.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fired {
    /// How many different events came.
    pub(crate) events: u64,
    /// How many never came, came again, and came before their instant.
    pub(crate) lost: u64,
    pub(crate) doubles: u64,
    pub(crate) early: u64,
    /// Microseconds of lateness at 50 %, 99 %, 99.9 % and at the most.
    pub(crate) late: [u64; 4],
    /// Seconds from the first instant to the last arrival.
    pub(crate) seconds: f64,
    /// Microseconds of the process's processor time for each, the reader's included.
    pub(crate) micros: f64,
}

/// So many that are due at one instant.
pub(super) async fn burst<J: Journal>(site: &Site<J>, count: u64, lead: u64) -> Result<Fired> {
    fire(site, count, lead, |_| 0).await
}

/// So many a second, at even distances.
pub(super) async fn paced<J: Journal>(site: &Site<J>, rate: u64, seconds: u64, lead: u64) -> Result<Fired> {
    fire(site, rate * seconds, lead, move |number| (number * 1_000 / rate) as i64).await
}

/// Submits all, which must be done within so many milliseconds, and sees them come.
async fn fire<J: Journal>(
    site: &Site<J>,
    count: u64,
    lead: u64,
    after: impl Fn(u64) -> i64,
) -> Result<Fired> {
    let leading = site.lead().await?;
    let watch = Watch::begin(site).await?;
    let first = millis() + i64::try_from(lead)?;
    ask::all(site, count, |number| first + after(number)).await?;
    ensure!(millis() < first, "not all were accepted before the first was due: {lead} ms are too few");
    sleep(Duration::from_millis(u64::try_from(first - millis()).unwrap_or(0))).await;
    let (before, began) = (used()?, Instant::now());
    while watch.seen(|seen| seen.known.len() as u64) < count && began.elapsed() < PATIENCE {
        sleep(Duration::from_millis(5)).await;
    }
    let used = used()? - before;
    sleep(GRACE).await;
    leading.stop().await?;
    Ok(watch.seen(|seen| {
        let events = seen.known.len() as u64;
        let at = |quantile| seen.late.value_at_quantile(quantile);
        Fired {
            events,
            lost: count - events,
            doubles: seen.doubles,
            early: seen.early,
            late: [at(0.5), at(0.99), at(0.999), seen.late.max()],
            seconds: seen.last.saturating_sub(first as u64 * 1_000) as f64 / 1e6,
            micros: used * 1e6 / events.max(1) as f64,
        }
    }))
}

/// Whoever reads what comes due, until dropped.
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    reading: JoinHandle<Result<()>>,
}

struct Seen {
    ready: bool,
    known: HashSet<Vec<u8>>,
    doubles: u64,
    early: u64,
    late: Histogram<u64>,
    /// When the last one came, in microseconds since the Unix epoch.
    last: u64,
}

impl Watch {
    pub(super) async fn begin<J: Journal>(site: &Site<J>) -> Result<Self> {
        let late = Histogram::new_with_bounds(1, 600_000_000, 3)?;
        let seen = Seen { ready: false, known: HashSet::new(), doubles: 0, early: 0, late, last: 0 };
        let seen = Arc::new(Mutex::new(seen));
        let group = format!("{}.watch", site.prefix);
        let tail = site.log.join(&group, std::slice::from_ref(&site.topic)).await?;
        let reading = tokio::spawn(read(tail, site.topic.clone(), Arc::clone(&seen)));
        let watch = Self { seen, reading };
        let began = Instant::now();
        while !watch.seen(|seen| seen.ready) {
            ensure!(
                began.elapsed() < PATIENCE && !watch.reading.is_finished(),
                "nobody reads {}",
                site.topic
            );
            sleep(Duration::from_millis(5)).await;
        }
        Ok(watch)
    }

    fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read<T: Tail>(mut tail: T, topic: String, seen: Arc<Mutex<Seen>>) -> Result<()> {
    loop {
        match tail.poll().await? {
            Polled::Assigned { partitions, .. } => {
                for partition in partitions {
                    let at = TopicPartition { topic: topic.clone(), partition };
                    tail.seek(&at, 0);
                    tail.pause(&at, false);
                }
                seen.lock().unwrap_or_else(PoisonError::into_inner).ready = true;
            }
            Polled::Records(_, records) => {
                let now = micros();
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                records.iter().try_for_each(|stored| seen.came(stored, now))?;
            }
            Polled::Revoked(partitions) => tail.release(&partitions),
            Polled::Lost(_) => bail!("the reader is no member of its group any more"),
            Polled::End(..) => {}
        }
    }
}

impl Seen {
    fn came(&mut self, stored: &Stored, now: u64) -> Result<()> {
        let header = |name: &str| stored.record.header(name).with_context(|| format!("find {name}"));
        let due: i64 = std::str::from_utf8(header(DUE)?)?.parse()?;
        self.early += u64::from(stored.timestamp < due || now < due as u64 * 1_000);
        self.last = now;
        if self.known.insert(header(TIMER)?.to_vec()) {
            self.late.saturating_record(now.saturating_sub(due as u64 * 1_000));
        } else {
            self.doubles += 1;
        }
        Ok(())
    }
}
