//! The life of a process that runs a hub, whatever log is under it: signals, listeners, parts, and an end in good order.
//! I/O.
//!
//! - [`Listeners`]: the addresses that were asked for
//! - [`Parts`]: the tasks that a hub is made of
//! - [`address`]: a host and a port, as flags name them

pub mod address;
mod listeners;
mod parts;

use std::{future::pending, time::Duration};

use evhub_journal::Journal;
use evhub_lifecycle::{Drain, Trigger};
use evhub_telemetry::{Export, Tracer};
use tokio::{runtime::Handle, task::JoinHandle};
use tracing::{error, info, warn};

pub use self::{
    listeners::{Addresses, Bound, Listeners},
    parts::{Broken, Parts},
};
use crate::{Hub, budget::Budget};

/// How long a stop waits for attempts under way. Longer than the default time-out of an attempt, and within the grace
/// that Kubernetes gives a pod.
const GRACE: Duration = Duration::from_secs(25);
/// How long a stop waits for the collector of traces.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// A process that runs a hub.
pub struct Process {
    /// Begins the drain.
    pub trigger: Trigger,
    /// Begins when the process is to end.
    pub drain: Drain,
    /// The tasks that it is made of.
    pub parts: Parts,
    signals: JoinHandle<()>,
    files: u64,
    export: Export,
    /// The drain of what ends last: whoever asks meanwhile whether the hub is ready is told that it drains.
    last: (Trigger, Drain),
}

impl Process {
    /// From now on signals begin the drain.
    pub fn begin() -> Self {
        let (trigger, drain) = evhub_lifecycle::channel();
        let signals = tokio::spawn(evhub_lifecycle::signals(trigger.clone()));
        let files = evhub_lifecycle::allow_open_files();
        let last = evhub_lifecycle::channel();
        Self { trigger, drain, parts: Parts::default(), signals, files, export: traces(), last }
    }

    /// Makes the spans of what happens here.
    pub fn tracer(&self) -> Tracer {
        self.export.tracer()
    }

    /// Serves a hub at these listeners.
    pub fn serve<J: Journal>(&mut self, listeners: Listeners, hub: &Hub<J>) {
        listeners.serve(self.files, hub, &self.drain, &self.last.1, &mut self.parts);
    }

    /// Lives until `life` ends, or something that should not: a part, or what the log waits for. Then lets what is under way
    /// finish.
    pub async fn live<E: From<Broken> + std::fmt::Display>(
        mut self,
        life: impl Future<Output = Result<(), E>>,
        log: impl Future<Output = Broken>,
    ) -> Result<(), E> {
        let drain = self.drain.clone();
        let lived = tokio::select! {
            biased;
            lived = life => lived,
            broken = broken(&mut self.parts, log, &drain) => Err(broken.into()),
        };
        if let Err(error) = &lived {
            error!(error = format!("{error:#}"), "the hub cannot go on");
            self.trigger.begin();
        }
        info!("stopping: finishing what is under way");
        self.parts.finish(GRACE, &self.last.0).await;
        self.export.finish(LAST_SPANS).await;
        self.signals.abort();
        lived
    }
}

/// Says how the memory is shared out.
pub fn tell(budget: &Budget) {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let (total, [door, log, events, parked]) = (
        mib(budget.total),
        [budget.door, budget.log, budget.events, budget.parked].map(|share| mib(share as u64)),
    );
    info!(total, door, log, events, parked, "memory, and the shares of it");
}

/// Waits until something ends that should not.
async fn broken(parts: &mut Parts, log: impl Future<Output = Broken>, drain: &Drain) -> Broken {
    let broken = tokio::select! {
        broken = parts.broken() => broken,
        broken = log => broken,
    };
    if drain.has_begun() {
        // Once the drain has begun, to end is right.
        pending::<()>().await;
    }
    broken
}

/// Whoever is to be told of traces, by the variables of OpenTelemetry.
fn traces() -> Export {
    let (export, warnings) = Export::from_env(Handle::current());
    for warning in warnings {
        warn!(warning, "a variable of OpenTelemetry is not obeyed");
    }
    export
}
