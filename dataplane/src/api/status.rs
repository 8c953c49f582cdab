//! How Producers and Processors are doing. Reads the log's ends and commits, never its events' data.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::{Json, extract::State};
use evhub_dispatch::Progress;
use evhub_journal::Journal;
use evhub_routing::{Name, Processor, Producer, Route};
use http::Uri;
use serde::Serialize;
use tokio::time::timeout;

use super::{
    Api, PAGE, Page,
    conditions::{self, Condition},
    instant,
    letters::Look,
};
use crate::{
    Unserved,
    backlog::Backlog,
    hub::Of,
    problem::{Problem, reason},
    request::{Named, Query},
    schedules::ask::{Schedules, Upcoming},
};

/// One Producer, as `evhub status` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProducerStatus {
    namespace: String,
    name: String,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<u32>,
    /// How many of its events wait for their time, as far as they are led by this process; left out where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_timers: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schedules: Vec<ScheduleStatus>,
    conditions: Vec<Condition>,
}

/// What a schedule has in store.
#[derive(Debug, Serialize)]
struct ScheduleStatus {
    name: String,
    next: Vec<String>,
}

/// One Producer's events to one Processor.
#[derive(Debug, Serialize)]
struct RouteStatus {
    /// `NAMESPACE/NAME`.
    producer: String,
    topic: String,
}

/// One Processor, as `evhub status` prints it. What is not known is left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessorStatus {
    namespace: String,
    name: String,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routes: Option<Vec<RouteStatus>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parked: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_lettered: Option<u64>,
    suspended: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_delivery: Option<String>,
    /// Why it is not ready, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    conditions: Vec<Condition>,
}

/// What was written, whether it runs or not.
#[derive(Clone, Debug)]
enum Written<T> {
    Running(Arc<T>),
    Unserved(Unserved),
}

/// The namespaces that have a resource.
pub(super) async fn namespaces<J: Journal>(
    State(api): State<Api<J>>,
    uri: Uri,
) -> Result<Json<Page<String>>, Problem> {
    let query = Query::read(&uri, &["limit", "after"])?;
    let limit = query.limit(PAGE.0, PAGE.1)?;
    let after = query.text("after").unwrap_or_default();
    let (producers, processors) = (written_producers(&api), written_processors(&api));
    let all: BTreeSet<&str> =
        producers.keys().chain(processors.keys()).map(|name| name.namespace.as_str()).collect();
    let mut rest = all.into_iter().filter(|namespace| *namespace > after).map(str::to_owned);
    let items: Vec<String> = rest.by_ref().take(limit).collect();
    let next = rest.next().and(items.last().cloned());
    Ok(Json(Page { items, next }))
}

pub(super) async fn producers<J: Journal>(
    State(api): State<Api<J>>,
    Named(Name { namespace, .. }): Named,
    uri: Uri,
) -> Result<Json<Page<ProducerStatus>>, Problem> {
    let written = written_producers(&api);
    let (chosen, next) = page(&written, &namespace, &uri)?;
    let mut items = Vec::with_capacity(chosen.len());
    for one in chosen {
        items.push(of_written_producer(&api, one).await);
    }
    Ok(Json(Page { items, next }))
}

pub(super) async fn producer<J: Journal>(
    State(api): State<Api<J>>,
    Named(name): Named,
    uri: Uri,
) -> Result<Json<ProducerStatus>, Problem> {
    Query::read(&uri, &[])?;
    let missing = || Problem::new(reason::UNKNOWN_PRODUCER, "no Producer of this name is known here");
    let written = written_producers(&api).remove(&name).ok_or_else(missing)?;
    Ok(Json(of_written_producer(&api, &written).await))
}

pub(super) async fn processors<J: Journal>(
    State(api): State<Api<J>>,
    Named(Name { namespace, .. }): Named,
    uri: Uri,
) -> Result<Json<Page<ProcessorStatus>>, Problem> {
    let written = written_processors(&api);
    let (chosen, next) = page(&written, &namespace, &uri)?;
    let mut items = Vec::with_capacity(chosen.len());
    let mut look = Look::default();
    for one in chosen {
        items.push(of_written(&api, one, &mut look).await);
    }
    Ok(Json(Page { items, next }))
}

pub(super) async fn processor<J: Journal>(
    State(api): State<Api<J>>,
    Named(name): Named,
    uri: Uri,
) -> Result<Json<ProcessorStatus>, Problem> {
    Query::read(&uri, &[])?;
    let missing = || Problem::new(reason::UNKNOWN_PROCESSOR, "no Processor of this name is known here");
    let written = written_processors(&api).remove(&name).ok_or_else(missing)?;
    Ok(Json(of_written(&api, &written, &mut Look::default()).await))
}

/// Everything of one kind that was written, by name.
type All<T> = BTreeMap<Name, Arc<Written<T>>>;

fn written_producers<J: Journal>(api: &Api<J>) -> All<Producer> {
    written(api, Of::Producer, &api.hub.running().producers)
}

fn written_processors<J: Journal>(api: &Api<J>) -> All<Processor> {
    written(api, Of::Processor, &api.hub.running().processors)
}

fn written<J: Journal, T>(api: &Api<J>, of: Of, running: &BTreeMap<Name, Arc<T>>) -> All<T> {
    let unserved = Arc::clone(&api.hub.unserved.borrow());
    let unserved = unserved.iter().filter(|one| one.of == of);
    let unserved = unserved.map(|one| (one.name.clone(), Written::Unserved(one.clone())));
    let running = running.iter().map(|(name, one)| (name.clone(), Written::Running(Arc::clone(one))));
    // What runs hides what did not when it was written.
    unserved.chain(running).map(|(name, one)| (name, Arc::new(one))).collect()
}

