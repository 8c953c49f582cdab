//! Follows whoever says what to run, and goes on without. I/O.
//!
//! What runs comes from the control stream; where nobody serves it, from the last good copy on disk, or else from the one in
//! the log. A copy is of something that ran here, or somewhere. Whatever its source, a lower generation never replaces a
//! higher one, and having been told nothing changes nothing.
//!
//! - [`Status`]: where what runs came from, and what is in the way. Told by `/readyz`, `/snapshot` and `/metrics`
//! - [`secure`]: how that connection is secured
//! - `session`: one connection to who serves control
//! - `settle`: makes what runs ready, and finds out whether it is
//! - `removal`: deletes the topics of Producers that were deleted
//! - `observe`: how Processors are doing, in orders of magnitude
//! - `kept`: the copy on disk; `shared`: the copy in the log

mod kept;
mod observe;
mod removal;
pub mod secure;
mod session;
mod settle;
pub mod shared;
mod status;
#[cfg(test)]
pub(crate) mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use evhub_backoff::Backoff;
use evhub_journal::Journal;
use evhub_lifecycle::Drain;
use evhub_proto::control::Applied;
use evhub_routing::{Generation, Snapshot};
use http::Uri;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{error, info, warn};

pub use self::{
    kept::{Unkept, replica},
    status::{Source, Status},
};
use crate::Hub;

/// How this dataplane follows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who serves control: an absolute `http` or `https` URL. Without one it runs what the copies say.
    pub control: Option<Uri>,
    /// With TLS, by the certificates in this folder; for an `https` URL.
    pub control_tls: Option<PathBuf>,
    /// What this replica is called; no other one is at the same time.
    pub replica: String,
    /// The folder of the copy on disk, which nobody else uses.
    pub data: PathBuf,
    /// What heads every topic and group of this installation.
    pub prefix: String,
}

/// A dataplane that follows.
#[derive(Debug)]
pub struct Follow {
    settings: Settings,
    snapshots: watch::Sender<Arc<Snapshot>>,
    status: watch::Sender<Status>,
    /// What runs and was made ready, as far as it could be.
    applied: watch::Sender<Option<Applied>>,
    /// How Processors are doing, once that was looked at.
    observed: watch::Sender<Option<observe::Observed>>,
}

/// What becomes of a snapshot that somebody wants to run here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Adopted {
    /// It runs now.
    New,
    /// It ran already.
    Same,
    /// It never will.
    Refused(String),
}

/// How long whoever serves control may take to say something before the copy in the log is asked for.
const WAIT: Duration = Duration::from_secs(3);

impl Follow {
    /// Begins with the copy on disk, if there is one.
    pub fn begin(settings: Settings) -> Result<Self, Unkept> {
        let follow = Self {
            settings,
            snapshots: watch::Sender::default(),
            status: watch::Sender::default(),
            applied: watch::Sender::new(None),
            observed: watch::Sender::new(None),
        };
        if let Some(snapshot) = kept::read(&follow.settings.data)? {
            follow.begin_with(snapshot, Source::Disk);
        } else {
            info!("there is no copy on disk of what to run");
        }
        Ok(follow)
    }

    /// What runs, for a hub.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// How it follows, for a hub.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Follows until the drain begins.
    pub async fn run<J: Journal>(self, hub: Hub<J>, drain: Drain) {
        let settle = settle::run(&self, &hub, &drain);
        let connected = self.connect_again_and_again(&drain);
        let copied = self.begin_with_the_log(&hub.journal, &drain);
        let shared = self.share(&hub.journal, &drain);
        let observed = observe::run(&self, &hub, &drain);
        tokio::join!(settle, connected, copied, shared, observed);
    }

    /// Runs a copy, if there is nothing better.
    fn begin_with(&self, snapshot: Snapshot, source: Source) {
        let Snapshot { generation, producers, processors, .. } = &snapshot;
        let (generation, producers, processors) = (*generation, producers.len(), processors.len());
        match self.adopt(snapshot, source) {
            Adopted::New => {
                info!(%generation, producers, processors, source = source.word(), "runs the last copy of what to run");
            }
            Adopted::Same => {}
            Adopted::Refused(reason) => {
                warn!(%generation, reason, source = source.word(), "a copy of what to run is not used");
            }
        }
    }

    /// Decides whether a snapshot runs here, and lets it, all at once.
    fn adopt(&self, snapshot: Snapshot, source: Source) -> Adopted {
        let mut adopted = Adopted::Same;
        self.snapshots.send_if_modified(|running| {
            adopted = decide(running, &snapshot, &self.settings.prefix);
            // A copy is only for who has nothing: what came meanwhile may be of its generation, and say more.
            if source != Source::Control && running.generation != Generation::default() {
                adopted = Adopted::Same;
                return false;
            }
            if adopted == Adopted::New {
                *running = Arc::new(snapshot);
            }
            adopted == Adopted::New
        });
        let runs = adopted == Adopted::New || adopted == Adopted::Same && source == Source::Control;
        if runs {
            self.status.send_if_modified(|status| status.runs_from(source));
        }
        adopted
    }

