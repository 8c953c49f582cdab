//! The thread that polls a member's client: the only one that assigns, seeks, commits and gives up.
//!
//! It sleeps until a command comes or a queue of the client's has something. It is never blocked: what nobody takes stays in
//! the client's queues, which are bounded.
//!
//! - `words`: what it is told, and what it tells
//! - `queue`: one partition that is assigned
//! - `commits`: commits, one after the other

mod commits;
mod queue;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use evhub_journal::{Committed, Error, TopicPartition};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, info, warn};

pub(crate) use self::commits::list_of;
pub(super) use self::words::{Command, Event, Handle, Told};
use self::{
    queue::{After, Queue, one},
    words::{Answer, Bell},
};
use super::{
    Budget,
    group::{self, Group, Noted},
    pulse::Pulse,
};
use crate::{Connection, connection::Current, error, native};

/// How long the thread sleeps at the most: the client wants to be polled now and then.
const NAP: Duration = Duration::from_millis(500);
/// How long the client keeps what it fetched of a partition that nobody takes. Fetching it anew costs more than keeping it for a
/// moment.
const REST: Duration = Duration::from_secs(1);

/// The thread's state.
pub(super) struct Poller {
    current: Current,
    /// What the client was made for.
    connection: Arc<Connection>,
    consumer: Arc<BaseConsumer<Group>>,
    commands: Receiver<Command>,
    bell: Bell,
    runtime: tokio::runtime::Handle,
    tell: UnboundedSender<Event>,
    budget: Arc<Budget>,
    pulse: Arc<Pulse>,
    /// The group, and its topics.
    names: (String, Vec<String>),
    queues: BTreeMap<TopicPartition, Queue>,
    /// Sought before they were assigned.
    sought: BTreeMap<TopicPartition, (u64, u64)>,
    /// Whose turn it is next.
    turn: usize,
    generation: u64,
    /// Asked back, and not released yet.
    asked: BTreeSet<u32>,
    /// When partitions were asked back that are not given up yet.
    revoking: Option<Instant>,
    committing: Option<(u64, Answer)>,
    waiting: VecDeque<(u64, Vec<Committed>, Answer)>,
}

impl Poller {
    /// Joins, and starts the thread.
    pub(super) fn start(
        current: Current,
        group: &str,
        topics: &[String],
        tell: UnboundedSender<Event>,
    ) -> Result<Handle, Error> {
        let (sender, commands) = channel();
        let bell = Bell { rung: Arc::default(), commands: sender.clone() };
        let connection = current.get();
        let names = (group.to_owned(), topics.to_vec());
        let consumer = group::join(&connection, &names, bell.ringing())?;
        let budget = Arc::new(Budget::default());
        let pulse = Arc::new(Pulse::new(connection.session_of_groups()));
        let poller = Self {
            current,
            connection,
            consumer: Arc::new(consumer),
            commands,
            bell,
            runtime: tokio::runtime::Handle::current(),
            tell,
            budget: Arc::clone(&budget),
            pulse: Arc::clone(&pulse),
            names,
            queues: BTreeMap::new(),
            sought: BTreeMap::new(),
            turn: 0,
            generation: 0,
            asked: BTreeSet::new(),
            revoking: None,
            committing: None,
            waiting: VecDeque::new(),
        };
        let named = thread::Builder::new().name("evhub-kafka-tail".to_owned());
        named
            .spawn(move || poller.run())
            .map_err(|problem| Error::Unavailable(format!("start a member's thread: {problem}")))?;
        Ok(Handle { commands: sender, budget, pulse })
    }

