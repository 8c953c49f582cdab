//! Watches of an API server, each by itself: one that fails waits and comes again, and holds up no other. I/O.

use std::time::Duration;

use evhub_backoff::Backoff;
use evhub_compile::{Asked, Kept, Service};
use evhub_crds::{GROUP, Kind};
use evhub_routing::Name;
use futures_util::StreamExt as _;
use k8s_openapi::api::{core::v1, discovery::v1::EndpointSlice};
use kube_client::{Api, Client, api::ApiResource, core::DynamicObject};
use kube_core::{ObjectMeta, gvk::GroupVersionKind};
use kube_runtime::watcher::{self, Event, watcher};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use crate::{
    index::{Change, Seen, Slice, Stored},
    told::Told,
};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Resources of ours, of this kind.
    Ours(Kind),
    /// Services.
    Services,
    /// Who is behind Services.
    Slices,
}

/// Something that a watch told.
#[derive(Debug)]
pub struct News {
    /// Which watch: what, and in which namespace, if not in all.
    pub of: (What, Option<String>),
    /// What it told.
    pub told: Word,
}

/// What was told, of what.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is one at a time, and mostly the large one")]
pub enum Word {
    /// Of a resource of ours.
    Ours(Change<Stored>),
    /// Of a Service.
    Service(Change<Seen>),
    /// Of who is behind a Service.
    Slice(Change<Slice>),
    /// It failed, for this reason.
    Failed(String),
}

/// The server ends a watch after so many seconds, and one of which nothing is heard for longer is taken for broken.
const LASTS: u32 = 60;

/// The resource that is one of our kinds, as an API server calls it.
pub fn resource(kind: Kind) -> ApiResource {
    let gvk = GroupVersionKind::gvk(GROUP, "v1alpha1", kind.as_str());
    ApiResource::from_gvk_with_plural(&gvk, plural(kind))
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Producer => "producers",
        Kind::Processor => "processors",
    }
}

/// The resources of a kind in a namespace, or in all.
pub fn ours(client: Client, kind: Kind, namespace: Option<&str>) -> Api<DynamicObject> {
    let resource = resource(kind);
    match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    }
}

/// Tells what there is and what changes, until nobody listens any more. Now and then it begins anew: a watch that lost
/// something would never tell.
pub async fn watch(
    client: Client,
    what: What,
    namespace: Option<String>,
    relist: Duration,
    news: mpsc::Sender<News>,
) {
    let backoff = often(relist);
    while !news.is_closed() {
        let once = watch_once(client.clone(), what, namespace.clone(), news.clone());
        // An error says that it was time.
        let _ = timeout(backoff.wait(1, fastrand::u64(..)), once).await;
    }
}

fn often(relist: Duration) -> Backoff {
    Backoff::fixed(relist.max(Duration::from_secs(1)), 10).expect("it is longer than zero")
}

async fn watch_once(client: Client, what: What, namespace: Option<String>, news: mpsc::Sender<News>) {
    let of = (what, namespace.clone());
    let tell = |told| {
        let (news, of) = (news.clone(), of.clone());
        async move { news.send(News { of, told }).await.is_ok() }
    };
    let config = watcher::Config::default().timeout(LASTS);
    match what {
        What::Ours(kind) => {
            let api = ours(client, kind, namespace.as_deref());
            let read = move |object: DynamicObject| stored(kind, object);
            follow(
                watcher(api, config),
                read,
                |change| tell(Word::Ours(change)),
                |why| tell(Word::Failed(why)),
            )
            .await;
        }
        What::Services => {
            let api = theirs::<v1::Service>(client, namespace.as_deref());
            follow(
                watcher(api, config),
                seen,
                |change| tell(Word::Service(change)),
                |why| tell(Word::Failed(why)),
            )
            .await;
        }
        What::Slices => {
            let api = theirs::<EndpointSlice>(client, namespace.as_deref());
            follow(
                watcher(api, config),
                slice,
                |change| tell(Word::Slice(change)),
                |why| tell(Word::Failed(why)),
            )
            .await;
        }
    }
}

