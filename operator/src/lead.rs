//! The life of the operator that leads: what watches tell becomes what dataplanes run, and what they say becomes what is told.
//! I/O: waits for all of them, and lets the pure parts decide.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use evhub_compile::Settings;
use evhub_control::{Control, Rollout};
use evhub_crds::Kind;
use evhub_routing::{Name, Producer, Removal, Snapshot};
use jiff::Timestamp;
use kube_client::Client;
use tokio::{
    sync::{mpsc, watch as channel},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use crate::{
    doing::Watched,
    doubt::Doubts,
    fleet::Fleet,
    index::{Change, Key, Mirror, Seen, Slice, Stored},
    meters::Meters,
    removal::{Became, Removing},
    secrets::{self, Known},
    told::Told,
    watch::{self, News, What, Word},
    world::{self, Around, Decided},
    write::{Wish, Writer, Written},
};

/// What an operator works with, whether it leads or not.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the administrator decided.
    pub settings: Settings,
    /// Which namespaces are looked at; empty is all.
    pub namespaces: Vec<String>,
    /// Where applications publish, if that is known.
    pub publish: Option<String>,
    /// How often everything is listed anew, whatever watches told.
    pub relist: Duration,
    /// What this operator is called.
    pub me: String,
    /// What is counted.
    pub meters: Arc<Meters>,
}

/// How many changes may wait to be looked at; watches wait then.
const NEWS: usize = 1_024;
/// How many are taken up at once, before anything is decided.
const BATCH: usize = 4_096;
/// How often statuses are looked at that could not be written, or wait for a doubt to pass.
const LOOK: Duration = Duration::from_millis(500);
/// How long what dataplanes say is gathered before statuses follow.
const GATHER: Duration = Duration::from_millis(50);

/// How long dataplanes that knew an earlier leader may take to come to a new one: they try each second, and a Service over
/// several operators leads half of the tries to one that does not lead. Nothing counts as run by all of them before.
const GATHERS: Duration = Duration::from_secs(6);

/// Leads until somebody drops this.
pub async fn lead(
    context: Context,
    control: Control,
    mut epoch: channel::Receiver<u32>,
    seen: channel::Sender<u32>,
) -> anyhow::Result<()> {
    let (news, mut heard) = mpsc::channel(NEWS);
    let (results, mut written) = mpsc::channel(NEWS);
    let mut tasks = JoinSet::new();
    let mut leader = Leader::new(&context, control.clone(), results);
    for of in leader.sources() {
        let relist = context.relist;
        tasks.spawn(watch::watch(context.client.clone(), of.0, of.1, relist, news.clone()));
    }
    let (names, named) = channel::channel(BTreeSet::new());
    let (known, mut secrets) = mpsc::channel(1);
    tasks.spawn(secrets::read(context.client.clone(), named, known));
    let mut rollout = control.rollout();
    let mut batch = Vec::new();
    let mut look = Instant::now() + LOOK;
    // When to look at what dataplanes said: several say it at nearly the same time.
    let mut gathered = None;
    loop {
        tokio::select! {
            count = heard.recv_many(&mut batch, BATCH) => {
                anyhow::ensure!(count > 0, "no watch goes on");
                for news in batch.drain(..) {
                    leader.hear(news);
                }
            }
            result = written.recv() => match result {
                Some(result) => leader.wrote(result),
                None => anyhow::bail!("nobody writes statuses any more"),
            },
            known = secrets.recv() => {
                leader.secrets = known.ok_or_else(|| anyhow::anyhow!("nobody reads Secrets any more"))?;
                leader.is_stale = true;
            }
            changed = epoch.changed() => {
                changed?;
                leader.is_stale = true;
            }
            changed = rollout.changed() => {
                changed?;
                rollout.mark_unchanged();
                gathered.get_or_insert_with(|| Instant::now() + GATHER);
            }
            () = sleep_until(gathered.unwrap_or(look)), if gathered.is_some() => {
                gathered = None;
                raise(&seen, leader.rolled(&rollout.borrow_and_update()));
            }
            () = sleep_until(look) => {}
        }
        if leader.name() {
            names.send_replace(leader.named.clone());
        }
        leader.decide(*epoch.borrow_and_update());
        leader.reach();
        if look <= Instant::now() {
            look = Instant::now() + LOOK;
            leader.look();
        }
        leader.tell(&mut tasks);
        while tasks.try_join_next().is_some() {}
    }
}

/// An epoch that dataplanes know, where it is later than what was seen.
fn raise(seen: &channel::Sender<u32>, epoch: u32) {
    seen.send_if_modified(|known| {
        let is_later = *known < epoch;
        *known = epoch.max(*known);
        is_later
    });
}

