//! One shard, step by step: does what the leader says, and tells it what came of it. I/O.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use evhub_event::Record;
use evhub_journal::{Journal, Position, Producer as _, TopicPartition, TransactError, Transaction};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::sleep,
};
use tracing::{debug, error, info, warn};

use super::{Message, fetch::fetch, member::Wish, retry, told};
use crate::{
    Answer, Command, Ledger, Listed, Question, Reply, TimerId,
    clock::{Clock, Mark},
    half::{Doubtful, HalfListed, Wanted, Which},
    leader::{Cause, Event, Leader, Planted, Rules, Spot, Step},
    ledger::Slot,
    series::Dynamic,
    timer::Timer,
};

/// How many records, and about how many bytes of them, one read of the state brings.
const READ: (usize, usize) = (2_048, 4 << 20);
/// How many answers are kept for whoever has not asked yet.
const MOST_ANSWERS: usize = 4_096;
/// How many messages are taken at once.
const MOST_HEARD: usize = 1_024;
/// How many commands that are applied may lie in the log.
const APPLIED: u64 = 10_000;
/// How often it looks for what it has just committed, and how long after each time.
const SIGHTS: (u32, Duration) = (100, Duration::from_millis(20));
/// The longest sleep: clocks differ a little, and what is due is looked at by the ledger's own.
const LONGEST: Duration = Duration::from_mins(1);

/// Who waits for what became of a command.
type Waiter = (Command, oneshot::Sender<Reply>);

/// Whoever leads one shard here.
pub(super) struct Lead<J: Journal> {
    ledger: Ledger<J>,
    shard: u32,
    leader: Leader,
    producer: Option<J::Producer>,
    inbox: (mpsc::UnboundedSender<Message>, mpsc::UnboundedReceiver<Message>),
    wishes: mpsc::UnboundedSender<Wish>,
    /// How many commands lie in the inbox and in the leader.
    waiting: Arc<AtomicUsize>,
    reading: u64,
    waiters: BTreeMap<u64, Vec<Waiter>>,
    /// What was said to nobody yet.
    answers: BTreeMap<u64, Answer>,
    failures: u32,
    /// Commands are being given up.
    trimming: Option<JoinHandle<()>>,
    /// It cannot go on, or is not to.
    ended: bool,
}

impl<J: Journal> Lead<J> {
    pub(super) fn new(
        ledger: Ledger<J>,
        shard: u32,
        inbox: (mpsc::UnboundedSender<Message>, mpsc::UnboundedReceiver<Message>),
        (wishes, waiting): (mpsc::UnboundedSender<Wish>, Arc<AtomicUsize>),
    ) -> Self {
        let leader = Leader::new(Rules {
            shard,
            state: ledger.state(),
            address: ledger.settings.address.clone(),
            cache: ledger.settings.cache,
            applied: APPLIED,
            planted: Planted::NONE,
        });
        Self {
            ledger,
            shard,
            leader,
            producer: None,
            inbox,
            wishes,
            waiting,
            reading: 0,
            waiters: BTreeMap::new(),
            answers: BTreeMap::new(),
            failures: 0,
            trimming: None,
            ended: false,
        }
    }

    /// Leads until told to stop; a transaction under way is finished.
    pub(super) async fn work(mut self, mut stopped: watch::Receiver<bool>) {
        let mut steps = VecDeque::from(self.leader.begin());
        loop {
            while let Some(step) = steps.pop_front() {
                // Where something is always due there would be no last transaction.
                if matches!(step, Step::Commit(_)) && *stopped.borrow() {
                    return;
                }
                if let Some(event) = self.take(step, &mut stopped).await {
                    let committed = matches!(event, Event::Committed(_));
                    let first = committed && !self.leader.leads();
                    if committed {
                        steps.extend(self.meanwhile().await);
                    }
                    steps.extend(self.on(event));
                    if first {
                        self.recall();
                    }
                }
                if self.ended {
                    return;
                }
            }
            self.note();
            if *stopped.borrow() {
                return;
            }
            let rest = self.rest();
            let events = tokio::select! {
                () = told(&mut stopped) => return,
                Some(message) = self.inbox.1.recv() => self.heard(message).await,
                () = sleep(rest) => vec![Event::Woken],
            };
            for event in events {
                steps.extend(self.on(event));
            }
        }
    }

