//! Looks at the Lease, writes what the candidate wishes, and waits. I/O.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease as Object, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube_client::{Api, Client, api::PostParams};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::candidate::{Candidate, Record, Timing, Wish};

/// A Lease that we want.
pub struct Lease {
    api: Api<Object>,
    name: String,
    me: String,
    timing: Timing,
    candidate: Candidate,
    /// Says once for each trouble that there is one.
    trouble: Option<String>,
}

/// A Lease that we have. Somebody must drive [`Self::keep`], or it is lost.
pub struct Held<'a> {
    lease: &'a mut Lease,
    record: Record,
    transitions: watch::Sender<u32>,
}

/// How a Lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// We gave it back.
    Given,
    /// It could not be renewed in time, or somebody else has it.
    Lost,
}

/// What a look or a write came to, when it was no success.
enum Failed {
    /// Somebody else was faster: look again.
    Conflict,
    /// Nobody knows.
    Other(String),
}

impl Lease {
    /// A Lease of this name in this namespace, which is made if it is not there. Nobody else ever is called `me`.
    pub fn new(client: Client, namespace: &str, name: &str, me: String, timing: Timing) -> Self {
        let candidate = Candidate::new(me.clone(), timing);
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            me,
            timing,
            candidate,
            trouble: None,
        }
    }

    /// Waits until we lead.
    pub async fn acquire(&mut self) -> Held<'_> {
        info!(lease = self.name, me = self.me, "waits to lead");
        loop {
            if let Some(record) = self.turn().await {
                info!(lease = self.name, transitions = record.transitions, "leads");
                let transitions = watch::Sender::new(record.transitions);
                return Held { lease: self, record, transitions };
            }
            sleep(jittered(self.timing.retry)).await;
        }
    }

    /// Looks once, and writes if there is something to write. Returns the Lease if it is ours then.
    async fn turn(&mut self) -> Option<Record> {
        let record = match self.get().await {
            Ok(record) => record,
            Err(failed) => {
                self.tell(failed);
                return None;
            }
        };
        let wish = self.candidate.look(now(), record.as_ref())?;
        self.write(&wish).await
    }

    async fn write(&mut self, wish: &Wish) -> Option<Record> {
        let sent = now();
        match self.put(wish).await {
            Ok(record) => {
                self.trouble = None;
                self.candidate.wrote(sent, &record);
                Some(record)
            }
            Err(failed) => {
                self.tell(failed);
                None
            }
        }
    }

    async fn get(&self) -> Result<Option<Record>, Failed> {
        let found = bounded(self.timing, self.api.get_opt(&self.name)).await?;
        Ok(found.as_ref().map(record))
    }

    async fn put(&self, wish: &Wish) -> Result<Record, Failed> {
        let (params, object) = (params(), self.object(wish));
        let written = match wish {
            Wish::Create { .. } => bounded(self.timing, self.api.create(&params, &object)).await?,
            Wish::Replace { .. } => {
                bounded(self.timing, self.api.replace(&self.name, &params, &object)).await?
            }
        };
        Ok(record(&written))
    }

    fn object(&self, wish: &Wish) -> Object {
        let (version, transitions) = match wish {
            Wish::Create { transitions } => (None, transitions),
            Wish::Replace { version, transitions } => (Some(version.clone()), transitions),
        };
        let time = Some(MicroTime(Timestamp::now()));
        let spec = LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(self.timing.duration.as_secs().max(1)).ok(),
            lease_transitions: i32::try_from(*transitions).ok(),
            // For people; nothing here reads it.
            renew_time: time,
            ..LeaseSpec::default()
        };
        let metadata =
            ObjectMeta { name: Some(self.name.clone()), resource_version: version, ..ObjectMeta::default() };
        Object { metadata, spec: Some(spec) }
    }

    fn is_ours(&self, record: &Record) -> bool {
        record.holder.as_deref() == Some(&*self.me)
    }

    /// The Lease as nobody's.
    async fn release(&self, record: Record) -> Result<(), Failed> {
        let transitions = i32::try_from(record.transitions).ok();
        let spec = LeaseSpec { lease_transitions: transitions, ..LeaseSpec::default() };
        let name = Some(self.name.clone());
        let metadata = ObjectMeta { name, resource_version: Some(record.version), ..ObjectMeta::default() };
        let object = Object { metadata, spec: Some(spec) };
        bounded(self.timing, self.api.replace(&self.name, &params(), &object)).await.map(drop)
    }

    fn tell(&mut self, failed: Failed) {
        match failed {
            Failed::Conflict => debug!(lease = self.name, "somebody else was faster"),
            Failed::Other(problem) if self.trouble.as_deref() != Some(&*problem) => {
                warn!(lease = self.name, problem, "the Lease cannot be had; trying again");
                self.trouble = Some(problem);
            }
            Failed::Other(_) => {}
        }
    }
}

