//! What the thread is told, and what it tells.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
    mpsc::Sender,
};

use evhub_journal::{CommitError, Committed, Error, Stored, TopicPartition};
use rdkafka::{consumer::ConsumerGroupMetadata, error::RDKafkaErrorCode as Code};
use tokio::sync::oneshot;

use super::super::{Budget, pulse::Pulse};

/// What the thread is told.
pub(in crate::tail) enum Command {
    /// A queue has something, or somebody has room again.
    Wake,
    Seek {
        at: TopicPartition,
        offset: u64,
        seek: u64,
    },
    Pause {
        at: TopicPartition,
        paused: bool,
    },
    Commit {
        generation: u64,
        offsets: Vec<Committed>,
        answer: Answer,
    },
    Release(Vec<u32>),
    /// The commit under way has ended.
    Committed(Result<(), Code>),
    Leave(oneshot::Sender<()>),
}

pub(super) type Answer = oneshot::Sender<Result<(), CommitError>>;

/// What the thread tells.
pub(in crate::tail) enum Event {
    Assigned {
        generation: u64,
        metadata: Option<Arc<ConsumerGroupMetadata>>,
        partitions: Vec<u32>,
    },
    /// The brokers do not have it as a member, or not for these topics.
    Refused(Error),
    Revoked(Vec<u32>),
    Lost(Vec<u32>),
    Told {
        at: TopicPartition,
        seek: u64,
        told: Told,
    },
    /// What was to be read next is not there any more.
    Gone {
        at: TopicPartition,
        seek: u64,
    },
}

/// What is told of a partition.
pub(in crate::tail) enum Told {
    Records(Vec<Stored>),
    End,
}

/// The other side of the thread.
pub(in crate::tail) struct Handle {
    pub(super) commands: Sender<Command>,
    pub(super) budget: Arc<Budget>,
    pub(in crate::tail) pulse: Arc<Pulse>,
}

/// Wakes the thread, once until it has woken.
#[derive(Clone)]
pub(super) struct Bell {
    pub(super) rung: Arc<AtomicBool>,
    pub(super) commands: Sender<Command>,
}

impl Handle {
    pub(in crate::tail) fn tell(&self, command: Command) {
        // A thread that has ended needs no more commands; who waits for an answer hears that it has.
        let _ = self.commands.send(command);
    }

    /// Somebody has taken what was told.
    pub(in crate::tail) fn taken(&self, told: &Told) {
        if matches!(told, Told::Records(_)) && self.budget.give_back() {
            self.tell(Command::Wake);
        }
    }

    pub(in crate::tail) async fn leave(&self) {
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
    /// Rings it.
    pub(super) fn ringing(&self) -> impl Fn() + Send + Sync + 'static {
        let Self { rung, commands } = self.clone();
        move || {
            if !rung.swap(true, Ordering::AcqRel) {
                let _ = commands.send(Command::Wake);
            }
        }
    }
}
