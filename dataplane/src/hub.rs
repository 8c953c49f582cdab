//! What every surface of one dataplane shares: the log, what runs, and how it is doing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use evhub_dispatch::{Progress, exchange::Exchange, worker::Room};
use evhub_journal::Journal;
use evhub_ledger::{Ledger, Settings};
use evhub_routing::{Generation, Name, Snapshot};
use evhub_telemetry::Tracer;
use tokio::sync::watch;

use crate::{
    egress::Egress,
    follow::Status,
    ingest::{Door, Quotas},
    meters::Meters,
};

/// Handed to ingest, api, admin and workers alike; cheap to clone.
#[derive(Clone)]
pub struct Hub<J: Journal> {
    /// The log.
    pub journal: J,
    /// What runs now.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Whether this process delivers, too.
    pub dispatches: bool,
    /// As of which snapshot workers work: whatever is not in it any more has ended.
    pub works: watch::Sender<Generation>,
    /// Where deliveries may go.
    pub egress: Egress,
    /// How it follows whoever says what to run; `None` where nobody has to.
    pub following: Option<watch::Receiver<Status>>,
    /// The Producers and Processors that were written and do not run.
    pub unserved: watch::Receiver<Arc<[Unserved]>>,
    /// How each Processor is doing.
    pub board: Board,
    /// Who waits for an inbox to appear.
    pub inboxes: Inboxes,
    /// Who waits for topics of events come due to appear.
    pub dues: Dues,
    /// Who waits to be resumed.
    pub resumes: Resumes,
    /// What is to come due.
    pub ledger: Ledger<J>,
    /// What the surfaces count.
    pub meters: Meters,
    /// How many bytes of events may be on their way to the log at once, over all listeners.
    pub door: Door,
    /// What workers may have in memory.
    pub room: Room,
    /// Where workers of several processes say what part of a Processor's allowance each takes.
    pub exchange: Exchange<J>,
    /// How many events a second each Producer lets in, over all listeners.
    pub quotas: Quotas,
    /// Makes the spans of publishing and of attempts.
    pub tracer: Tracer,
}

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// A named stream.
    Producer,
    /// A service that receives.
    Processor,
}

/// A resource that was written and does not run, as far as that was so when the snapshot was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// What it is.
    pub of: Of,
    /// Its name.
    pub name: Name,
    /// Whether its spec is obeyed as soon as everything it names is there; it then belongs to what must run.
    pub accepted: bool,
    /// Why it does not run: a reason of the conditions' table.
    pub reason: String,
}

/// The progress of every Processor that runs here, by its uid: a later one of the same name begins anew.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, Arc<Progress>>>>);

/// Tells a Processor's worker that the Processor's inbox topic has been made. The topic itself is the truth; this only
/// spares the worker from asking for it again and again.
#[derive(Clone, Debug, Default)]
pub struct Inboxes(Arc<Mutex<BTreeMap<Name, watch::Sender<bool>>>>);

/// Tells workers which Producers' topics of events come due are there. The topics themselves are the truth.
#[derive(Clone, Debug, Default)]
pub struct Dues(watch::Sender<Arc<BTreeSet<String>>>);

/// Tells a Processor's worker that somebody wants it to go on after it suspended itself.
#[derive(Clone, Debug, Default)]
pub struct Resumes(Arc<Mutex<BTreeMap<Name, watch::Sender<u64>>>>);

// === impl Hub ===

impl<J: Journal> Hub<J> {
    /// A hub over this log that runs what the snapshots say. The first snapshot counts as received only when its
    /// generation is not the default one.
    pub fn new(journal: J, snapshot: watch::Receiver<Arc<Snapshot>>) -> Self {
        let ledger = Ledger::new(journal.clone(), Settings::default());
        Self {
            journal,
            ledger,
            snapshot,
            dispatches: true,
            works: watch::Sender::default(),
            egress: Egress::default(),
            following: None,
            unserved: watch::channel(Arc::default()).1,
            board: Board::default(),
            inboxes: Inboxes::default(),
            dues: Dues::default(),
            resumes: Resumes::default(),
            meters: Meters::default(),
            door: Door::default(),
            room: Room::default(),
            exchange: Exchange::none(),
            quotas: Quotas::default(),
            tracer: Tracer::default(),
        }
    }