/// What a leader knows.
struct Leader<'a> {
    context: &'a Context,
    control: Control,
    writer: Writer,
    ours: BTreeMap<(Kind, Option<String>), Mirror<Stored>>,
    services: BTreeMap<Option<String>, Mirror<Seen>>,
    slices: BTreeMap<Option<String>, Mirror<Slice>>,
    /// The Services that somebody is ready behind, once that is known of all.
    reached: Option<BTreeSet<Name>>,
    watched: Watched,
    /// When this began to lead, and whether somebody led before whom dataplanes followed; not known before everything is listed.
    began: Instant,
    succeeds: Option<bool>,
    secrets: Known,
    /// Which Secrets are named, and since when some of them are not known.
    named: BTreeSet<Name>,
    reads_since: Option<Instant>,
    decided: Decided,
    removing: Removing,
    fleet: Fleet,
    doubts: Doubts,
    /// Something has changed that decides what is to run.
    is_stale: bool,
    /// Something has changed that decides what is told.
    is_unsure: bool,
    /// Something has changed of who is behind Services.
    is_slice_new: bool,
    /// Which statuses are being written.
    writing: BTreeSet<Key>,
}

impl<'a> Leader<'a> {
    fn new(context: &'a Context, control: Control, results: mpsc::Sender<Written>) -> Self {
        let namespaces = || -> Vec<Option<String>> {
            if context.namespaces.is_empty() {
                return vec![None];
            }
            context.namespaces.iter().cloned().map(Some).collect()
        };
        let kinds = Kind::ALL.into_iter().flat_map(|kind| namespaces().into_iter().map(move |of| (kind, of)));
        Self {
            context,
            control,
            writer: Writer::new(context.client.clone(), context.me.clone(), results),
            ours: kinds.map(|of| (of, Mirror::default())).collect(),
            services: namespaces().into_iter().map(|of| (of, Mirror::default())).collect(),
            slices: namespaces().into_iter().map(|of| (of, Mirror::default())).collect(),
            reached: None,
            watched: Watched::default(),
            began: Instant::now(),
            succeeds: None,
            secrets: Known::default(),
            named: BTreeSet::new(),
            reads_since: None,
            decided: Decided::default(),
            removing: Removing::default(),
            fleet: Fleet::default(),
            doubts: Doubts::default(),
            is_stale: false,
            is_unsure: false,
            is_slice_new: false,
            writing: BTreeSet::new(),
        }
    }

    fn sources(&self) -> Vec<(What, Option<String>)> {
        let ours = self.ours.keys().map(|(kind, namespace)| (What::Ours(*kind), namespace.clone()));
        let services = self.services.keys().map(|namespace| (What::Services, namespace.clone()));
        let slices = self.slices.keys().map(|namespace| (What::Slices, namespace.clone()));
        ours.chain(services).chain(slices).collect()
    }

    /// Takes up what a watch told.
    fn hear(&mut self, news: News) {
        let News { of: (what, namespace), told } = news;
        match (what, told) {
            (What::Ours(kind), Word::Ours(change)) => {
                if let (Kind::Producer, Change::Deleted(name, deleted)) = (kind, &change) {
                    self.remove(name, deleted);
                }
                self.ours.entry((kind, namespace)).or_default().take(change);
                self.is_stale = true;
            }
            (_, Word::Service(change)) => {
                self.services.entry(namespace).or_default().take(change);
                self.is_stale = true;
            }
            (_, Word::Slice(change)) => {
                self.slices.entry(namespace).or_default().take(change);
                self.is_slice_new = true;
            }
            (_, Word::Failed(_)) => drop(self.context.meters.watch_failures.inc()),
            (What::Services | What::Slices, Word::Ours(_)) => {}
        }
    }

    /// Has dataplanes delete the topics of a Producer that was deleted, if that is what it said.
    fn remove(&mut self, name: &Name, deleted: &Stored) {
        let Some(ran) = self.decided.snapshot().producers.get(name).filter(|ran| ran.uid == deleted.uid)
        else {
            return;
        };
        let topic = ran.topic.as_str();
        if self.removing.deleted(&self.context.settings.prefix, ran, deleted, Instant::now()) {
            warn!(producer = %name, uid = deleted.uid, topic, "deleted, and its topics go with it, as its deletionPolicy says");
        } else if ran.brokers.delete {
            warn!(producer = %name, uid = deleted.uid, topic, "deleted, and its topic stays whatever its deletionPolicy says");
        }
    }

    /// Whether everything was told at least once: before, what is not known is not the same as what is not there.
    fn is_known(&self) -> bool {
        self.ours.values().all(Mirror::is_known) && self.services.values().all(Mirror::is_known)
    }

