//! Asking the ledger: appends a command, and waits for whoever leads its shard to say what became of it. I/O.
//!
//! A command that is in the log is never lost and never applied twice. An answer that is lost is asked for again, of whoever
//! leads by then, who knows it from its state.

mod board;
mod dynamic;
mod halves;

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use evhub_journal::{
    ClusterSettings, Error, Journal, Place, Refusal, TopicPartition, TopicSettings, WriteError,
};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    time::{sleep, timeout},
};

pub use self::board::{Board, Figures};
use crate::{
    Answer, Clock, Command, Listed, Question, Reply, TimerId, claim::By, rim::Message, series::Kept,
    state::Entry,
};

/// A place in a Producer's list of timers.
pub type Slot = (i64, u64);

/// How long to wait before a leader is asked again.
const AGAIN: Duration = Duration::from_millis(20);
/// How long another process may take: it answers when the command is decided, or when it has ended.
const REACH: Duration = Duration::from_secs(3);
/// What a command holds beside its event's record.
const ENVELOPE: usize = 64 << 10;

/// What an installation's ledger is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Heads the names of topics, of the group and of transactional ids.
    pub prefix: String,
    /// How many shards; fixed from the first start on.
    pub shards: u32,
    /// Where this process can be asked; empty where there is no other.
    pub address: String,
    /// How many bytes of events each shard may have in memory.
    pub cache: usize,
}

impl Default for Settings {
    /// A ledger of the installation `evhub` in one process.
    fn default() -> Self {
        Self { prefix: "evhub".to_owned(), shards: 4, address: String::new(), cache: 16 << 20 }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The command is not in the log.
    #[error("the command was refused")]
    Rejected(#[source] Refusal),
    /// The command may be in the log.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// Nothing was asked for.
    #[error("the ledger is not available: {0}")]
    Unavailable(String),
}

/// The ledger has another number of shards than is asked for, which is fixed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the ledger has {there} shards and {wanted} are asked for; their number is fixed from the first start on"
)]
pub struct Mismatch {
    /// How many there are.
    pub there: u32,
    /// How many were asked for.
    pub wanted: u32,
}

/// The ledger, as everybody may ask it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger<J> {
    pub(crate) journal: J,
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Clock,
    pub(crate) board: Board,
    pub(crate) leaders: Arc<Leaders>,
    reach: Option<Arc<dyn Reach>>,
    /// The largest event for which its topics were made, and whether they were.
    made: Arc<Mutex<Option<usize>>>,
    widest: Arc<AtomicUsize>,
}

/// How another process is asked that leads a shard: bytes there, and bytes back, or nothing.
pub trait Reach: fmt::Debug + Send + Sync {
    /// Asks the process at an address.
    fn ask(
        &self,
        address: String,
        question: Bytes,
    ) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>>;
}

/// Who leads each shard in this process.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    pub(crate) known: watch::Sender<BTreeMap<u32, mpsc::UnboundedSender<Message>>>,
    /// Whether somebody needs the ledger.
    pub(crate) wanted: watch::Sender<bool>,
    /// How many wait to be told what became of a command.
    pub(crate) asking: watch::Sender<usize>,
    /// When each shard that is led here has a half message about which its publisher is to be asked.
    pub(crate) checks: watch::Sender<BTreeMap<u32, i64>>,
}

impl<J: Journal> Ledger<J> {
    /// The ledger in this log.
    pub fn new(journal: J, settings: Settings) -> Self {
        Self {
            journal,
            settings: Arc::new(settings),
            clock: Clock::default(),
            board: Board::default(),
            leaders: Arc::default(),
            reach: None,
            made: Arc::default(),
            widest: Arc::default(),
        }
    }

    /// The same where other processes lead as well.
    #[must_use]
    pub fn reaching(self, reach: Arc<dyn Reach>) -> Self {
        Self { reach: Some(reach), ..self }
    }