async fn of_written_producer<J: Journal>(api: &Api<J>, written: &Written<Producer>) -> ProducerStatus {
    match written {
        Written::Running(producer) => {
            ProducerStatus { schedules: upcoming(api, producer).await, ..of_producer(api, producer) }
        }
        Written::Unserved(Unserved { name: Name { namespace, name }, accepted, reason, .. }) => {
            ProducerStatus {
                namespace: namespace.clone(),
                name: name.clone(),
                ready: false,
                topic: None,
                partitions: None,
                pending_timers: None,
                schedules: Vec::new(),
                conditions: conditions::unserved(*accepted, reason),
            }
        }
    }
}

/// What a Producer's schedules have in store, as far as the ledger knows of them.
async fn upcoming<J: Journal>(api: &Api<J>, producer: &Producer) -> Vec<ScheduleStatus> {
    if producer.ledger.schedules.is_empty() {
        return Vec::new();
    }
    // Whoever leads a shard may be away: then nothing is told of its schedules.
    let Ok(schedules) = Schedules::of(&api.hub, &producer.name) else { return Vec::new() };
    let listed = timeout(LEDGER, schedules.declared()).await.ok().and_then(Result::ok).unwrap_or_default();
    let status = |upcoming: Upcoming| ScheduleStatus { next: upcoming.instants(), name: upcoming.name };
    listed.into_iter().map(status).collect()
}

/// How long the ledger may take to tell of its schedules.
const LEDGER: Duration = Duration::from_secs(2);

async fn of_written<J: Journal>(
    api: &Api<J>,
    written: &Written<Processor>,
    look: &mut Look,
) -> ProcessorStatus {
    match written {
        Written::Running(processor) => of_processor(api, processor, look).await,
        Written::Unserved(unserved) => of_unserved(unserved),
    }
}

/// The resources of one namespace by name, as `limit` and `after` cut them; and the name to go on after.
fn page<'a, T>(
    all: &'a BTreeMap<Name, Arc<T>>,
    namespace: &str,
    uri: &Uri,
) -> Result<(Vec<&'a T>, Option<String>), Problem> {
    let query = Query::read(uri, &["limit", "after"])?;
    let limit = query.limit(PAGE.0, PAGE.1)?;
    let after = Name::new(namespace, query.text("after").unwrap_or_default());
    let rest = all.range((Bound::Excluded(after), Bound::Unbounded));
    let mut rest = rest.take_while(|(name, _)| name.namespace == namespace);
    let chosen: Vec<_> = rest.by_ref().take(limit).collect();
    let next = rest.next().and_then(|_| chosen.last()).map(|(name, _)| name.name.clone());
    Ok((chosen.into_iter().map(|(_, resource)| resource.as_ref()).collect(), next))
}

fn of_producer<J: Journal>(api: &Api<J>, producer: &Producer) -> ProducerStatus {
    let Name { namespace, name } = producer.name.clone();
    let partitions = api.hub.journal.partitions(&producer.topic);
    let ready = partitions.is_some_and(|partitions| partitions >= producer.partitions);
    ProducerStatus {
        namespace,
        name,
        ready,
        topic: Some(producer.topic.clone()),
        partitions: Some(partitions.unwrap_or(producer.partitions)),
        pending_timers: Some(api.hub.ledger.board().pending(&producer.uid)).filter(|pending| *pending > 0),
        schedules: Vec::new(),
        conditions: conditions::running(ready, false, false),
    }
}

async fn of_processor<J: Journal>(api: &Api<J>, processor: &Processor, look: &mut Look) -> ProcessorStatus {
    let Name { namespace, name } = processor.name.clone();
    let progress = api.hub.board.of(&processor.uid);
    let (listens, exhausted) = (progress.listens(processor.generation), progress.suspended.load(Relaxed));
    let (lag, oldest) = behind(api, processor).await;
    let letters = api.letters.of(&api.hub, processor, look).await;
    let last = progress.last_delivery.load(Relaxed);
    ProcessorStatus {
        namespace,
        name,
        ready: listens && (processor.suspend || !exhausted),
        generation: Some(processor.generation),
        routes: Some(processor.routes.iter().map(RouteStatus::of).collect()),
        lag,
        oldest_time: oldest.and_then(instant),
        parked: Some(Progress::get(&progress.parked)),
        in_flight: Some(Progress::get(&progress.in_flight)),
        dead_lettered: letters.ok().and_then(|index| index.count()),
        suspended: processor.suspend || exhausted,
        last_delivery: Some(last).filter(|last| *last > 0).and_then(instant),
        trouble: progress.trouble(),
        conditions: conditions::running(listens, processor.suspend, exhausted),
    }
}

fn of_unserved(unserved: &Unserved) -> ProcessorStatus {
    let Unserved { of: _, name: Name { namespace, name }, accepted, reason } = unserved.clone();
    ProcessorStatus {
        namespace,
        name,
        ready: false,
        generation: None,
        routes: None,
        lag: None,
        oldest_time: None,
        parked: None,
        in_flight: None,
        dead_lettered: None,
        suspended: false,
        last_delivery: None,
        trouble: None,
        conditions: conditions::unserved(accepted, &reason),
    }
}

impl RouteStatus {
    fn of(route: &Route) -> Self {
        Self { producer: route.producer.to_string(), topic: route.topic.clone() }
    }
}

/// Lag and the oldest record's time, each only where it can be known.
async fn behind<J: Journal>(api: &Api<J>, processor: &Processor) -> (Option<u64>, Option<i64>) {
    let journal = &api.hub.journal;
    let Ok(Some(backlog)) = Backlog::of(journal, processor).await else { return (None, None) };
    (Some(backlog.lag()), backlog.oldest(journal).await.ok().flatten())
}