    fn objects(&self) -> impl Iterator<Item = (Key, &Stored)> {
        self.ours.iter().flat_map(|((kind, _), mirror)| {
            mirror.objects().map(|(name, stored)| ((*kind, name.clone()), stored))
        })
    }

    fn object(&mut self, key: &Key) -> Option<&mut Stored> {
        let mut of_kind = self.ours.iter_mut().filter(|((kind, _), _)| *kind == key.0);
        of_kind.find_map(|(_, mirror)| mirror.get_mut(&key.1))
    }

    /// Finds out which Secrets are named, and says whether these are others than before.
    fn name(&mut self) -> bool {
        if !self.is_stale {
            return false;
        }
        let named: BTreeSet<Name> =
            self.objects().flat_map(|(key, stored)| world::named(&key, stored)).collect();
        let is_new = self.named != named;
        self.named = named;
        is_new
    }

    /// Whether Secrets are being read that were named a moment ago; or before anything is published, at all: whoever sends
    /// what is in them runs already, and must not stop for a moment.
    fn reads(&mut self) -> bool {
        if self.named.iter().all(|name| self.secrets.contains_key(name)) {
            self.reads_since = None;
            return false;
        }
        let since = *self.reads_since.get_or_insert_with(Instant::now);
        self.control.newest().is_none() || since.elapsed() < READS
    }

    /// Decides and publishes, if anything has changed.
    fn decide(&mut self, epoch: u32) {
        if !self.is_stale || !self.is_known() || self.reads() {
            return;
        }
        self.is_stale = false;
        self.is_unsure = true;
        if self.succeeds.is_none() {
            let succeeds = self.objects().any(|(_, stored)| stored.told.is_programmed());
            self.succeeds = Some(succeeds);
        }
        let there: BTreeSet<String> = self.objects().map(|(_, stored)| stored.uid.clone()).collect();
        self.doubts.retain(|uid| there.contains(uid));
        let began = Instant::now();
        let services = self.services.values().flat_map(Mirror::objects);
        let services = services.map(|(name, seen)| (name.clone(), seen.service.clone())).collect();
        let secrets = Arc::clone(&self.secrets);
        let mut decided = std::mem::take(&mut self.decided);
        let (ran, removals) = (Arc::clone(decided.snapshot()), self.removing.all());
        let settings = &self.context.settings;
        let changed = decided.decide(settings, services, secrets, self.objects(), removals, u64::from(epoch));
        for ((kind, _), mirror) in &mut self.ours {
            for (name, stored) in mirror.objects_mut() {
                stored.learn(decided.learned(&(*kind, name.clone())));
            }
        }
        if changed {
            let snapshot = Arc::clone(decided.snapshot());
            let Snapshot { generation, producers, processors, .. } = snapshot.as_ref();
            let (producers, processors) = (producers.len(), processors.len());
            let took = began.elapsed();
            info!(%generation, producers, processors, ?took, "something else is to run");
            self.context.meters.generation(*generation, producers, processors);
            for Producer { name, topic, .. } in self.removing.unseen(&ran, &snapshot, &there) {
                warn!(producer = %name, topic, "gone, and its topic stays: nobody saw that it was deleted");
            }
            self.removing.published(&snapshot);
            self.control.publish(snapshot);
        }
        self.context.meters.compiled.inc();
        self.decided = decided;
    }

    /// Finds out behind which Services somebody is. It changes what is told and nothing else: pods come and go all the time.
    fn reach(&mut self) {
        if !std::mem::take(&mut self.is_slice_new) || !self.slices.values().all(Mirror::is_known) {
            return;
        }
        let ready = self.slices.values().flat_map(Mirror::objects).filter(|(_, slice)| slice.ready);
        let services = ready.map(|(name, slice)| Name::new(name.namespace.as_str(), slice.service.as_str()));
        let reached = Some(services.collect());
        self.is_unsure |= self.reached != reached;
        self.reached = reached;
    }

    /// Whether dataplanes that followed an earlier leader may still be on their way to this one.
    fn is_gathering(&self) -> bool {
        self.succeeds != Some(false) && self.began.elapsed() < GATHERS
    }

    /// Looks at what only time decides.
    fn look(&mut self) {
        self.is_unsure = true;
        let is_gathering = self.is_gathering();
        self.fleet.gathers(is_gathering);
        self.look_at_removals();
        if !self.is_known() {
            return;
        }
        let processors = self.ours.iter().filter(|((kind, _), _)| *kind == Kind::Processor);
        let all = processors.flat_map(|(_, mirror)| mirror.objects());
        let all = all.map(|(name, stored)| (name, &stored.told));
        self.watched.look(all, (Instant::now(), Timestamp::now()));
    }

