//! Runs one worker per Processor of the running snapshot. I/O.
//!
//! Level-triggered: whatever the snapshot says now is compared with what runs, and the difference is started and
//! stopped. A Processor that changed is stopped, which drains and commits, and started as it is now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use evhub_dispatch::{sender::Sender, worker};
use evhub_journal::Journal;
use evhub_lifecycle::{Drain, Trigger, channel};
use evhub_routing::{EvhubName, Name, Processor};
use tokio::{
    task::{self, JoinError, JoinSet},
    time::sleep,
};
use tracing::error;

use crate::Hub;

/// How long to wait before starting a worker again that ended on its own, which only a defect can make it do.
const RESTART: Duration = Duration::from_secs(1);

struct Running {
    processor: Arc<Processor>,
    stop: Trigger,
    task: task::Id,
}

struct Workers<J: Journal> {
    hub: Hub<J>,
    sender: Sender,
    running: BTreeMap<Name, Running>,
    tasks: JoinSet<Name>,
}

/// Runs workers until the drain begins; then lets each finish what is under way.
pub async fn run<J: Journal>(hub: Hub<J>, drain: Drain) {
    let mut snapshots = hub.snapshot.clone();
    let mut workers =
        Workers { hub, sender: Sender::default(), running: BTreeMap::new(), tasks: JoinSet::new() };
    let mut begun = std::pin::pin!(drain.begun());
    loop {
        workers.reconcile();
        tokio::select! {
            () = begun.as_mut() => break,
            Ok(()) = snapshots.changed() => {}
            Some(ended) = workers.tasks.join_next() => workers.ended(ended).await,
        }
    }
    for running in workers.running.values() {
        running.stop.begin();
    }
    while workers.tasks.join_next().await.is_some() {}
}

impl<J: Journal> Workers<J> {
    /// Starts what is missing, and stops what is no longer wanted as it runs. What was stopped is started again, if it
    /// is wanted, once it has ended.
    fn reconcile(&mut self) {
        let wanted = self.hub.running();
        for (name, running) in &self.running {
            if wanted.processors.get(name) != Some(&running.processor) {
                running.stop.begin();
            }
        }
        let missing: BTreeSet<&Name> =
            wanted.processors.keys().filter(|name| !self.running.contains_key(*name)).collect();
        for name in missing {
            self.start(name.clone(), Arc::clone(&wanted.processors[name]));
        }
    }

    fn start(&mut self, name: Name, processor: Arc<Processor>) {
        let (stop, stopped) = channel();
        let assignment = worker::Assignment {
            journal: self.hub.journal.clone(),
            producers: self.producers(&processor),
            processor: Arc::clone(&processor),
            progress: self.hub.board.of(&processor.uid),
            sender: self.sender.clone(),
            inbox: self.hub.inboxes.watch(&name),
            resume: self.hub.resumes.watch(&name),
        };
        let ended = name.clone();
        let handle = self.tasks.spawn(async move {
            worker::run(assignment, stopped.begun()).await;
            ended
        });
        self.running.insert(name, Running { processor, stop, task: handle.id() });
    }

    /// What EvHub calls the Producers of a Processor, by their topics.
    fn producers(&self, processor: &Processor) -> BTreeMap<String, EvhubName> {
        let snapshot = self.hub.running();
        let known = processor.routes.iter().filter_map(|route| {
            let producer = snapshot.producers.get(&route.producer)?;
            Some((route.topic.clone(), producer.evhub.clone()))
        });
        known.collect()
    }

    async fn ended(&mut self, ended: Result<Name, JoinError>) {
        match ended {
            Ok(name) => {
                let Some(Running { processor, .. }) = self.running.remove(&name) else { return };
                let wanted = self.hub.running();
                if wanted.processors.get(&name).is_none_or(|wanted| wanted.uid != processor.uid) {
                    self.hub.board.forget(&processor.uid);
                }
            }
            // A panic costs this Processor a second, and the others nothing: what is durable is the truth, so it is
            // claimed again and goes on.
            Err(error) => {
                error!(%error, "a worker failed; it is started again");
                sleep(RESTART).await;
                self.running.retain(|_, running| running.task != error.id());
            }
        }
    }
}
