//! Writes statuses and Events: a bounded number at once, each object by itself. I/O.
//!
//! A status is written under the condition that the object is still as it was seen: so whoever knows less never overwrites what
//! was told by one who knows more. As a merge and not by server-side apply: that would leave what somebody else wrote in our
//! place, and fail whole where the CRDs are older than we are. What fails is told back; when to try again is for whoever asked.

use std::{sync::Arc, time::Duration};

use evhub_crds::{API_VERSION, Condition, ConditionType, condition::Status};
use evhub_routing::Name;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube_client::{
    Api, Client, Error,
    api::{Patch, PatchParams, PostParams},
};
use kube_core::ObjectMeta;
use serde_json::json;
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tracing::{debug, warn};

use crate::{
    index::{Key, Stored},
    told::Told,
    watch,
};

/// How many are written at once.
const AT_ONCE: usize = 16;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Whose fields in an object's status these are, and who says what Events say.
pub const MANAGER: &str = "evhub-operator";

/// A status to be written.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Of which object.
    pub key: Key,
    /// Its identity.
    pub uid: String,
    /// As which it must still be there.
    pub version: String,
    /// What to tell.
    pub told: Told,
    /// What is told now.
    pub known: Told,
}

/// What became of a status that was to be written.
#[derive(Debug)]
pub struct Written {
    /// Of which object.
    pub key: Key,
    /// Its identity.
    pub uid: String,
    /// As which it was to be there.
    pub version: String,
    /// The object as it is now, or nothing if there is none; or why nobody knows.
    pub now: Result<Option<Stored>, String>,
    /// Whether it was written.
    pub done: bool,
    /// What was to be told.
    pub told: Told,
}

/// Writes. Clones share the bound.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    me: String,
    seats: Arc<Semaphore>,
    results: mpsc::Sender<Written>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer that is called `me`, and tells here what became of everything.
    pub fn new(client: Client, me: String, results: mpsc::Sender<Written>) -> Self {
        Self { client, me, seats: Arc::new(Semaphore::new(AT_ONCE)), results }
    }

    /// Whether another one would be written at once.
    pub fn has_room(&self) -> bool {
        self.seats.available_permits() > 0
    }

    /// Writes one, and an Event where something has changed for good or for bad; tells what became of it.
    pub async fn write(self, wish: Wish) {
        let Ok(_seat) = self.seats.acquire().await else { return };
        let (now, done) = match timeout(PATIENCE, self.apply(&wish)).await {
            Ok(Ok(stored)) => (Ok(Some(stored)), true),
            // Somebody wrote meanwhile. A watch may have missed it, so it is asked for.
            Ok(Err(Error::Api(status))) if status.code == 409 || status.code == 404 => {
                (self.look(&wish.key).await, false)
            }
            Ok(Err(error)) => (Err(evhub_lifecycle::exit::line(&error)), false),
            Err(_) => (Err("the API server does not answer".to_owned()), false),
        };
        if done {
            self.note(&wish).await;
        }
        let Wish { key, uid, version, told, .. } = wish;
        // Whoever asked may lead no more.
        let _ = self.results.send(Written { key, uid, version, now, done, told }).await;
    }

    async fn apply(&self, wish: &Wish) -> Result<Stored, Error> {
        let (kind, Name { namespace, name }) = (wish.key.0, &wish.key.1);
        let patch = json!({
            "metadata": { "uid": wish.uid, "resourceVersion": wish.version },
            "status": wish.told.over(&wish.known),
        });
        let api = watch::ours(self.client.clone(), kind, Some(namespace));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let object = api.patch_status(name, &params, &Patch::Merge(patch)).await?;
        let missing = || Error::Service("the API server's answer has no identity".into());
        watch::stored(kind, object).map(|(_, stored)| stored).ok_or_else(missing)
    }

    async fn look(&self, key: &Key) -> Result<Option<Stored>, String> {
        let api = watch::ours(self.client.clone(), key.0, Some(&key.1.namespace));
        match timeout(PATIENCE, api.get_opt(&key.1.name)).await {
            Ok(Ok(found)) => {
                Ok(found.and_then(|object| watch::stored(key.0, object)).map(|(_, stored)| stored))
            }
            Ok(Err(error)) => Err(evhub_lifecycle::exit::line(&error)),
            Err(_) => Err("the API server does not answer".to_owned()),
        }
    }

    /// An Event where `Ready` or `Degraded` is not what it was, and is not on its way to something else.
    async fn note(&self, wish: &Wish) {
        let is_new = |condition: &&Condition, type_| {
            let known = wish.known.condition(type_);
            known.is_none_or(|known| (known.status, &known.reason) != (condition.status, &condition.reason))
        };
        let of = |type_| wish.told.condition(type_).filter(|condition| is_new(condition, type_));
        let ready = of(ConditionType::Ready);
        let type_ = |ready: &Condition| match ready.status {
            Status::True => Some("Normal"),
            Status::False => Some("Warning"),
            Status::Unknown => None,
        };
        if let Some((ready, type_)) = ready.and_then(|ready| Some((ready, type_(ready)?))) {
            self.create(wish, ready, type_).await;
        }
        // Unless it is why it is not ready.
        let is_told = |one: &&Condition| ready.is_none_or(|ready| ready.reason != one.reason);
        if let Some(degraded) = of(ConditionType::Degraded).filter(is_told) {
            self.create(wish, degraded, "Warning").await;
        }
    }

    async fn create(&self, wish: &Wish, says: &Condition, type_: &str) {
        let (kind, Name { namespace, name }) = (wish.key.0, &wish.key.1);
        let event = v1::Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{name}-")),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(jiff::Timestamp::now())),
            note: Some(says.message.chars().take(1_000).collect()),
            reason: Some(says.reason.clone()),
            regarding: Some(ObjectReference {
                api_version: Some(API_VERSION.to_owned()),
                kind: Some(kind.as_str().to_owned()),
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                uid: Some(wish.uid.clone()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some("evhub.dev/operator".to_owned()),
            reporting_instance: Some(self.me.clone()),
            type_: Some(type_.to_owned()),
            ..v1::Event::default()
        };
        let api: Api<v1::Event> = Api::namespaced(self.client.clone(), namespace);
        match timeout(PATIENCE, api.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => {}
            // An Event is for people, and its status says the same: nothing depends on it.
            Ok(Err(Error::Api(status))) if status.code == 403 || status.code == 404 => {
                debug!(resource = %wish.key.1, reason = status.message, "an Event is not taken");
            }
            Ok(Err(error)) => {
                warn!(resource = %wish.key.1, error = evhub_lifecycle::exit::line(&error), "an Event is not written");
            }
            Err(_) => {
                warn!(resource = %wish.key.1, "an Event is not written: the API server does not answer");
            }
        }
    }
}