    /// Finds out which topics are gone. Whoever has waited for that goes on.
    fn look_at_removals(&mut self) {
        for (removal, became) in self.removing.look(&self.fleet, Instant::now()) {
            let Removal { name, uid, topic, .. } = removal.as_ref();
            match became {
                Became::Gone => info!(producer = %name, uid, topic, "its topics are gone with it"),
                Became::Hindered(why) => {
                    warn!(producer = %name, uid, topic, why, "its topics cannot be deleted; trying again");
                    continue;
                }
                Became::GivenUp(why) => {
                    error!(producer = %name, uid, topic, why, "its topics could not be deleted and stay; delete them by hand");
                }
            }
            self.is_stale = true;
        }
    }

    /// Takes up what dataplanes say. Returns the highest epoch that any of them knows of.
    fn rolled(&mut self, rollout: &Rollout) -> u32 {
        let mut fleet = Fleet::of(rollout);
        fleet.gathers(self.is_gathering());
        let epoch = u32::try_from(fleet.epoch()).unwrap_or(0);
        if fleet != self.fleet {
            self.watched.hear(fleet.doing());
            self.fleet = fleet;
            self.is_unsure = true;
        }
        self.context.meters.replicas(rollout);
        epoch
    }

    /// Begins to write the statuses that are not as they should be.
    fn tell(&mut self, tasks: &mut JoinSet<()>) {
        if !self.is_unsure || !self.is_known() {
            return;
        }
        self.is_unsure = false;
        let (now, instant) = (Timestamp::now(), Instant::now());
        let mut wishes = Vec::new();
        let mut calm = Vec::new();
        for (key, stored) in self.objects().filter(|(key, _)| !self.writing.contains(key)) {
            match self.wanted(&key, stored, now) {
                Some(told) => wishes.push((key, told)),
                None if self.doubts.is_about(&stored.uid) => calm.push(stored.uid.clone()),
                None => {}
            }
        }
        self.doubts.calm(&calm);
        let mut waits = false;
        for (key, told) in wishes {
            if !self.writer.has_room() || self.writing.len() >= WRITES {
                waits = true;
                break;
            }
            let Some(stored) = self.object(&key) else { continue };
            let (uid, version, known) = (stored.uid.clone(), stored.version.clone(), stored.told.clone());
            let before = stored.told.ready().map(|(status, reason)| (status, reason.to_owned()));
            let is_older = stored.told.observed_generation.is_some_and(|of| of < stored.generation);
            if !self.doubts.is_certain(&uid, &before, &told, is_older, instant) {
                continue;
            }
            self.writing.insert(key.clone());
            tasks.spawn(self.writer.clone().write(Wish { key, uid, version, told, known }));
        }
        // A result, or the next look, goes on with them.
        self.is_unsure = waits && self.writing.is_empty();
    }

    /// What is to be told of an object, unless it is told already.
    fn wanted(&self, key: &Key, stored: &Stored, now: Timestamp) -> Option<Told> {
        let around = Around {
            fleet: &self.fleet,
            publish: self.context.publish.as_deref(),
            reached: self.reached.as_ref(),
            watched: &self.watched,
        };
        let facts = self.decided.facts(key, stored, &around)?;
        let told = stored.told.next(&facts, now);
        (!told.says_the_same(&stored.told)).then_some(told)
    }

    /// Takes up what became of a status.
    fn wrote(&mut self, result: Written) {
        let Written { key, uid, version, now, done, told } = result;
        self.writing.remove(&key);
        self.is_unsure = true;
        match now {
            Ok(Some(now)) => {
                if done {
                    self.context.meters.writes.inc();
                    self.doubts.settled(&uid, told, &now.told);
                } else {
                    self.context.meters.conflicts.inc();
                }
                let is_new = self.object(&key).is_some_and(|known| {
                    // Unless a watch told of something newer meanwhile.
                    let is_as_it_was = known.uid == now.uid && known.version == version;
                    let is_edited = known.generation != now.generation;
                    if is_as_it_was {
                        known.renew(now);
                    }
                    is_as_it_was && is_edited
                });
                self.is_stale |= is_new;
            }
            // The watch tells of that.
            Ok(None) => {}
            Err(problem) => {
                self.context.meters.failed_writes.inc();
                if self.doubts.failed(&uid, Instant::now()) {
                    warn!(resource = %key.1, kind = %key.0, problem, "a status cannot be written; trying again");
                }
            }
        }
    }
}

/// How long Secrets are waited for that were just named.
const READS: Duration = Duration::from_secs(2);
/// How many statuses may be on their way.
const WRITES: usize = 16;