    fn on(&mut self, event: Event) -> Vec<Step> {
        let (board, shard, shards) = (&self.ledger.board, self.shard, self.ledger.settings.shards);
        let others = |producer: &str| board.others(producer, shard, shards);
        self.leader.on(event, self.ledger.clock.now(), others)
    }

    /// How long nothing is to be done.
    fn rest(&self) -> Duration {
        let wait = self.leader.wake().map(|at| at.saturating_sub(self.ledger.clock.now()).max(0) as u64);
        wait.map_or(LONGEST, |wait| Duration::from_millis(wait).min(LONGEST))
    }

    fn note(&self) {
        self.ledger.board.note(self.shard, &self.leader);
        self.ledger.leaders.checks_next(self.shard, self.leader.next_check());
        let before = self.waiting.swap(self.leader.waiting(), Relaxed);
        if before > self.leader.waiting() {
            // The member ends only after this.
            let _ = self.wishes.send(Wish::Resume(self.shard));
        }
    }

    // === messages ===

    /// Takes in what came during a transaction, for the next one: what fires without a pause would keep it waiting for ever.
    async fn meanwhile(&mut self) -> Vec<Step> {
        self.note();
        let Ok(message) = self.inbox.1.try_recv() else { return Vec::new() };
        let events = self.heard(message).await;
        events.into_iter().flat_map(|event| self.on(event)).collect()
    }

    /// Takes a message, and the commands that came right behind it: one transaction takes them all.
    async fn heard(&mut self, message: Message) -> Vec<Event> {
        let (mut commands, mut events) = (Vec::new(), Vec::new());
        let mut next = Some(message);
        for _ in 0..MOST_HEARD {
            let Some(message) = next else { break };
            match message {
                Message::Commands(reading, records) if reading == self.reading => {
                    if let Some(last) = records.last() {
                        self.ledger.clock.heard(last.timestamp);
                    }
                    commands.extend(records);
                }
                // Read before the state was read anew.
                Message::Commands(..) => {}
                Message::Came(read) => events.push(Event::Came(read)),
                Message::Question(Question::Ask(offset, command), reply) => {
                    self.asked(offset, *command, reply);
                }
                Message::Question(question, reply) => {
                    // It may read the log, and whoever asks again and again is not to keep what is due waiting.
                    self.looked(question, reply).await;
                    break;
                }
                Message::Doubtful(wanted, reply) => self.doubted(&wanted, reply),
            }
            next = self.inbox.1.try_recv().ok();
        }
        if !commands.is_empty() {
            events.push(Event::Commands(commands));
        }
        events
    }

    /// Answers from what is known, once it is known for sure that it leads: who was followed by another one knows the past.
    async fn looked(&mut self, question: Question, reply: oneshot::Sender<Reply>) {
        if !self.leader.leads() {
            // Whoever asks hears nothing, and asks again.
            return;
        }
        let found = match question {
            Question::Look(id) => match self.look(id).await {
                Ok(found) => Reply::Listed(vec![found]),
                Err(answer) => Reply::Answer(answer),
            },
            Question::List(producer, after, most) => Reply::Listed(self.list(&producer, after, most).await),
            Question::Series => Reply::Series(self.leader.shard().series()),
            Question::Dynamic(producer, id) => match self.dynamic(&producer, id).await {
                Some(found) => Reply::Dynamic(found),
                // Whoever asks hears nothing, and asks again.
                None => return,
            },
            Question::LookHalf(id) => Reply::Halves(self.look_half(id).await.into_iter().collect()),
            Question::Halves(producer, which, after, most) => {
                Reply::Halves(self.list_halves(&producer, which, after, most).await)
            }
            Question::Ask(offset, command) => return self.asked(offset, *command, reply),
        };
        // Whoever asked may be gone.
        let _ = reply.send(found);
    }

    fn asked(&mut self, offset: u64, command: Command, reply: oneshot::Sender<Reply>) {
        match self.answers.remove(&offset).or_else(|| self.leader.recall(offset, &command)) {
            Some(answer) => drop(reply.send(Reply::Answer(answer))),
            None => self.waiters.entry(offset).or_default().push((command, reply)),
        }
    }

    fn answer(&mut self, offset: u64, answer: Answer) {
        let Some(waiters) = self.waiters.remove(&offset) else {
            self.answers.insert(offset, answer);
            if self.answers.len() > MOST_ANSWERS {
                self.answers.pop_first();
            }
            return;
        };
        for (_, reply) in waiters {
            let _ = reply.send(Reply::Answer(answer.clone()));
        }
    }