    async fn connect_again_and_again(&self, drain: &Drain) {
        let Some(control) = &self.settings.control else { return };
        let backoff = again();
        let mut failures = 0;
        while !drain.has_begun() {
            let began = Instant::now();
            let ended = session::run(self, control, drain).await;
            if drain.has_begun() {
                return;
            }
            // One that lasted was well; whatever ended it is no reason to stay away.
            failures = if began.elapsed() > backoff.base(u32::MAX) { 1 } else { failures + 1 };
            let wait = backoff.wait(failures, fastrand::u64(..));
            let (running, why) = (self.snapshots.borrow().generation, ended.to_string());
            // Once for each trouble, not for each try.
            if self.status.send_if_modified(|status| status.disconnected(&why)) {
                warn!(%control, why, %running, "nobody serves control; what runs goes on, and is asked for again");
            }
            tokio::select! {
                () = drain.begun() => return,
                () = sleep(wait) => {}
            }
        }
    }

    /// Takes the copy in the log where nobody says what to run and there was none on disk; again and again, until somebody or
    /// something does. One on disk goes before it even if it is older: it is whole.
    async fn begin_with_the_log<J: Journal>(&self, journal: &J, drain: &Drain) {
        let mut status = self.status.subscribe();
        let told = async {
            // Whoever is connected will say what to run, or go.
            let silent = |status: &Status| status.trouble.is_some() || status.source != Source::Nothing;
            let _ = tokio::time::timeout(WAIT, status.wait_for(silent)).await;
        };
        tokio::select! {
            () = drain.begun() => return,
            () = told => {}
        }
        let backoff = backoff();
        for failures in 1.. {
            if self.status.borrow().source != Source::Nothing {
                return;
            }
            let loaded = tokio::select! {
                () = drain.begun() => return,
                loaded = shared::load(journal, &self.settings.prefix) => loaded,
            };
            match loaded {
                Ok(Some(snapshot)) => return self.begin_with(snapshot, Source::Log),
                Ok(None) => return info!("there is no copy in the log of what to run"),
                Err(error) => {
                    let error = evhub_lifecycle::exit::line(&error);
                    warn!(error, "the copy in the log cannot be read; trying again");
                }
            }
            tokio::select! {
                () = drain.begun() => return,
                () = sleep(backoff.wait(failures, fastrand::u64(..))) => {}
            }
        }
    }

    /// Keeps the copy in the log, whenever something else runs that did not come from there.
    async fn share<J: Journal>(&self, journal: &J, drain: &Drain) {
        let mut snapshots = self.snapshots.subscribe();
        let backoff = backoff();
        let mut failures = 0;
        loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            let source = self.status.borrow().source;
            let mut wait = None;
            if matches!(source, Source::Control | Source::Disk) {
                // Every replica does this, and the first one is enough: the others then find that it is done.
                let kept = async {
                    sleep(backoff.wait(1, fastrand::u64(..))).await;
                    shared::keep(journal, &self.settings.prefix, &snapshot).await
                };
                let kept = tokio::select! {
                    () = drain.begun() => return,
                    kept = kept => kept,
                };
                match kept {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        failures += 1;
                        let error = evhub_lifecycle::exit::line(&error);
                        warn!(error, "the copy in the log cannot be kept; trying again");
                        wait = Some(backoff.wait(failures, fastrand::u64(..)));
                    }
                }
            }
            tokio::select! {
                () = drain.begun() => return,
                changed = snapshots.changed() => if changed.is_err() {
                    return;
                },
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    /// Keeps the copy on disk of what runs and was made ready.
    async fn keep(&self, snapshot: &Arc<Snapshot>) {
        let (data, snapshot) = (self.settings.data.clone(), Arc::clone(snapshot));
        let written = tokio::task::spawn_blocking(move || kept::write(&data, &snapshot)).await;
        let problem = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(evhub_lifecycle::exit::line(&error)),
            Err(error) => Some(error.to_string()),
        };
        if self.status.send_if_modified(|status| status.kept(problem.clone()))
            && let Some(problem) = problem
        {
            error!(
                problem,
                "what runs cannot be kept on disk; a restart without control would run what was before it"
            );
        }
    }
}

/// How long to wait before asking for control again: never long, since whoever begins to lead counts on everybody to come.
fn again() -> Backoff {
    Backoff::exponential(Duration::from_millis(200), Duration::from_secs(1), 2, 50)
        .expect("the first wait is above zero and below the longest")
}

/// How long to wait before trying again what others do not give now.
fn backoff() -> Backoff {
    Backoff::exponential(Duration::from_millis(200), Duration::from_secs(10), 2, 50)
        .expect("the first wait is above zero and below the longest")
}

/// Whether a snapshot may take the place of what runs. Pure.
fn decide(running: &Snapshot, next: &Snapshot, prefix: &str) -> Adopted {
    if next.generation < running.generation {
        let (runs, next) = (running.generation, next.generation);
        return Adopted::Refused(format!(
            "generation {next} is lower than {runs}, which runs here; whoever serves control has lost its data folder, or is \
             not who served it before"
        ));
    }
    let foreign = next.processors.values().find(|processor| {
        let rest = processor.group.strip_prefix(prefix);
        !rest.is_some_and(|rest| rest.starts_with('.'))
    });
    if let Some(processor) = foreign {
        return Adopted::Refused(format!(
            "the group of {} is {}, and this installation's --prefix is {prefix}; give both the same",
            processor.name, processor.group
        ));
    }
    if next == running { Adopted::Same } else { Adopted::New }
}
