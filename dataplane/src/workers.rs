//! Runs one worker per Processor of the running snapshot. I/O.
//!
//! Level-triggered: whatever the snapshot says now is compared with what runs, and the difference is started, told and
//! stopped. A worker is told of an edit and sees to it by itself; the others hear nothing of it. One whose Processor is gone
//! stops: it begins no attempt any more, and those under way are cut off when they take longer than a moment.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use evhub_dispatch::{
    sender::Senders,
    worker::{self, Work},
};
use evhub_journal::Journal;
use evhub_lifecycle::{Drain, Trigger, channel};
use evhub_routing::{EvhubName, Name, Processor, Snapshot};
use tokio::{
    sync::watch,
    task::{self, JoinError, JoinSet},
    time::sleep,
};
use tracing::{debug, error};

use crate::{Hub, chains};

/// How long to wait before starting a worker again that ended on its own, which only a defect can make it do.
const RESTART: Duration = Duration::from_secs(1);

/// How long a worker whose Processor is gone may take to end. What is quick is finished and committed by then; what is not
/// has nobody left who wants it.
const GONE: Duration = Duration::from_secs(1);

/// How often is looked for topics that other processes have made.
const LOOK: Duration = Duration::from_secs(5);

struct Running {
    uid: String,
    work: watch::Sender<Arc<Work>>,
    /// Lets it finish what is under way, however long that takes.
    stop: Trigger,
    /// The Processor is gone.
    gone: Trigger,
    task: task::Id,
}

struct Workers<J: Journal> {
    hub: Hub<J>,
    senders: Senders,
    running: BTreeMap<Name, Running>,
    tasks: JoinSet<Name>,
}

/// Runs workers until the drain begins; then lets each finish what is under way.
pub async fn run<J: Journal>(hub: Hub<J>, drain: Drain) {
    let mut snapshots = hub.snapshot.clone();
    let (senders, running, tasks) = (Senders::default(), BTreeMap::new(), JoinSet::new());
    let mut workers = Workers { hub, senders, running, tasks };
    let mut begun = std::pin::pin!(drain.begun());
    let mut looking = std::pin::pin!(look_for_topics(workers.hub.clone()));
    loop {
        workers.reconcile();
        tokio::select! {
            () = begun.as_mut() => break,
            Ok(()) = snapshots.changed() => {}
            Some(ended) = workers.tasks.join_next() => workers.ended(ended),
            () = &mut looking => {}
        }
    }
    for running in workers.running.values() {
        running.stop.begin();
    }
    while workers.tasks.join_next().await.is_some() {}
}

/// Tells workers whose topics another process has made, again and again.
async fn look_for_topics<J: Journal>(hub: Hub<J>) {
    loop {
        sleep(LOOK).await;
        if let Err(error) = look(&hub).await {
            // It would be away for the others as well.
            debug!(%error, "it cannot be looked for topics");
        }
    }
}

async fn look<J: Journal>(hub: &Hub<J>) -> Result<(), evhub_journal::Error> {
    for (name, processor) in &hub.running().processors {
        if !*hub.inboxes.watch(name).borrow() && hub.journal.look_up(&processor.inbox_topic).await?.is_some()
        {
            hub.inboxes.made(name);
        }
        for route in &processor.routes {
            match hub.journal.look_up(&route.due_topic).await? {
                Some(_) => hub.dues.made(&route.due_topic),
                // It was deleted: whoever would read it would otherwise be told for ever that it is there.
                None => hub.dues.gone(&route.due_topic),
            }
        }
    }
    Ok(())
}