    /// Tells those whose command was applied by a predecessor, or before a doubt.
    fn recall(&mut self) {
        let applied = self.leader.progress().applied;
        let later = self.waiters.split_off(&applied);
        for (offset, waiters) in std::mem::replace(&mut self.waiters, later) {
            for (command, reply) in waiters {
                if let Some(answer) = self.leader.recall(offset, &command) {
                    let _ = reply.send(Reply::Answer(answer));
                }
            }
        }
    }

    async fn look(&mut self, id: TimerId) -> Result<(Slot, Listed), Answer> {
        let listed = self.leader.shard().look(id)?;
        let listed = self.complete(vec![listed]).await.pop().ok_or(Answer::Unknown)?;
        Ok(((listed.due, 0), listed))
    }

    async fn list(&mut self, producer: &str, after: Option<Slot>, most: usize) -> Vec<(Slot, Listed)> {
        let (slots, listed): (Vec<_>, Vec<_>) =
            self.leader.shard().list(producer, after, most).into_iter().unzip();
        slots.into_iter().zip(self.complete(listed).await).collect()
    }

    /// Reads back what is not in memory of what is listed.
    async fn complete(&mut self, mut listed: Vec<Listed>) -> Vec<Listed> {
        let read = self.fetch(self.leader.places(&listed)).await.unwrap_or_default();
        for (id, timer) in read {
            let Some(timer) = timer else { continue };
            for one in listed.iter_mut().filter(|one| one.id == id) {
                one.event_id.clone_from(&timer.event_id);
                one.key.clone_from(&timer.record.key);
            }
        }
        listed
    }

    /// The schedules that somebody put for a Producer, or one of them with its event; `None` if that cannot be read back.
    async fn dynamic(&mut self, producer: &str, id: Option<TimerId>) -> Option<Vec<Dynamic>> {
        let Some(id) = id else { return Some(self.leader.shard().dynamic(producer)) };
        let Some(mut found) = self.leader.shard().look_dynamic(producer, id) else { return Some(Vec::new()) };
        if found.record.is_none() {
            let place = self.leader.shard().absent_of(id);
            let (_, timer) = self.fetch(place.into_iter().collect()).await.ok()?.pop()?;
            found.record = Some(timer?.record);
        }
        Some(vec![found])
    }

    // === half messages ===

    async fn look_half(&mut self, id: TimerId) -> Option<(Slot, HalfListed)> {
        let listed = self.leader.shard().look_half(id)?;
        let listed = self.completed(vec![listed]).await.pop()?;
        Some(((listed.standing.at, 0), listed))
    }

    async fn list_halves(
        &mut self,
        producer: &str,
        which: Which,
        after: Option<Slot>,
        most: usize,
    ) -> Vec<(Slot, HalfListed)> {
        let listed = self.leader.shard().list_halves(producer, which, after, most);
        let (slots, listed): (Vec<_>, Vec<_>) = listed.into_iter().unzip();
        slots.into_iter().zip(self.completed(listed).await).collect()
    }

    /// Reads back what is not in memory of what is listed.
    async fn completed(&mut self, mut listed: Vec<HalfListed>) -> Vec<HalfListed> {
        let places = listed.iter().filter_map(|one| self.leader.shard().half_place(one.id)).collect();
        for (id, timer) in self.fetch(places).await.unwrap_or_default() {
            let Some(timer) = timer else { continue };
            for one in listed.iter_mut().filter(|one| one.id == id) {
                one.event_id.clone_from(&timer.event_id);
                one.key.clone_from(&timer.record.key);
            }
        }
        listed
    }

    /// Whose publishers are to be asked, if this leads for sure. What is not in memory is read back beside everything else: no
    /// command waits for it.
    fn doubted(&self, wanted: &Wanted, reply: oneshot::Sender<Vec<Doubtful>>) {
        if !self.leader.leads() {
            return;
        }
        let known = self.leader.shard();
        let doubts: Vec<_> = known.doubtful(wanted).into_iter().filter_map(|id| known.doubt(id)).collect();
        let (journal, at, shard) = (self.ledger.journal.clone(), self.state(), self.shard);
        tokio::spawn(async move {
            let places = doubts.iter().filter_map(|(doubt, place)| Some((doubt.id, (*place)?))).collect();
            let mut read: BTreeMap<TimerId, Timer> = match fetch(&journal, &at, places).await {
                Ok(read) => read.into_iter().filter_map(|(id, timer)| Some((id, timer?))).collect(),
                // Whoever asks comes again.
                Err(error) => return debug!(shard, %error, "half messages are not read back"),
            };
            let whole = |(doubt, place): (Doubtful, Option<u64>)| match place {
                None => Some(doubt),
                Some(_) => Some(Doubtful { record: read.remove(&doubt.id)?.record, ..doubt }),
            };
            // Whoever asked may be gone.
            let _ = reply.send(doubts.into_iter().filter_map(whole).collect());
        });
    }