fn theirs<K>(client: Client, namespace: Option<&str>) -> Api<K>
where
    K: kube_core::Resource<Scope = kube_core::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

async fn follow<K, T, A, B>(
    events: impl futures_util::Stream<Item = watcher::Result<Event<K>>>,
    read: impl Fn(K) -> Option<(Name, T)>,
    tell: impl Fn(Change<T>) -> A,
    failed: impl Fn(String) -> B,
) where
    A: Future<Output = bool>,
    B: Future<Output = bool>,
{
    let mut events = std::pin::pin!(events);
    let backoff = Backoff::exponential(Duration::from_millis(200), Duration::from_secs(15), 2, 50)
        .expect("the first wait is above zero and below the longest");
    let mut failures = 0;
    let mut trouble = None;
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(event) => {
                if failures > 0 {
                    debug!(failures, "a watch works again");
                }
                (failures, trouble) = (0, None);
                change(event, &read)
            }
            Err(error) => {
                failures += 1;
                let why = evhub_lifecycle::exit::line(&error);
                if trouble.as_ref() != Some(&why) {
                    warn!(why, "a watch failed; what is known stays, and it is tried again");
                    if !failed(why.clone()).await {
                        return;
                    }
                    trouble = Some(why);
                }
                sleep(backoff.wait(failures, fastrand::u64(..))).await;
                continue;
            }
        };
        if let Some(change) = change
            && !tell(change).await
        {
            return;
        }
    }
}

fn change<K, T>(event: Event<K>, read: impl Fn(K) -> Option<(Name, T)>) -> Option<Change<T>> {
    let with = |object, make: fn(Name, T) -> Change<T>| read(object).map(|(name, object)| make(name, object));
    match event {
        Event::Init => Some(Change::Begun),
        Event::InitApply(object) => with(object, Change::Listed),
        Event::InitDone => Some(Change::Done),
        Event::Apply(object) => with(object, Change::Applied),
        Event::Delete(object) => with(object, Change::Deleted),
    }
}

/// A resource of ours. Whatever it says is kept as it is: to make sense of it is for whoever decides.
pub fn stored(kind: Kind, object: DynamicObject) -> Option<(Name, Stored)> {
    let DynamicObject { metadata, data, .. } = object;
    let (name, uid, created) = identity(&metadata)?;
    let told = data.get("status").map(Told::read).unwrap_or_default();
    let kept = Kept { partitions: told.partitions(kind), ..Kept::default() };
    let annotations = serde_json::json!({ "metadata": { "annotations": metadata.annotations } });
    let stored = Stored {
        uid,
        created,
        generation: metadata.generation.unwrap_or_default(),
        version: metadata.resource_version.unwrap_or_default(),
        spec: data.get("spec").map(|spec| spec.to_string().into_boxed_str()),
        asked: Asked::of(kind, &annotations),
        before: told.stands(),
        told,
        kept,
        accepted: false,
    };
    Some((name, stored))
}

fn seen(object: v1::Service) -> Option<(Name, Seen)> {
    let (name, uid, created) = identity(&object.metadata)?;
    let spec = object.spec.unwrap_or_default();
    let ports = spec.ports.unwrap_or_default().into_iter();
    let ports = ports.filter_map(|port| Some((port.name, u16::try_from(port.port).ok()?)));
    let is_external = spec.type_.as_deref() == Some("ExternalName");
    Some((name, Seen { uid, created, service: Service { ports: ports.collect(), is_external } }))
}

/// One that does not say whether it is ready is.
fn slice(object: EndpointSlice) -> Option<(Name, Slice)> {
    let (name, uid, created) = identity(&object.metadata)?;
    let service = object.metadata.labels?.remove("kubernetes.io/service-name")?;
    let is_ready = |of: &k8s_openapi::api::discovery::v1::Endpoint| {
        of.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    let ready = object.endpoints.iter().any(is_ready);
    Some((name, Slice { uid, created, service, ready }))
}

fn identity(metadata: &ObjectMeta) -> Option<(Name, String, i64)> {
    let name = Name::new(metadata.namespace.clone()?, metadata.name.clone()?);
    let created = metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond());
    Some((name, metadata.uid.clone()?, created))
}
