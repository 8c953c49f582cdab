//! What every surface of one dataplane shares: the log, what runs, and how it is doing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use evhub_dispatch::Progress;
use evhub_journal::Journal;
use evhub_routing::{Name, Snapshot};
use tokio::sync::watch;

/// Handed to ingest, api, admin and workers alike; cheap to clone.
#[derive(Clone)]
pub struct Hub<J: Journal> {
    /// The log.
    pub journal: J,
    /// What runs now.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// How each Processor is doing.
    pub board: Board,
}

/// The progress of every Processor that runs here.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<Name, Arc<Progress>>>>);

impl Board {
    /// The progress of one Processor, made when it is first asked for.
    pub fn of(&self, name: &Name) -> Arc<Progress> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default())
    }

    /// Every Processor's progress.
    pub fn all(&self) -> Vec<(Name, Arc<Progress>)> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(name, progress)| (name.clone(), Arc::clone(progress))).collect()
    }
}
