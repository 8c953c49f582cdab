//! A member of the ledger's group: who is assigned a partition of the commands leads that shard. I/O.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use evhub_journal::{Error, Journal, Polled, Tail, TopicPartition};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinError, JoinSet},
};
use tracing::{debug, info};

use super::{Message, lead::Lead, told};
use crate::Ledger;

/// How many commands of a shard may wait in memory before its partition is paused.
const MOST_WAITING: usize = 4_096;

/// Why a member's work ended.
pub(super) enum Exit {
    /// It was told to stop, and has handed everything over.
    Stopped,
    /// The group must be joined anew.
    Failed(String),
}

/// What whoever leads a shard asks of the member.
pub(super) enum Wish {
    /// Hand over the commands from here on, under this number.
    Follow { shard: u32, from: u64, reading: u64 },
    /// There is room for commands again.
    Resume(u32),
}

/// A member of the group.
pub(super) struct Member<J: Journal> {
    ledger: Ledger<J>,
    tail: J::Tail,
    shards: BTreeMap<u32, Led>,
    tasks: JoinSet<u32>,
    /// Endings and wishes of those who lead. Each shard has at most one of each under way.
    wishes: (mpsc::UnboundedSender<Wish>, mpsc::UnboundedReceiver<Wish>),
    leaving: bool,
}

/// A shard that is led here.
struct Led {
    /// Bounded by pausing: see [`MOST_WAITING`].
    inbox: mpsc::UnboundedSender<Message>,
    stop: watch::Sender<bool>,
    waiting: Arc<AtomicUsize>,
    reading: u64,
    paused: bool,
    /// It is to be given up when its task has ended.
    revoked: bool,
    task: AbortHandle,
}

impl<J: Journal> Member<J> {
    pub(super) async fn join(ledger: &Ledger<J>) -> Result<Self, Error> {
        let tail = ledger.journal.join(&ledger.group(), &[ledger.commands()]).await?;
        Ok(Self {
            ledger: ledger.clone(),
            tail,
            shards: BTreeMap::new(),
            tasks: JoinSet::new(),
            wishes: mpsc::unbounded_channel(),
            leaving: false,
        })
    }

    /// Works until told to stop, or until the group must be joined anew.
    pub(super) async fn work(mut self, mut stopped: watch::Receiver<bool>) -> Exit {
        let exit = loop {
            if self.leaving && self.shards.is_empty() {
                break Exit::Stopped;
            }
            let step = tokio::select! {
                () = told(&mut stopped), if !self.leaving => {
                    self.leaving = true;
                    self.stop_all();
                    Ok(())
                }
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                Some(wish) = self.wishes.1.recv() => {
                    self.grant(&wish);
                    Ok(())
                }
                polled = self.tail.poll() => match polled {
                    Ok(polled) => self.polled(polled),
                    Err(error) => Err(error.to_string()),
                },
            };
            if let Err(error) = step {
                break Exit::Failed(error);
            }
        };
        // Whoever still leads is cut off: what it was about to commit is undone by its successor.
        let shards: Vec<u32> = self.shards.keys().copied().collect();
        for shard in shards {
            self.forget(shard);
        }
        self.tasks.shutdown().await;
        self.tail.leave().await;
        exit
    }

    fn polled(&mut self, polled: Polled) -> Result<(), String> {
        match polled {
            Polled::Assigned { partitions, .. } => {
                for shard in partitions {
                    if !self.leaving && !self.shards.contains_key(&shard) {
                        self.lead(shard);
                    }
                }
            }
            Polled::Revoked(partitions) => {
                for shard in partitions {
                    match self.shards.get_mut(&shard) {
                        Some(led) => {
                            led.revoked = true;
                            led.stop.send_replace(true);
                        }
                        None => self.tail.release(&[shard]),
                    }
                }
            }
            Polled::Lost(_) => return Err("another member took the shards over".to_owned()),
            Polled::Records(at, records) => self.hand_over(&at, records),
            Polled::End(..) => {}
        }
        Ok(())
    }

    fn lead(&mut self, shard: u32) {
        let (inbox, messages) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let waiting = Arc::new(AtomicUsize::new(0));
        let lead = Lead::new(
            self.ledger.clone(),
            shard,
            (inbox.clone(), messages),
            (self.wishes.0.clone(), Arc::clone(&waiting)),
        );
        debug!(shard, "a shard of the ledger is assigned");
        let task = self.tasks.spawn(async move {
            lead.work(stopped).await;
            shard
        });
        let (reading, paused, revoked) = (0, false, false);
        self.shards.insert(shard, Led { inbox, stop, waiting, reading, paused, revoked, task });
    }

    fn hand_over(&mut self, at: &TopicPartition, records: Vec<evhub_journal::Stored>) {
        let Some(led) = self.shards.get_mut(&at.partition) else { return };
        let waiting = led.waiting.fetch_add(records.len(), Relaxed) + records.len();
        // One that has ended is seen to when its task is.
        let _ = led.inbox.send(Message::Commands(led.reading, records));
        if waiting > MOST_WAITING && !led.paused {
            led.paused = true;
            self.tail.pause(at, true);
        }
    }

    fn grant(&mut self, wish: &Wish) {
        let (Wish::Follow { shard, .. } | Wish::Resume(shard)) = *wish;
        let at = TopicPartition { topic: self.ledger.commands(), partition: shard };
        let Some(led) = self.shards.get_mut(&shard) else { return };
        if let Wish::Follow { from, reading, .. } = *wish {
            led.reading = reading;
            self.tail.seek(&at, from);
            self.tail.pause(&at, false);
            led.paused = false;
        } else if led.paused && led.waiting.load(Relaxed) <= MOST_WAITING / 2 {
            led.paused = false;
            self.tail.pause(&at, false);
        }
    }

    fn ended(&mut self, ended: Result<u32, JoinError>) -> Result<(), String> {
        let shard = match ended {
            Ok(shard) => shard,
            Err(error) => {
                let found = self.shards.iter().find(|(_, led)| led.task.id() == error.id());
                let shard = found.map(|(shard, _)| *shard);
                return Err(format!("shard {shard:?} of the ledger failed: {error}"));
            }
        };
        let revoked = self.shards.get(&shard).is_some_and(|led| led.revoked);
        let told = self.shards.get(&shard).is_some_and(|led| *led.stop.borrow());
        self.forget(shard);
        if revoked {
            self.tail.release(&[shard]);
        }
        if told {
            info!(shard, "a shard of the ledger is given up");
            return Ok(());
        }
        Err(format!("shard {shard} of the ledger ended by itself"))
    }

    fn forget(&mut self, shard: u32) {
        self.shards.remove(&shard);
        self.ledger.leaders.known.send_modify(|known| drop(known.remove(&shard)));
        self.ledger.leaders.checks_next(shard, None);
        self.ledger.board.forget(shard);
    }

    fn stop_all(&self) {
        for led in self.shards.values() {
            led.stop.send_replace(true);
        }
    }
}
