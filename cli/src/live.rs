//! A folder of manifests, followed: read, compiled and published, again whenever it changes. Does I/O.
//!
//! Found by looking: a few times a second at what the system says of each file, which costs next to nothing, misses
//! nothing, and works wherever files can be read. What changed is read when two looks in a row agree, so that an editor
//! or a copy has finished. A folder that cannot be read changes nothing: not knowing is not the same as *none*.

mod telling;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use evhub_compile::{Resource, Settings, World, names, settle};
use evhub_crds::Kind;
use evhub_dataplane::{Unserved, provision};
use evhub_journal::{Embedded, Journal as _};
use evhub_lifecycle::Drain;
use evhub_routing::{Generation, Snapshot};
use tokio::{sync::watch, time::sleep};
use tracing::info;

use self::telling::Telling;
use crate::{exit::Configuration, identity::Identities, manifests};

/// How often is looked. A change is read after two to three of these, and so runs well within a second.
const LOOK: Duration = Duration::from_millis(150);

/// How long to wait before trying again what the disk refused.
const RETRY: Duration = Duration::from_secs(1);

/// What the system says of one file: the same as long as nobody touched it.
type Look = Vec<(PathBuf, u64, u64, i64, i64)>;

/// A followed folder.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    settings: Settings,
    identities: Identities,
    /// The log whose topics are made before anything runs; whoever runs elsewhere makes its own.
    journal: Option<Embedded>,
    current: Arc<Snapshot>,
    unserved: watch::Sender<Arc<[Unserved]>>,
    telling: Telling,
    /// What was read last.
    seen: Look,
}

impl Folder {
    /// Reads the folder for the first time. What it says now is [`Self::current`], with its topics made.
    pub(crate) async fn open(
        dir: PathBuf,
        settings: Settings,
        identities: Identities,
        journal: Option<Embedded>,
    ) -> anyhow::Result<Self> {
        let (current, telling, seen) = (Arc::default(), Telling::default(), look(&dir));
        let (unserved, _) = watch::channel(Arc::default());
        let mut folder = Self { dir, settings, identities, journal, current, unserved, telling, seen };
        folder.read().await?;
        let Snapshot { producers, processors, .. } = folder.current.as_ref();
        info!(producers = producers.len(), processors = processors.len(), "compiled");
        Ok(folder)
    }

    /// What is to run now.
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current)
    }

    /// Which Processors did not run when the folder was read last, and why.
    pub(crate) fn unserved(&self) -> watch::Receiver<Arc<[Unserved]>> {
        self.unserved.subscribe()
    }

    /// Publishes every change until the drain begins.
    pub(crate) async fn follow(mut self, publish: impl Fn(Arc<Snapshot>) + Send + Sync, drain: Drain) {
        let mut begun = std::pin::pin!(drain.begun());
        let mut last = self.seen.clone();
        loop {
            tokio::select! {
                () = begun.as_mut() => return,
                () = sleep(LOOK) => {}
            }
            let now = look(&self.dir);
            if now == last && now != self.seen {
                self.again(now, &publish).await;
            } else {
                last = now;
            }
        }
    }

    async fn again(&mut self, now: Look, publish: &(impl Fn(Arc<Snapshot>) + Send + Sync)) {
        match self.read().await {
            Ok(true) => {
                publish(self.current());
                let Snapshot { generation, producers, processors, .. } = self.current.as_ref();
                let (producers, processors) = (producers.len(), processors.len());
                info!(%generation, producers, processors, "the folder changed; what it says now runs");
            }
            Ok(false) => info!("the folder changed, and what runs stays the same"),
            Err(problem) => {
                self.telling.failure(format!("{problem:#}; what runs stays the same"));
                // What the folder says is read when it changes; what the disk refused is tried again.
                if !problem.is::<Configuration>() {
                    return sleep(RETRY).await;
                }
            }
        }
        self.seen = now;
    }

    /// Reads, compiles, and makes durable who everything is, and then the topics. Says whether anything else is to run.
    async fn read(&mut self) -> anyhow::Result<bool> {
        let loaded = manifests::load(std::slice::from_ref(&self.dir))
            .map_err(|manifests::Unreadable { problems }| Configuration(problems))?;
        let mut objects = loaded.objects;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let made = |resource: &Resource| made(self.journal.as_ref()?, &self.settings.prefix, resource);
        self.identities.assign(&mut objects, now, made);
        let world = World::new(self.settings.clone(), objects);
        let settled = settle::settle(&world, &self.identities.standing());
        self.telling.verdicts(&self.dir, &settled, loaded.warnings);
        self.identities.save(&settled)?;
        self.unserved.send_replace(telling::unserved(&settled.compiled));
        let generation = self.current.generation;
        let mut snapshot = Snapshot { generation, ..settled.compiled.snapshot };
        if generation != Generation::default() && snapshot == *self.current {
            self.telling.success();
            return Ok(false);
        }
        if let Some(journal) = &self.journal {
            provision::provision(journal, &snapshot).await.context("could not make the topics")?;
        }
        snapshot.generation =
            Generation { epoch: self.identities.epoch(), revision: generation.revision + 1 };
        self.telling.success();
        self.current = Arc::new(snapshot);
        Ok(true)
    }
}

/// Whether there is such a folder at all.
pub(crate) fn check(dir: &Path) -> Result<(), Configuration> {
    if dir.is_dir() {
        return Ok(());
    }
    let got = if dir.exists() { "a file" } else { "nothing there" };
    let dir = dir.display();
    let allowed = "allowed a folder with manifests, as examples/quickstart";
    Err(Configuration(vec![format!("{dir}: no such folder (got {got}, {allowed})")]))
}

/// How many partitions a resource's topics have, if any was ever made under its name.
fn made(journal: &Embedded, prefix: &str, Resource { kind, name, spec, .. }: &Resource) -> Option<u32> {
    let named = spec.as_ref().and_then(|spec| spec.pointer("/topic/name")?.as_str());
    let topics = match kind {
        Kind::Producer => vec![named.map_or_else(|| names::events(prefix, name), str::to_owned)],
        Kind::Processor => vec![names::own(prefix, name, "state"), names::own(prefix, name, "inbox")],
    };
    topics.iter().filter_map(|topic| journal.partitions(topic)).max()
}

/// Looks at the manifests; a folder that cannot be listed looks like an empty one, and reading it then tells why.
fn look(dir: &Path) -> Look {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    // Whatever else lies there, even a log of ours, must not hold up an edit.
    let manifests = entries.map(|entry| entry.path()).filter(|path| manifests::is_manifest(path));
    let mut files: Look = manifests
        .filter_map(|path| {
            // Follows links: mounts swap what they point to.
            let found = fs::metadata(&path).ok()?;
            let changed = found.ctime().wrapping_mul(1_000_000_000).wrapping_add(found.ctime_nsec());
            let written = found.mtime().wrapping_mul(1_000_000_000).wrapping_add(found.mtime_nsec());
            Some((path, found.ino(), found.len(), written, changed))
        })
        .collect();
    files.sort();
    files
}
