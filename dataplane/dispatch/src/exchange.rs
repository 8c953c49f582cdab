//! Where owners of one Processor's partitions, each in a process of its own, tell each other what part of its allowance they take:
//! one topic of the installation, which each process reads once for all its workers. I/O.
//!
//! What is said there is for the moment, and of one generation of a group. Who cannot say anything, or hear, goes on with what it
//! has.

use std::{
    future::Future,
    pin::Pin,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use evhub_event::Record;
use evhub_journal::{
    ClusterSettings, Error, Journal, Place, Stored, TopicPartition, TopicSettings, WriteError,
};
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use crate::pace::share::Word;

/// How often is listened, while some worker shares a Processor, and while none does.
const LISTEN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));
/// How much is read at once: records, and bytes.
const READ: (usize, usize) = (1_000, 1 << 20);
/// How long words are kept; they count for as long as a generation's owners need to read them.
const KEPT: Duration = Duration::from_hours(1);
/// How long after nobody could hear it is not tried again: all workers join at once, and each would wait for the same.
const AGAIN: Duration = Duration::from_secs(30);
/// How many words one worker may be behind. One that falls further behind hears no more in this generation.
const BEHIND: usize = 1_024;

/// What a worker hears of its Processor: words, with the generations in which they were said.
pub(crate) type Ear = mpsc::Receiver<(u64, Word)>;

/// A word on its way.
pub(crate) type Saying = Pin<Box<dyn Future<Output = Result<(), WriteError>> + Send>>;

/// The exchange; clones share it.
#[derive(Clone, Debug)]
pub struct Exchange<J>(Option<Arc<Inner<J>>>);

#[derive(Debug)]
struct Inner<J> {
    journal: J,
    at: TopicPartition,
    /// Held while the reading begins, so that it begins once.
    beginning: tokio::sync::Mutex<()>,
    listeners: Mutex<Listeners>,
    /// How many workers share their Processor with others.
    sharing: Arc<Sharers>,
}

/// How many share, and a bell for when that changes.
#[derive(Debug, Default)]
struct Sharers {
    count: AtomicUsize,
    changed: Notify,
}

/// A worker shares its Processor for as long as this lives.
#[derive(Debug)]
pub(crate) struct Sharing(Option<Arc<Sharers>>);

#[derive(Debug, Default)]
struct Listeners {
    ears: Vec<(String, mpsc::Sender<(u64, Word)>)>,
    is_read: bool,
    /// When it was last found that nobody can hear anything.
    failed: Option<Instant>,
}

impl<J: Journal> Exchange<J> {
    /// For a process that is the only one.
    pub fn none() -> Self {
        Self(None)
    }

    /// For one of several processes, whose topics begin so.
    pub fn on(journal: J, prefix: &str) -> Self {
        let at = TopicPartition { topic: format!("{prefix}._shares"), partition: 0 };
        let sharing = Arc::default();
        Self(Some(Arc::new(Inner {
            sharing,
            journal,
            at,
            beginning: tokio::sync::Mutex::default(),
            listeners: Mutex::default(),
        })))
    }

    /// Hears whatever is said of a Processor from now on; nothing where there is nobody else. The topic is made as safe as this.
    pub(crate) async fn listen(&self, uid: &str, copies: ClusterSettings) -> Result<Option<Ear>, Error> {
        let Some(inner) = &self.0 else { return Ok(None) };
        let _turn = inner.beginning.lock().await;
        if inner.lock().failed.is_some_and(|at| at.elapsed() < AGAIN) {
            return Ok(None);
        }
        let (tell, ear) = mpsc::channel(BEHIND);
        let is_read = {
            let mut listeners = inner.lock();
            // Whoever reads goes on for as long as there is anybody to tell.
            listeners.ears.push((uid.to_owned(), tell));
            listeners.is_read
        };
        if !is_read {
            let begun = inner.begin(copies).await;
            let mut listeners = inner.lock();
            (listeners.failed, listeners.is_read) = (begun.is_err().then(Instant::now), begun.is_ok());
            tokio::spawn(read(Arc::clone(inner), begun?));
        }
        Ok(Some(ear))
    }

    /// A worker has others beside it from now on: what they say is read soon.
    pub(crate) fn share(&self) -> Sharing {
        let sharers = self.0.as_ref().map(|inner| Arc::clone(&inner.sharing));
        if let Some(sharers) = &sharers {
            sharers.count.fetch_add(1, Relaxed);
            sharers.changed.notify_one();
        }
        Sharing(sharers)
    }