impl<J: Journal> Workers<J> {
    /// Starts what is missing, tells the others what they are to do, and stops those that nobody wants any more. A new
    /// Processor with the name of one that is gone is started when that one's worker has ended.
    fn reconcile(&mut self) {
        let wanted = self.hub.running();
        for (name, running) in &self.running {
            let same = |processor: &&Arc<Processor>| processor.uid == running.uid && self.may_run(processor);
            match wanted.processors.get(name).filter(same) {
                Some(processor) => running.tell(work(&wanted, processor)),
                None => {
                    running.gone.begin();
                }
            }
        }
        let missing: Vec<&Arc<Processor>> = wanted
            .processors
            .values()
            .filter(|processor| !self.running.contains_key(&processor.name) && self.may_run(processor))
            .collect();
        for processor in missing {
            self.start(processor.name.clone(), work(&wanted, processor));
        }
        let is_wanted = |(name, running): (&Name, &Running)| {
            wanted
                .processors
                .get(name)
                .is_some_and(|wanted| wanted.uid == running.uid && self.may_run(wanted))
        };
        if self.running.iter().all(is_wanted) {
            self.hub.works.send_replace(wanted.generation);
        }
    }

    /// Whether it may deliver where it wants to. One that may not waits, and loses nothing.
    fn may_run(&self, processor: &Processor) -> bool {
        self.hub.egress.allows(&processor.target)
    }

    fn start(&mut self, name: Name, work: Work) {
        let ((stop, stopped), (gone, parted)) = (channel(), channel());
        let uid = work.processor.uid.clone();
        let (sender, receiver) = watch::channel(Arc::new(work));
        let assignment = worker::Assignment {
            journal: self.hub.journal.clone(),
            progress: self.hub.board.of(&uid),
            work: receiver,
            senders: self.senders.clone(),
            inbox: self.hub.inboxes.watch(&name),
            dues: self.hub.dues.watch(),
            resume: self.hub.resumes.watch(&name),
            tracer: self.hub.tracer.clone(),
            room: self.hub.room.clone(),
            exchange: self.hub.exchange.clone(),
            chains: Some(Arc::new(chains::Ledger(self.hub.clone()))),
        };
        let ended = name.clone();
        let handle = self.tasks.spawn(async move {
            let told = async {
                tokio::select! {
                    () = stopped.begun() => {}
                    () = parted.begun() => {}
                }
            };
            let cut = async {
                parted.begun().await;
                sleep(GONE).await;
            };
            tokio::select! {
                () = worker::run(assignment, told) => {}
                () = cut => {}
            }
            ended
        });
        self.running.insert(name, Running { uid, work: sender, stop, gone, task: handle.id() });
    }

    fn ended(&mut self, ended: Result<Name, JoinError>) {
        match ended {
            Ok(name) => {
                let Some(Running { uid, .. }) = self.running.remove(&name) else { return };
                if self.hub.running().processors.get(&name).is_none_or(|wanted| wanted.uid != uid) {
                    self.hub.forget(&name, &uid);
                }
            }
            // A panic costs this Processor a second, and the others nothing: what is durable is the truth, so it is
            // claimed again and goes on.
            Err(error) => {
                error!(%error, "a worker failed; it is started again");
                let found = self.running.iter_mut().find(|(_, running)| running.task == error.id());
                if let Some((name, running)) = found {
                    let name = name.clone();
                    let rest = async move {
                        sleep(RESTART).await;
                        name
                    };
                    running.task = self.tasks.spawn(rest).id();
                }
            }
        }
    }
}

impl Running {
    /// Tells the worker what to do, if that is anything new.
    fn tell(&self, work: Work) {
        self.work.send_if_modified(|known| {
            let new = **known != work;
            if new {
                *known = Arc::new(work);
            }
            new
        });
    }
}

/// A Processor, and what EvHub calls its Producers, by their topics.
fn work(snapshot: &Snapshot, processor: &Arc<Processor>) -> Work {
    let known = processor.routes.iter().flat_map(|route| {
        let evhub = snapshot.producers.get(&route.producer).map(|producer| producer.evhub.clone());
        [&route.topic, &route.due_topic]
            .into_iter()
            .filter_map(move |topic| Some((topic.clone(), evhub.clone()?)))
    });
    let producers: BTreeMap<String, EvhubName> = known.collect();
    Work { processor: Arc::clone(processor), producers }
}
