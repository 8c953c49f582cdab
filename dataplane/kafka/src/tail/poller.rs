//! The thread that polls a member's client: the only one that assigns, seeks, commits and gives up.
//!
//! It sleeps until a command comes or a queue of the client's has something. It is never blocked: what nobody takes stays in
//! the client's queues, which are bounded.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use evhub_journal::{CommitError, Committed, Error, Stored, TopicPartition};
use rdkafka::{
    Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerGroupMetadata, base_consumer::PartitionQueue},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tokio::sync::{mpsc::UnboundedSender, oneshot};
use tracing::warn;

use super::{
    Budget,
    group::{Group, Noted},
};
use crate::{Connection, error, native, record};

/// How long the thread sleeps at the most: the client wants to be polled now and then.
const NAP: Duration = Duration::from_millis(500);
/// How much of one partition is handed out at once.
const PIECE: (usize, usize) = (500, 256 << 10);

/// What the thread is told.
pub(super) enum Command {
    /// A queue has something, or somebody has room again.
    Wake,
    Seek { at: TopicPartition, offset: u64, seek: u64 },
    Pause { at: TopicPartition, paused: bool },
    Commit { generation: u64, offsets: Vec<Committed>, answer: Answer },
    Release(Vec<u32>),
    /// The commit under way has ended.
    Committed(Result<(), Code>),
    Leave(oneshot::Sender<()>),
}

type Answer = oneshot::Sender<Result<(), CommitError>>;

/// What the thread tells.
pub(super) enum Event {
    Assigned { generation: u64, metadata: Option<Arc<ConsumerGroupMetadata>>, partitions: Vec<u32> },
    Revoked(Vec<u32>),
    Lost(Vec<u32>),
    Told { at: TopicPartition, seek: u64, told: Told },
    /// What was to be read next is not there any more.
    Gone { at: TopicPartition, seek: u64 },
}

/// What is told of a partition.
pub(super) enum Told {
    Records(Vec<Stored>),
    End,
}

/// The other side of the thread.
pub(super) struct Handle {
    commands: Sender<Command>,
    budget: Arc<Budget>,
}

/// Wakes the thread, once until it has woken.
#[derive(Clone)]
struct Bell {
    rung: Arc<AtomicBool>,
    commands: Sender<Command>,
}

/// One partition that is assigned.
struct Queue {
    queue: PartitionQueue<Group>,
    /// Which seek it reads for; none before the first.
    seek: Option<u64>,
    paused: bool,
}

/// The thread's state.
pub(super) struct Poller {
    consumer: Arc<BaseConsumer<Group>>,
    commands: Receiver<Command>,
    bell: Bell,
    runtime: tokio::runtime::Handle,
    tell: UnboundedSender<Event>,
    budget: Arc<Budget>,
    topics: usize,
    queues: BTreeMap<TopicPartition, Queue>,
    /// Sought before they were assigned.
    sought: BTreeMap<TopicPartition, (u64, u64)>,
    /// Whose turn it is next.
    turn: usize,
    generation: u64,
    /// Asked back, and not released yet.
    asked: BTreeSet<u32>,
    revoking: bool,
    committing: Option<(u64, Answer)>,
    waiting: VecDeque<(u64, Vec<Committed>, Answer)>,
}

impl Handle {
    pub(super) fn tell(&self, command: Command) {
        // A thread that has ended needs no more commands; who waits for an answer hears that it has.
        let _ = self.commands.send(command);
    }

    /// Somebody has taken what was told.
    pub(super) fn taken(&self, told: &Told) {
        if matches!(told, Told::Records(_)) && self.budget.give_back() {
            self.tell(Command::Wake);
        }
    }

    pub(super) async fn leave(&self) {
        let (left, has_left) = oneshot::channel();
        self.tell(Command::Leave(left));
        let _ = has_left.await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let (left, _) = oneshot::channel();
        self.tell(Command::Leave(left));
    }
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let _ = self.commands.send(Command::Wake);
        }
    }
}

impl Poller {
    /// Joins, and starts the thread.
    pub(super) fn start(
        connection: &Connection,
        group: &str,
        topics: &[String],
        tell: UnboundedSender<Event>,
    ) -> Result<Handle, Error> {
        let failed = |intent: &'static str| move |problem: KafkaError| error::unavailable(intent, &problem, None);
        let mut consumer =
            BaseConsumer::from_config_and_context(&connection.member(group), Group::default())
                .map_err(failed("make a member"))?;
        let (sender, commands) = channel();
        let bell = Bell { rung: Arc::default(), commands: sender.clone() };
        let ringing = bell.clone();
        consumer.set_nonempty_callback(move || ringing.ring());
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(failed("join a group"))?;
        let budget = Arc::new(Budget::default());
        let poller = Self {
            consumer: Arc::new(consumer),
            commands,
            bell,
            runtime: tokio::runtime::Handle::current(),
            tell,
            budget: Arc::clone(&budget),
            topics: topics.len(),
            queues: BTreeMap::new(),
            sought: BTreeMap::new(),
            turn: 0,
            generation: 0,
            asked: BTreeSet::new(),
            revoking: false,
            committing: None,
            waiting: VecDeque::new(),
        };
        let named = thread::Builder::new().name("evhub-kafka-tail".to_owned());
        named
            .spawn(move || poller.run())
            .map_err(|problem| Error::Unavailable(format!("start a member's thread: {problem}")))?;
        Ok(Handle { commands: sender, budget })
    }