    // === steps ===

    async fn take(&mut self, step: Step, stopped: &mut watch::Receiver<bool>) -> Option<Event> {
        match step {
            Step::Become => Some(self.become_producer(stopped).await),
            Step::Ask => Some(match self.ends().await {
                Ok((start, end)) => Event::Ends(start, end),
                Err(error) => self.failed(&error, stopped).await,
            }),
            Step::Read(from) => {
                let read = self.ledger.journal.read(&self.state(), from, READ.0, READ.1).await;
                Some(match read {
                    Ok(slice) => Event::Read(slice.records, slice.next.max(from + 1)),
                    Err(error) => self.failed(&error, stopped).await,
                })
            }
            Step::Follow(from) => {
                self.follow(from);
                None
            }
            Step::Fetch(places) => Some(match self.fetch(places).await {
                Ok(read) => Event::Fetched(read),
                Err(error) => self.failed(&error, stopped).await,
            }),
            Step::Ahead(places) => {
                self.read_ahead(places);
                None
            }
            Step::Commit(records) => Some(self.commit(records, stopped).await),
            Step::Answer(offset, answer) => {
                self.answer(offset, answer);
                None
            }
            Step::Trim(before) => {
                self.trim(before);
                None
            }
            Step::Passed(offset, why) => {
                error!(
                    shard = self.shard,
                    offset, why, "a record of the ledger cannot be read; it is passed over"
                );
                self.ledger.board.passed();
                None
            }
            Step::Behind(behind) => {
                self.doubt(&behind, stopped).await;
                Some(Event::Failed(Cause::Doubt))
            }
            Step::Refuse(why) => {
                error!(shard = self.shard, %why, "a shard of the ledger cannot be led by this version");
                self.ended = true;
                None
            }
        }
    }

    async fn ends(&mut self) -> Result<(u64, u64), evhub_journal::Error> {
        let at = self.state();
        Ok((self.ledger.journal.start(&at).await?, self.ledger.journal.end(&at).await?))
    }

    async fn become_producer(&mut self, stopped: &mut watch::Receiver<bool>) -> Event {
        // The last one goes first: nothing of it may be under way beside its successor.
        self.producer = None;
        match self.ledger.journal.producer(&self.ledger.transactional_id(self.shard)).await {
            Ok(producer) => {
                self.producer = Some(producer);
                Event::Became
            }
            Err(error) => self.failed(&error, stopped).await,
        }
    }

    /// Gives applied commands up, beside everything else: nothing waits for it, and what fails is done with the next ones.
    fn trim(&mut self, before: u64) {
        if self.trimming.as_ref().is_some_and(|trimming| !trimming.is_finished()) {
            return;
        }
        let (journal, topic, shard) = (self.ledger.journal.clone(), self.ledger.commands(), self.shard);
        self.trimming = Some(tokio::spawn(async move {
            let at = TopicPartition { topic, partition: shard };
            if let Err(error) = journal.trim(&at, before).await {
                warn!(shard, before, %error, "applied commands of the ledger cannot be given up; they stay in the log");
            }
        }));
    }

    fn follow(&mut self, from: u64) {
        self.reading += 1;
        let (shard, reading) = (self.shard, self.reading);
        self.waiting.store(0, Relaxed);
        let _ = self.wishes.send(Wish::Follow { shard, from, reading });
        let inbox = self.inbox.0.clone();
        self.ledger.leaders.known.send_modify(|known| drop(known.insert(shard, inbox)));
        self.ledger.board.taken_over();
        let (pending, term) = (self.leader.shard().pending(), self.leader.progress().term);
        info!(shard, term, pending, from, "a shard of the ledger is led here");
    }