    /// What runs now. Never holds the watch's lock longer than this call.
    pub fn running(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Lets a Processor that suspended itself go on.
    pub fn resume(&self, name: &Name) {
        self.resumes.resume(name);
    }

    /// The Processors that run here and do not listen yet as they are written now.
    pub fn silent(&self) -> Vec<Name> {
        if !self.dispatches {
            return Vec::new();
        }
        let running = self.running();
        let all = running.processors.iter();
        let silent =
            all.filter(|(_, processor)| !self.board.of(&processor.uid).listens(processor.generation));
        silent.map(|(name, _)| name.clone()).collect()
    }

    /// Forgets a Processor that will not run again. Another one of its name is not it, and gets its own.
    pub(crate) fn forget(&self, name: &Name, uid: &str) {
        self.board.forget(uid);
        self.inboxes.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.resumes.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// The accepted Processors that do not listen yet, those among them that cannot run for now, too.
    pub fn waiting(&self) -> Vec<Name> {
        let running = self.running();
        let unserved = Arc::clone(&self.unserved.borrow());
        let unresolved = unserved.iter().filter(|one| one.accepted && one.of == Of::Processor);
        let unresolved = unresolved.map(|one| &one.name);
        let unresolved = unresolved.filter(|name| !running.processors.contains_key(*name));
        let mut waiting: Vec<Name> = self.silent().into_iter().chain(unresolved.cloned()).collect();
        waiting.sort();
        waiting
    }
}

// === impl Inboxes ===

impl Inboxes {
    /// Says that this Processor's inbox topic exists.
    pub fn made(&self, name: &Name) {
        self.with(name, |sender| sender.send_replace(true));
    }

    /// Turns true when this Processor's inbox topic has been made here.
    pub fn watch(&self, name: &Name) -> watch::Receiver<bool> {
        self.with(name, watch::Sender::subscribe)
    }

    fn with<T>(&self, name: &Name, act: impl FnOnce(&watch::Sender<bool>) -> T) -> T {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(map.entry(name.clone()).or_insert_with(|| watch::Sender::new(false)))
    }
}

// === impl Dues ===

impl Dues {
    /// Says that this topic exists.
    pub fn made(&self, topic: &str) {
        self.0.send_if_modified(|known| {
            !known.contains(topic) && Arc::make_mut(known).insert(topic.to_owned())
        });
    }

    /// Says that this topic does not exist any more.
    pub fn gone(&self, topic: &str) {
        self.0.send_if_modified(|known| known.contains(topic) && Arc::make_mut(known).remove(topic));
    }

    /// Whether it is known to exist.
    pub fn has(&self, topic: &str) -> bool {
        self.0.borrow().contains(topic)
    }

    /// Those that exist.
    pub fn watch(&self) -> watch::Receiver<Arc<BTreeSet<String>>> {
        self.0.subscribe()
    }
}

// === impl Resumes ===

impl Resumes {
    /// Lets this Processor go on, if it suspended itself.
    pub fn resume(&self, name: &Name) {
        self.with(name, |sender| sender.send_modify(|times| *times += 1));
    }

    /// Changes each time that this Processor is to go on.
    pub fn watch(&self, name: &Name) -> watch::Receiver<u64> {
        self.with(name, watch::Sender::subscribe)
    }

    fn with<T>(&self, name: &Name, act: impl FnOnce(&watch::Sender<u64>) -> T) -> T {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(map.entry(name.clone()).or_insert_with(|| watch::Sender::new(0)))
    }
}

// === impl Board ===

impl Board {
    /// The progress of the Processor of this uid, made when it is first asked for.
    pub fn of(&self, uid: &str) -> Arc<Progress> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(uid.to_owned()).or_default())
    }

    /// Forgets the Processor of this uid, which will not run again.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