impl Held<'_> {
    /// How often the leader has changed, us included. Whoever sees it later sees the newest.
    pub fn transitions(&self) -> watch::Receiver<u32> {
        self.transitions.subscribe()
    }

    /// Renews until `done`, and then gives the Lease back; or until it is lost. Of `raise` a count that is higher than ours
    /// makes our own higher still: somebody has seen a later leader than the Lease tells of, which then was restored or
    /// deleted.
    pub async fn keep(mut self, done: impl Future<Output = ()>, mut raise: watch::Receiver<u32>) -> Released {
        let mut done = std::pin::pin!(done);
        loop {
            let until = self.lease.candidate.until().unwrap_or_default();
            let left = until.saturating_sub(now());
            if left.is_zero() {
                warn!(lease = self.lease.name, "leads no more: the Lease could not be renewed in time");
                return Released::Lost;
            }
            let rest = jittered(self.lease.timing.retry).min(left);
            tokio::select! {
                () = &mut done => return self.give().await,
                () = sleep(rest) => {}
                Ok(()) = raise.changed() => {}
            }
            let least = *raise.borrow_and_update();
            let transitions = if least > self.record.transitions {
                least.saturating_add(1)
            } else {
                self.record.transitions
            };
            let wish = Wish::Replace { version: self.record.version.clone(), transitions };
            // Until we lead no more, and no longer: an answer that comes later counts for nothing.
            let left = until.saturating_sub(now());
            let written = tokio::select! {
                written = timeout(left, self.renew(&wish)) => written.ok().flatten(),
                () = &mut done => return self.give().await,
            };
            let Some(record) = written else { continue };
            if !self.lease.is_ours(&record) {
                warn!(lease = self.lease.name, holder = record.holder, "leads no more: another one does");
                return Released::Lost;
            }
            self.record = record;
            let count = self.record.transitions;
            self.transitions.send_if_modified(|known| std::mem::replace(known, count) != count);
        }
    }

    /// The Lease, renewed; or as it is now, if somebody else wrote.
    async fn renew(&mut self, wish: &Wish) -> Option<Record> {
        if let Some(record) = self.lease.write(wish).await {
            return Some(record);
        }
        // Whatever went wrong, a look tells what is now.
        let seen = self.lease.get().await.ok()?;
        let wish = self.lease.candidate.look(now(), seen.as_ref());
        match (wish, &seen) {
            (Some(wish @ Wish::Replace { .. }), Some(seen)) if self.lease.is_ours(seen) => {
                self.lease.write(&wish).await
            }
            _ => seen,
        }
    }

    async fn give(self) -> Released {
        let lease = self.lease;
        lease.candidate.step_down();
        // A write may have been under way.
        let given = match lease.get().await {
            Ok(Some(record)) if lease.is_ours(&record) => lease.release(record).await.is_ok(),
            found => found.is_ok(),
        };
        if given {
            info!(lease = lease.name, "gave the Lease back");
        } else {
            warn!(lease = lease.name, "could not give the Lease back; another one leads when it has expired");
        }
        Released::Given
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("name", &self.name).field("me", &self.me).finish_non_exhaustive()
    }
}

impl fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("lease", &self.lease)
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// A call that takes no longer than there is time between two of them, or nearly so.
async fn bounded<T>(timing: Timing, call: impl Future<Output = kube_client::Result<T>>) -> Result<T, Failed> {
    match timeout(timing.retry, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube_client::Error::Api(status))) if status.code == 409 => Err(Failed::Conflict),
        Ok(Err(error)) => Err(Failed::Other(error.to_string())),
        Err(_) => Err(Failed::Other("the API server does not answer".to_owned())),
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some("evhub-lease".to_owned()), ..PostParams::default() }
}

fn record(object: &Object) -> Record {
    let spec = object.spec.as_ref();
    Record {
        version: object.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.and_then(|spec| spec.holder_identity.clone()),
        transitions: spec
            .and_then(|spec| spec.lease_transitions)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0),
    }
}

/// So that two that look at the same time do not go on to.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// A clock that runs while the machine is suspended as well.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