    /// The same by another clock.
    #[must_use]
    pub fn going_by(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The id of an event's timer.
    pub fn id(&self, producer: &str, key: Option<&[u8]>, source: &str, event: &str) -> TimerId {
        TimerId::of(producer, key, source, event, self.settings.shards)
    }

    /// The id of a key under which events of a Producer are published once.
    pub fn claim_id(&self, producer: &str, by: By<'_>) -> TimerId {
        TimerId::of_claim(producer, by, self.settings.shards)
    }

    /// The time by which it fires.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What is known of it here.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Whether the shards are as many as are asked for, where there are any yet.
    pub async fn check(&self) -> Result<Result<(), Mismatch>, Error> {
        let wanted = self.settings.shards;
        let there = self.journal.look_up(&self.commands()).await?;
        Ok(match there.filter(|there| *there != wanted) {
            Some(there) => Err(Mismatch { there, wanted }),
            None => Ok(()),
        })
    }

    /// Asks for something to be done, and waits until it is decided. The topics take events of so many bytes, and are made as
    /// safe as is said where they are not there yet.
    pub async fn ask(
        &self,
        command: Command,
        event_bytes: usize,
        copies: ClusterSettings,
    ) -> Result<Answer, Trouble> {
        let _asking = Asking::of(&self.leaders);
        self.make(event_bytes, copies).await.map_err(|error| Trouble::Unavailable(error.to_string()))?;
        let shard = command.id.shard();
        let known = command.clone().without_event();
        let appended = self.journal.append(&self.commands(), Place::Partition(shard), command.encode()).await;
        let position = appended.map_err(|error| match error {
            WriteError::Rejected(refusal) => Trouble::Rejected(refusal),
            WriteError::Unknown(why) => Trouble::Unknown(why),
        })?;
        match self.tell(shard, Question::Ask(position.offset, Box::new(known))).await {
            Reply::Answer(answer) => Ok(answer),
            Reply::Listed(_) | Reply::Series(_) | Reply::Dynamic(_) | Reply::Halves(_) => {
                Err(Trouble::Unknown("the shard's leader answered something else".to_owned()))
            }
        }
    }

    /// What is known of a timer.
    pub async fn look(&self, id: TimerId) -> Result<Result<Listed, Answer>, Trouble> {
        if id.shard() >= self.settings.shards || !self.exists().await? {
            return Ok(Err(Answer::Unknown));
        }
        Ok(match self.tell(id.shard(), Question::Look(id)).await {
            Reply::Answer(answer) => Err(answer),
            Reply::Listed(listed) => {
                listed.into_iter().next().map(|(_, listed)| listed).ok_or(Answer::Unknown)
            }
            Reply::Series(_) | Reply::Dynamic(_) | Reply::Halves(_) => Err(Answer::Unknown),
        })
    }

    /// The pending timers of a Producer behind a place, soonest first.
    pub async fn list(
        &self,
        producer: &str,
        after: Option<(Slot, u32)>,
        most: usize,
    ) -> Result<Vec<(Slot, Listed)>, Trouble> {
        if !self.exists().await? {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for shard in 0..self.settings.shards {
            let after = after.map(|(slot, last)| within(shard, slot, last));
            let question = Question::List(producer.to_owned(), after, most);
            if let Reply::Listed(listed) = self.tell(shard, question).await {
                all.extend(listed);
            }
        }
        all.sort_unstable_by_key(|((due, seq), listed)| (*due, *seq, listed.id.shard()));
        all.truncate(most);
        Ok(all)
    }

    /// All schedules that there are.
    pub async fn series(&self) -> Result<Vec<Kept>, Trouble> {
        if !self.exists().await? {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for shard in 0..self.settings.shards {
            match self.tell(shard, Question::Series).await {
                Reply::Series(kept) => all.extend(kept),
                Reply::Answer(_) | Reply::Listed(_) | Reply::Dynamic(_) | Reply::Halves(_) => {
                    let why = "a shard's leader does not know of schedules: run this version there";
                    return Err(Trouble::Unavailable(why.to_owned()));
                }
            }
        }
        Ok(all)
    }

    /// What whoever leads a shard here says to a question; `None` where nobody here does.
    pub async fn told(&self, shard: u32, question: Question) -> Option<Reply> {
        let leader = self.leaders.known.borrow().get(&shard).cloned()?;
        let (reply, answer) = oneshot::channel();
        leader.send(Message::Question(question, reply)).ok()?;
        answer.await.ok()
    }

    async fn exists(&self) -> Result<bool, Trouble> {
        let there = self.journal.look_up(&self.commands()).await;
        let there = there.map_err(|error| Trouble::Unavailable(error.to_string()))?.is_some();
        if there {
            self.leaders.wanted.send_replace(true);
        }
        Ok(there)
    }

    /// Tells whoever leads a shard, here or elsewhere, again and again until there is an answer. Callers end it in time.
    async fn tell(&self, shard: u32, question: Question) -> Reply {
        let mut known = self.leaders.known.subscribe();
        loop {
            if let Some(reply) = self.told(shard, question.clone()).await {
                return reply;
            }
            if let Some(reply) = self.reach(shard, &question).await {
                return reply;
            }
            tokio::select! {
                _ = known.wait_for(|known| known.contains_key(&shard)) => {}
                () = sleep(AGAIN) => {}
            }
            sleep(AGAIN).await;
        }
    }

    /// Asks the process that led the shard last, as far as the log tells.
    async fn reach(&self, shard: u32, question: &Question) -> Option<Reply> {
        let reach = self.reach.as_ref()?;
        let address = self.leader_of(shard).await.filter(|address| *address != self.settings.address)?;
        let reply = timeout(REACH, reach.ask(address, question.clone().encode(shard))).await.ok()??;
        Reply::decode(reply)
    }

    /// Where whoever led a shard last can be asked: each of its transactions ends with that.
    async fn leader_of(&self, shard: u32) -> Option<String> {
        let at = TopicPartition { topic: self.state(), partition: shard };
        let end = self.journal.end(&at).await.ok()?;
        for back in [8, 512, 16_384] {
            let slice =
                self.journal.read(&at, end.saturating_sub(back), back as usize, 4 << 20).await.ok()?;
            let last = slice.records.iter().rev().find_map(|stored| match Entry::decode(&stored.record) {
                Ok(Entry::Progress(progress)) => Some(progress.leader),
                _ => None,
            });
            if let Some(leader) = last.filter(|leader| !leader.is_empty()) {
                return Some(leader);
            }
        }
        None
    }

    // === topics ===

    /// Makes the ledger's topics, if they are not there, for events of so many bytes.
    pub async fn make(&self, event_bytes: usize, copies: ClusterSettings) -> Result<(), Error> {
        let largest = event_bytes.saturating_add(ENVELOPE);
        if self.widest.load(Relaxed) >= largest {
            return Ok(());
        }
        let mut made = self.made.lock().await;
        if made.is_none_or(|made| made < largest) {
            let settings = |topic: &str| TopicSettings {
                partitions: self.settings.shards,
                max_record_bytes: largest,
                reserved: true,
                // How safe a topic is it is made with: afterwards only Kafka's own tools can change it.
                cluster: self.journal.partitions(topic).map_or(copies, |_| ClusterSettings::default()),
                ..TopicSettings::default()
            };
            let (state, commands) = (self.state(), self.commands());
            let compacted = TopicSettings { compacted: true, ..settings(&state) };
            self.journal.ensure(&state, compacted).await?;
            self.journal.ensure(&commands, settings(&commands)).await?;
            *made = Some(largest);
            self.widest.store(largest, Relaxed);
        }
        self.leaders.wanted.send_replace(true);
        Ok(())
    }

    pub(crate) fn commands(&self) -> String {
        format!("{}._ledger.cmd", self.settings.prefix)
    }

    pub(crate) fn state(&self) -> String {
        format!("{}._ledger.state", self.settings.prefix)
    }

    pub(crate) fn group(&self) -> String {
        format!("{}._ledger", self.settings.prefix)
    }

    pub(crate) fn transactional_id(&self, shard: u32) -> String {
        format!("{}-ledger-{shard}", self.settings.prefix)
    }
}

/// Somebody waits; whoever leads goes on until nobody does.
struct Asking<'a>(&'a Leaders);

impl<'a> Asking<'a> {
    fn of(leaders: &'a Leaders) -> Self {
        leaders.asking.send_modify(|count| *count += 1);
        Self(leaders)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asking.send_modify(|count| *count -= 1);
    }
}

/// The place behind which a shard's part of a list goes on that was cut behind a place of another one: at the same instant
/// and place lower shards come first.
fn within(shard: u32, (due, seq): Slot, last: u32) -> Slot {
    match (shard <= last, seq) {
        (true, _) => (due, seq),
        (false, 0) => (due.saturating_sub(1), u64::MAX),
        (false, seq) => (due, seq - 1),
    }
}