    /// Says a word. `Ok` means that everybody will read it.
    pub(crate) fn say(&self, uid: &str, generation: u64, word: &Word) -> Saying {
        let said = self.0.as_ref().map(|inner| {
            let record = encode(uid, generation, word);
            inner.journal.append(&inner.at.topic, Place::Partition(inner.at.partition), record)
        });
        match said {
            Some(said) => Box::pin(async move { said.await.map(|_| ()) }),
            None => Box::pin(std::future::ready(Ok(()))),
        }
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        if let Some(sharers) = &self.0 {
            sharers.count.fetch_sub(1, Relaxed);
        }
    }
}

impl<J: Journal> Inner<J> {
    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the topic, and says where it ends.
    async fn begin(&self, copies: ClusterSettings) -> Result<u64, Error> {
        let is_there = self.journal.look_up(&self.at.topic).await?.is_some();
        let settings = TopicSettings {
            partitions: 1,
            max_record_bytes: 4 << 10,
            retention: Some(KEPT),
            reserved: true,
            // Afterwards only Kafka's own tools can change it.
            cluster: if is_there { ClusterSettings::default() } else { copies },
            ..TopicSettings::default()
        };
        self.journal.ensure(&self.at.topic, settings).await?;
        self.journal.end(&self.at).await
    }

    /// Tells whoever is concerned. Returns whether anybody listens still.
    fn tell(&self, records: &[Stored]) -> bool {
        let mut listeners = self.lock();
        let words: Vec<_> = records.iter().filter_map(decode).collect();
        listeners.ears.retain(|(uid, ear)| {
            let mut mine = words.iter().filter(|(of, ..)| of == uid);
            !ear.is_closed() && mine.all(|(_, generation, word)| ear.try_send((*generation, *word)).is_ok())
        });
        listeners.is_read = !listeners.ears.is_empty();
        listeners.is_read
    }
}

/// Reads on and on, for as long as anybody listens.
async fn read<J: Journal>(inner: Arc<Inner<J>>, mut from: u64) {
    loop {
        let (often, seldom) = LISTEN;
        if inner.sharing.count.load(Relaxed) > 0 {
            sleep(often).await;
        } else {
            // What was read for nobody need not be read soon, and must be before it is kept no longer.
            let _ = timeout(seldom, inner.sharing.changed.notified()).await;
        }
        let records = match inner.journal.read(&inner.at, from, READ.0, READ.1).await {
            Ok(slice) => {
                from = slice.next;
                slice.records
            }
            Err(Error::OutOfRange { .. }) => {
                warn!(
                    topic = inner.at.topic,
                    "words on shares are gone; each process goes on with what it has"
                );
                let mut listeners = inner.lock();
                *listeners = Listeners::default();
                return;
            }
            Err(error) => {
                debug!(topic = inner.at.topic, %error, "words on shares cannot be read at the moment");
                Vec::new()
            }
        };
        if !inner.tell(&records) {
            return;
        }
    }
}

fn encode(uid: &str, generation: u64, word: &Word) -> Record {
    let Word { owner, number, base, keeps, wants } = word;
    let value = format!("{generation} {owner} {number} {base} {keeps} {wants}");
    Record { key: Some(uid.to_owned().into()), value: Some(value.into()), headers: Vec::new() }
}

/// A word, and of which Processor and generation. What is none is somebody else's.
fn decode(stored: &Stored) -> Option<(String, u64, Word)> {
    let uid = String::from_utf8(stored.record.key.as_ref()?.to_vec()).ok()?;
    let value = stored.record.value.as_ref()?;
    let mut numbers = std::str::from_utf8(value).ok()?.split(' ').map(u64::from_str);
    let mut next = || numbers.next()?.ok();
    let (generation, owner, number) = (next()?, next()?, next()?);
    let mut parts = || next().and_then(|parts| u32::try_from(parts).ok());
    let word = Word { owner, number, base: parts()?, keeps: parts()?, wants: parts()? };
    Some((uid, generation, word))
}

#[cfg(test)]
mod tests {
    use evhub_journal::Stored;

    use super::{Word, decode, encode};

    #[test]
    fn a_word_is_read_as_it_was_said_and_what_is_none_is_left_alone() {
        let word = Word { owner: u64::MAX, number: 3, base: 5000, keeps: 50, wants: 0 };
        let stored = |record| Stored { offset: 0, timestamp: 0, record };
        let record = encode("a-uid", 7, &word);
        assert_eq!(decode(&stored(record.clone())), Some(("a-uid".to_owned(), 7, word)));
        for value in ["", "7 1 3", "7 1 3 5000 50 x", "7 1 3 5000000000000 50 0"] {
            let mut other = record.clone();
            other.value = Some(value.into());
            assert_eq!(decode(&stored(other)), None, "{value}");
        }
    }
}
