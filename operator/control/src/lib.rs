//! Serves snapshots to dataplanes, and knows what each of them runs.
//!
//! In: snapshots, as somebody compiled them, and what dataplanes say. Out: the control stream
//! (`evhub.control.v1.Control/Follow`), and a [`Rollout`]: which generation runs on which live replica. This crate knows
//! neither where resources come from nor what a dataplane does with them.
//!
//! - [`serve`]: the service, one task for each dataplane that follows. I/O
//! - [`secure`]: who may follow. I/O
//! - [`follower`]: what a dataplane is sent next. Pure
//! - [`rollout`]: what all of them together come to. Pure

pub mod follower;
pub mod rollout;
pub mod secure;
pub mod serve;

use std::sync::Arc;

use evhub_routing::{Generation, Snapshot};
use tokio::sync::watch;

pub use evhub_proto::control::Trouble;

pub use self::{
    rollout::{Doing, Replica, Rollout, Running},
    secure::Security,
    serve::serve,
};

/// What is published, and what came of it. Clones share both.
#[derive(Clone, Debug)]
pub struct Control {
    /// Nothing until the first one is published: a dataplane is then sent nothing, which is not the same as an empty one.
    newest: watch::Sender<Option<Arc<Snapshot>>>,
    rollout: watch::Sender<Rollout>,
}

impl Control {
    /// Publishes a snapshot, in place of the one before. Its generation must be higher.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.newest.send_replace(Some(snapshot));
    }

    /// Which snapshot was published last.
    pub fn newest(&self) -> Option<Generation> {
        self.newest.borrow().as_ref().map(|newest| newest.generation)
    }

    /// What runs where, as it changes.
    pub fn rollout(&self) -> watch::Receiver<Rollout> {
        self.rollout.subscribe()
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { newest: watch::Sender::new(None), rollout: watch::Sender::new(Rollout::default()) }
    }
}