    async fn commit(
        &mut self,
        records: Vec<(String, Spot, Record)>,
        stopped: &mut watch::Receiver<bool>,
    ) -> Event {
        let Some(producer) = &mut self.producer else { return Event::Failed(Cause::Doubt) };
        let records = records.into_iter().map(|(topic, spot, record)| (topic, spot.into(), record)).collect();
        let since = Clock::mark();
        let error = match producer.commit(Transaction { records, offsets: None }).await {
            Ok(positions) => {
                if !self.leader.leads()
                    && let Err(error) = self.compare_clocks(since, &positions).await
                {
                    return self.failed(&error, stopped).await;
                }
                // That it is about to lead is no success yet.
                if self.leader.leads() {
                    self.failures = 0;
                }
                return Event::Committed(positions);
            }
            Err(error) => error,
        };
        let cause = match error {
            TransactError::Fenced | TransactError::Stale { .. } => Cause::Fenced,
            TransactError::Rejected(_) => Cause::Refused,
            TransactError::Unknown(_) => Cause::Doubt,
        };
        self.doubt(&error, stopped).await;
        Event::Failed(cause)
    }

    /// Looks at how the log dated what this leader wrote first, before it fires anything by its own clock.
    async fn compare_clocks(
        &mut self,
        since: Mark,
        positions: &[Position],
    ) -> Result<(), evhub_journal::Error> {
        let Some(Position { offset, .. }) = positions.last() else { return Ok(()) };
        let mut dated = None;
        for _ in 0..SIGHTS.0 {
            let slice = self.ledger.journal.read(&self.state(), *offset, 1, 1).await?;
            dated =
                slice.records.iter().find(|stored| stored.offset == *offset).map(|stored| stored.timestamp);
            if dated.is_some() {
                break;
            }
            // Committed, and not to be seen for a moment: brokers do that.
            sleep(SIGHTS.1).await;
        }
        if dated.is_none() {
            warn!(shard = self.shard, "what was committed is not seen: clocks were not compared");
        }
        match dated.and_then(|log| self.ledger.clock.dated(since, log)) {
            Some(ahead @ 0..) => warn!(
                shard = self.shard,
                ahead_ms = ahead,
                "this process's clock is ahead of the log's: timers go by the log's; set the machine's clock"
            ),
            Some(ahead) => warn!(
                shard = self.shard,
                behind_ms = -ahead,
                "this process's clock is behind the log's: timers fire late by as much; set the machine's clock"
            ),
            None => {}
        }
        Ok(())
    }

    async fn fetch(
        &mut self,
        places: Vec<(TimerId, u64)>,
    ) -> Result<Vec<(TimerId, Option<Timer>)>, evhub_journal::Error> {
        fetch(&self.ledger.journal, &self.state(), places).await
    }

    /// Reads events back beside everything else. What fails is read when it is due.
    fn read_ahead(&self, places: Vec<(TimerId, u64)>) {
        let (journal, at, inbox) = (self.ledger.journal.clone(), self.state(), self.inbox.0.clone());
        tokio::spawn(async move {
            let offsets: BTreeMap<TimerId, u64> = places.iter().copied().collect();
            let read = fetch(&journal, &at, places).await.unwrap_or_else(|error| {
                debug!(%at, %error, "events are not read back ahead of their time");
                Vec::new()
            });
            let came = read.into_iter().filter_map(|(id, timer)| Some((*offsets.get(&id)?, timer?)));
            // Whoever led may lead no more.
            let _ = inbox.send(Message::Came(came.collect()));
        });
    }

    fn state(&self) -> TopicPartition {
        TopicPartition { topic: self.ledger.state(), partition: self.shard }
    }

    async fn failed(&mut self, error: &evhub_journal::Error, stopped: &mut watch::Receiver<bool>) -> Event {
        self.doubt(error, stopped).await;
        Event::Failed(Cause::Doubt)
    }

    /// A step failed: all begins anew, after a while. Nobody waits longer for that who wants it to stop.
    async fn doubt(&mut self, error: &(dyn std::error::Error + Sync), stopped: &mut watch::Receiver<bool>) {
        self.failures += 1;
        self.ledger.board.doubted();
        self.ledger.board.note(self.shard, &self.leader);
        warn!(shard = self.shard, %error, failures = self.failures, "a shard of the ledger begins anew");
        tokio::select! {
            () = told(stopped) => self.ended = true,
            () = sleep(retry().wait(self.failures, fastrand::u64(..))) => {}
        }
    }
}