    fn run(mut self) {
        let left = loop {
            self.bell.rung.store(false, Ordering::Release);
            if self.pulse.beat() {
                self.wake();
            }
            self.take_up();
            self.serve();
            self.end_revoke();
            self.rest();
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

    /// Takes up other settings: in the client that there is where they are a new name and password, else in a new one, which is
    /// another member. The one before gives up its partitions without being asked to; what was under way is done again.
    fn take_up(&mut self) {
        let connection = self.current.get();
        if Arc::ptr_eq(&connection, &self.connection) || self.committing.is_some() {
            return;
        }
        match connection.settings.new_credentials(&self.connection.settings) {
            Some((name, password)) => native::set_credentials(self.consumer.client(), name, password),
            None => match group::join(&connection, &self.names, self.bell.ringing()) {
                Ok(new) => self.follow(new),
                Err(error) => warn!(%error, "a member goes on by the old client settings"),
            },
        }
        self.connection = connection;
    }

    /// This thread stood still for longer than the group waits, which has gone on without this member.
    fn wake(&mut self) {
        warn!(
            group = self.names.0,
            "this process stood still for longer than its group waits for a member; it begins anew"
        );
        let owned: BTreeSet<u32> = self.queues.keys().map(|at| at.partition).collect();
        self.lose(owned);
        self.end_waiting();
    }

    fn follow(&mut self, new: BaseConsumer<Group>) {
        info!(group = self.names.0, "a member joins anew, by new client settings");
        let owned: BTreeSet<u32> = self.queues.keys().map(|at| at.partition).collect();
        self.lose(owned);
        self.end_waiting();
        self.revoking = None;
        self.asked.clear();
        let old = std::mem::replace(&mut self.consumer, Arc::new(new));
        group::leave(&old);
        // Its drop waits until it has left.
        thread::spawn(move || drop(old));
    }

    fn leave(self) {
        group::leave(&self.consumer);
        // The queues hold the client; its drop leaves the group and waits until it has.
        drop(self.queues);
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Wake | Command::Leave(_) => {}
            Command::Seek { at, offset, seek } => self.seek(&at, offset, seek),
            Command::Pause { at, paused } => {
                if let Some(queue) = self.queues.get_mut(&at) {
                    queue.paused = paused.then(|| queue.paused.unwrap_or_else(Instant::now));
                    if !paused && std::mem::take(&mut queue.resting) {
                        let next = queue.next;
                        self.begin(&at, next);
                    }
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
        queue.next = offset;
        // While nobody takes what comes nothing is fetched.
        let begins = queue.seek.replace(seek).is_none() || !queue.resting;
        if begins {
            self.begin(at, offset);
        }
    }

    /// Has the client fetch a partition from an offset on.
    fn begin(&self, at: &TopicPartition, offset: u64) {
        let (topic, partition) = (at.topic.as_str(), at.partition as i32);
        let sought = self.consumer.seek(topic, partition, Offset::Offset(offset as i64), Duration::ZERO);
        if let Err(error) = sought.and_then(|()| self.consumer.resume(&one(at))) {
            warn!(%error, %at, offset, "a partition cannot be sought");
        }
    }

    /// Has the client drop what it fetched of partitions that have been paused for a while: what stays unread costs nothing.
    fn rest(&mut self) {
        for (at, queue) in &mut self.queues {
            let long = queue.paused.is_some_and(|since| since.elapsed() > REST);
            if queue.seek.is_none() || queue.resting || !long {
                continue;
            }
            match self.consumer.pause(&one(at)) {
                Ok(()) => queue.resting = true,
                Err(error) => warn!(%error, %at, "a partition cannot be paused"),
            }
        }
    }

    /// Polls the client until it has nothing to say, and does what it said.
    fn serve(&mut self) {
        loop {
            let before = self.consumer.context().calls();
            // Records and ends come by their partitions' own queues; what comes here is from before they had one.
            let polled = self.consumer.poll(Duration::ZERO);
            if let Some(Err(problem)) = &polled {
                self.troubled(problem);
            }
            let polled = polled.is_some();
            while self.committing.is_none() {
                let Some(noted) = self.consumer.context().next() else { break };
                self.react(noted);
            }
            if !polled && self.consumer.context().calls() == before {
                return;
            }
        }
    }

    /// What the client cannot do, it says and tries again for ever. What no trying will help is told to the member's user.
    fn troubled(&self, problem: &KafkaError) {
        let group = &self.names.0;
        let refused = matches!(
            problem.rdkafka_error_code(),
            Some(Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed)
        );
        if refused {
            let intent = format!("join the group {group}");
            self.say(Event::Refused(error::unavailable(&intent, problem, None)));
        } else {
            debug!(error = %problem, group, "a member's client tries again");
        }
    }

    fn react(&mut self, noted: Noted) {
        match noted {
            Noted::Assign(list) => self.assign(&list),
            Noted::Revoke(partitions) => {
                self.revoking = Some(Instant::now());
                self.asked = partitions;
                self.say(Event::Revoked(self.asked.iter().copied().collect()));
            }
            Noted::Lost(partitions) => self.lose(partitions),
        }
    }

    fn lose(&mut self, partitions: BTreeSet<u32>) {
        self.queues.clear();
        self.generation = 0;
        self.say(Event::Lost(partitions.into_iter().collect()));
    }

    /// Takes what was assigned, paused until it is sought.
    fn assign(&mut self, list: &TopicPartitionList) {
        let mut wanted = list.clone();
        // An offset that has to be looked up would be found after the first seek, and undo it. A seek says where to begin.
        if let Err(error) =
            wanted.set_all_offsets(Offset::Offset(0)).and_then(|()| self.consumer.assign(&wanted))
        {
            return warn!(%error, "partitions cannot be taken");
        }
        if let Err(error) = self.consumer.pause(list) {
            warn!(%error, "partitions cannot be paused");
        }
        self.queues.clear();
        self.pulse.begin_anew();
        let mut counts = BTreeMap::<u32, usize>::new();
        for element in list.elements() {
            let Ok(partition) = u32::try_from(element.partition()) else { continue };
            let at = TopicPartition { topic: element.topic().to_owned(), partition };
            let Some(mut queue) = self.consumer.split_partition_queue(element.topic(), element.partition())
            else {
                warn!(%at, "a partition has no queue");
                continue;
            };
            queue.set_nonempty_callback(self.bell.ringing());
            self.queues
                .insert(at, Queue { client: queue, seek: None, next: 0, paused: None, resting: false });
            *counts.entry(partition).or_default() += 1;
        }
        for (at, (offset, seek)) in std::mem::take(&mut self.sought) {
            self.seek(&at, offset, seek);
        }
        self.generation = u64::try_from(native::generation(self.consumer.client())).unwrap_or(0);
        // A number that is not ours in every topic (one is just growing) is nobody's yet.
        let whole = counts.into_iter().filter(|(_, count)| *count == self.names.1.len());
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
        let Some(since) = self.revoking else { return };
        // The client says nothing more until it is answered, even where the group has gone on without this member.
        let late = since.elapsed() > self.connection.patience_of_groups();
        if !(self.asked.is_empty() || late) || self.committing.is_some() {
            return;
        }
        self.revoking = None;
        if late {
            let kept = std::mem::take(&mut self.asked);
            self.lose(kept);
        }
        self.queues.clear();
        self.end_waiting();
        self.generation = 0;
        if let Err(error) = self.consumer.unassign() {
            warn!(%error, "partitions cannot be given up");
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
            let Some(seek) = queue.seek.filter(|_| queue.paused.is_none()) else { continue };
            let (records, after) = queue.take();
            queue.next = records.last().map_or(queue.next, |last| last.offset + 1);
            let at = at.clone();
            if !records.is_empty() {
                self.budget.take();
                self.turn = index + 1;
                told = true;
                let _ = self.tell.send(Event::Told { at: at.clone(), seek, told: Told::Records(records) });
            }
            // Something may have come behind it, for which the client does not ring again.
            told |= !matches!(after, After::Nothing);
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