    fn run(mut self) {
        let left = loop {
            self.bell.rung.store(false, Ordering::Release);
            self.serve();
            self.end_revoke();
            self.send_commit();
            let busy = self.hand_out();
            let nap = if busy { Duration::ZERO } else { NAP };
            let mut command = match self.commands.recv_timeout(nap) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break None,
            };
            let mut leaves = None;
            while let Some(next) = command {
                match next {
                    Command::Leave(left) => leaves = Some(left),
                    other => self.obey(other),
                }
                command = self.commands.try_recv().ok();
            }
            if leaves.is_some() {
                break leaves;
            }
        };
        self.leave();
        if let Some(left) = left {
            let _ = left.send(());
        }
    }

    fn leave(self) {
        self.consumer.context().leaving.store(true, Ordering::Relaxed);
        if let Err(error) = self.consumer.unassign() {
            warn!(%error, "partitions cannot be given up");
        }
        // The queues hold the client; its drop leaves the group and waits until it has.
        drop(self.queues);
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Wake | Command::Leave(_) => {}
            Command::Seek { at, offset, seek } => self.seek(&at, offset, seek),
            Command::Pause { at, paused } => {
                if let Some(queue) = self.queues.get_mut(&at) {
                    queue.paused = paused;
                }
            }
            Command::Commit { generation, offsets, answer } => {
                self.waiting.push_back((generation, offsets, answer));
            }
            Command::Committed(ended) => self.committed(ended),
            Command::Release(partitions) => {
                self.queues.retain(|at, _| !partitions.contains(&at.partition));
                self.asked.retain(|asked| !partitions.contains(asked));
            }
        }
    }

    fn seek(&mut self, at: &TopicPartition, offset: u64, seek: u64) {
        let Some(queue) = self.queues.get_mut(at) else {
            self.sought.insert(at.clone(), (offset, seek));
            return;
        };
        let first = queue.seek.replace(seek).is_none();
        let (topic, partition) = (at.topic.as_str(), at.partition as i32);
        let sought = self.consumer.seek(topic, partition, Offset::Offset(offset as i64), Duration::ZERO);
        if let Err(error) = sought {
            warn!(%error, %at, offset, "a partition cannot be sought");
        }
        if first {
            let mut list = TopicPartitionList::new();
            list.add_partition(topic, partition);
            if let Err(error) = self.consumer.resume(&list) {
                warn!(%error, %at, "a partition cannot be resumed");
            }
        }
    }

    /// Polls the client until it has nothing to say, and does what it said.
    fn serve(&mut self) {
        loop {
            let before = self.consumer.context().calls();
            // Records and ends come by their partitions' own queues; what comes here is from before they had one.
            let polled = self.consumer.poll(Duration::ZERO).is_some();
            while self.committing.is_none() {
                let Some(noted) = self.consumer.context().next() else { break };
                self.react(noted);
            }
            if !polled && self.consumer.context().calls() == before {
                return;
            }
        }
    }

    fn react(&mut self, noted: Noted) {
        match noted {
            Noted::Assign(list) => self.assign(&list),
            Noted::Revoke(partitions) => {
                self.revoking = true;
                self.asked = partitions;
                self.say(Event::Revoked(self.asked.iter().copied().collect()));
            }
            Noted::Lost(partitions) => {
                self.queues.clear();
                self.generation = 0;
                self.say(Event::Lost(partitions.into_iter().collect()));
            }
        }
    }

    fn committed(&mut self, ended: Result<(), Code>) {
        if let Some((mine, answer)) = self.committing.take() {
            let current = u64::try_from(native::generation(self.consumer.client())).unwrap_or(mine);
            let _ = answer.send(ended.map_err(|code| error::commit(code, mine, current)));
        }
    }

    /// Takes what was assigned, paused until it is sought.
    fn assign(&mut self, list: &TopicPartitionList) {
        let mut wanted = list.clone();
        // An offset that has to be looked up would be found after the first seek, and undo it. A seek says where to begin.
        if let Err(error) = wanted.set_all_offsets(Offset::Offset(0)).and_then(|()| self.consumer.assign(&wanted)) {
            return warn!(%error, "partitions cannot be taken");
        }
        if let Err(error) = self.consumer.pause(list) {
            warn!(%error, "partitions cannot be paused");
        }
        self.queues.clear();
        let mut counts = BTreeMap::<u32, usize>::new();
        for element in list.elements() {
            let Ok(partition) = u32::try_from(element.partition()) else { continue };
            let at = TopicPartition { topic: element.topic().to_owned(), partition };
            let Some(mut queue) = self.consumer.split_partition_queue(element.topic(), element.partition()) else {
                warn!(%at, "a partition has no queue");
                continue;
            };
            let bell = self.bell.clone();
            queue.set_nonempty_callback(move || bell.ring());
            self.queues.insert(at, Queue { queue, seek: None, paused: false });
            *counts.entry(partition).or_default() += 1;
        }
        for (at, (offset, seek)) in std::mem::take(&mut self.sought) {
            self.seek(&at, offset, seek);
        }
        self.generation = u64::try_from(native::generation(self.consumer.client())).unwrap_or(0);
        // A number that is not ours in every topic (one is just growing) is nobody's yet.
        let whole = counts.into_iter().filter(|(_, count)| *count == self.topics);
        let metadata = self.consumer.group_metadata().map(Arc::new);
        self.say(Event::Assigned {
            generation: self.generation,
            metadata,
            partitions: whole.map(|(partition, _)| partition).collect(),
        });
    }

    /// Gives up what was asked back, once it is drained and no commit is under way: one that waits for its coordinator would
    /// be sent in the name of the next generation.
    fn end_revoke(&mut self) {
        if !self.revoking || !self.asked.is_empty() || self.committing.is_some() {
            return;
        }
        self.revoking = false;
        self.queues.clear();
        let stale = std::mem::take(&mut self.waiting);
        for (mine, _, answer) in stale {
            let _ = answer.send(Err(CommitError::Stale { mine, current: self.generation }));
        }
        self.generation = 0;
        if let Err(error) = self.consumer.unassign() {
            warn!(%error, "partitions cannot be given up");
        }
    }

    /// Sends the next commit, if none is under way.
    ///
    /// The client tells the end of a commit only to whoever waits for it, so another thread does. That it is sent there and
    /// not here takes nothing from the rule that the thread that polls commits: until it has ended this one neither gives up
    /// nor takes any partition, so that no other generation can begin.
    fn send_commit(&mut self) {
        while self.committing.is_none() {
            let Some((mine, offsets, answer)) = self.waiting.pop_front() else { return };
            if mine != self.generation {
                let _ = answer.send(Err(CommitError::Stale { mine, current: self.generation }));
                continue;
            }
            match list_of(&offsets) {
                Ok(list) => {
                    self.committing = Some((mine, answer));
                    let (consumer, commands) = (Arc::clone(&self.consumer), self.bell.commands.clone());
                    self.runtime.spawn_blocking(move || {
                        let ended = consumer.commit(&list, CommitMode::Sync);
                        // Before the thread hears it: it may end, and the last handle's drop waits.
                        drop(consumer);
                        let code = |error: KafkaError| error.rdkafka_error_code().unwrap_or(Code::Unknown);
                        let _ = commands.send(Command::Committed(ended.map_err(code)));
                    });
                }
                Err(error) => drop(answer.send(Err(CommitError::Rejected(error.to_string())))),
            }
        }
    }

    /// Tells of one partition after the other, while there is room. Returns whether there was anything.
    fn hand_out(&mut self) -> bool {
        let mut told = false;
        let count = self.queues.len();
        for step in 0..count {
            if !self.budget.has_room() {
                return false;
            }
            let index = (self.turn + step) % count;
            let Some((at, queue)) = self.queues.iter_mut().nth(index) else { continue };
            let Some(seek) = queue.seek.filter(|_| !queue.paused) else { continue };
            let (records, after) = queue.take();
            let at = at.clone();
            if !records.is_empty() {
                self.budget.take();
                self.turn = index + 1;
                told = true;
                let _ = self.tell.send(Event::Told { at: at.clone(), seek, told: Told::Records(records) });
            }
            match after {
                After::Nothing => {}
                After::End => drop(self.tell.send(Event::Told { at, seek, told: Told::End })),
                After::Gone => drop(self.tell.send(Event::Gone { at, seek })),
            }
        }
        told
    }

    fn say(&self, event: Event) {
        // Whoever listened is leaving.
        let _ = self.tell.send(event);
    }
}

/// What came after the records of one piece.
enum After {
    Nothing,
    End,
    Gone,
}

impl Queue {
    fn take(&mut self) -> (Vec<Stored>, After) {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < PIECE.0 && bytes < PIECE.1 {
            match self.queue.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    bytes += record::size(&message);
                    records.push(record::stored(&message));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return (records, After::End),
                Some(Err(KafkaError::MessageConsumption(Code::AutoOffsetReset | Code::OffsetOutOfRange))) => {
                    return (records, After::Gone);
                }
                Some(Err(error)) => {
                    warn!(%error, "a partition cannot be read at the moment");
                    break;
                }
                None => break,
            }
        }
        (records, After::Nothing)
    }
}

pub(crate) fn list_of(offsets: &[Committed]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for Committed { partition, offset, metadata } in offsets {
        let mut element = list.add_partition(&partition.topic, partition.partition as i32);
        element.set_offset(Offset::Offset(*offset as i64))?;
        element.set_metadata(metadata);
    }
    Ok(list)
}
