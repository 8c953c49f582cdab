//! The operator against a real API server, with followers that only acknowledge: how long it takes until all is Ready, what that
//! costs in writes and memory, and how long an edit takes to reach every follower, beside a stock kube-rs reflector that hears of
//! the same edits.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use evhub_bench::child::{Child, folder};
use evhub_cluster::{ControlPlane, Options};
use evhub_routing::{Name, Snapshot};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hdrhistogram::Histogram;
use k8s_openapi::api::core::v1::Namespace;
use kube_client::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use kube_core::gvk::GroupVersionKind;
use kube_runtime::{WatchStreamExt as _, reflector, watcher};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::watch, time::timeout};

use crate::{follower, settings::Settings};

/// How many Processors there are, beside the one that is edited.
const COUNTS: [usize; 3] = [0, 1_000, 5_000];
/// How many dataplanes follow.
const FOLLOWERS: usize = 3;
/// How many of an API server's objects are made at once.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_mins(10);
/// How many Processors read one Producer.
const OF_ONE: usize = 50;

/// What one number of Processors came to.
struct Figures {
    ready: Duration,
    writes: f64,
    memory: f64,
    status: f64,
    ours: Histogram<u64>,
    stock: Histogram<u64>,
}

/// Measures and shows the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    settings.head("The operator");
    let files = tempfile::tempdir_in(&settings.disk)?;
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/yaml");
    let options = Options { folder: files.path().join("cluster"), first: vec![crds], controllers: false };
    let plane = ControlPlane::start(&options)?;
    println!(
        "\n| Processors | until all Ready, s | status writes per object | operator's memory per object, KiB | status, bytes | \
         an edit at every follower, p50 / p99, ms | at a stock reflector, p50 / p99, ms | ratio p50 | ratio p99 |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    let mut idle = None;
    for count in COUNTS {
        let figures = Runtime::new()?.block_on(once(settings, &plane.kubeconfig(), count, &mut idle))?;
        let Figures { ready, writes, memory, status, ours, stock } = figures;
        let at =
            |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        let pair = |histogram| format!("{:.1} / {:.1}", at(histogram, 0.5), at(histogram, 0.99));
        let ratio = |quantile| at(&ours, quantile) / at(&stock, quantile);
        println!(
            "| {count} | {:.1} | {writes:.2} | {memory:.1} | {status:.0} | {} | {} | {:.2} | {:.2} |",
            ready.as_secs_f64(),
            pair(&ours),
            pair(&stock),
            ratio(0.5),
            ratio(0.99),
        );
    }
    Ok(())
}

async fn once(
    settings: &Settings,
    kubeconfig: &Path,
    count: usize,
    idle: &mut Option<u64>,
) -> Result<Figures> {
    let config = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let namespace = format!("bench-{count}");
    fill(&client, &namespace, count).await?;

    let began = Instant::now();
    let (listen, admin) = (free()?, free()?);
    let mut operator = Command::new(folder()?.join("evhub-operator"));
    operator.args(["--listen", &listen.to_string(), "--admin", &admin.to_string()]);
    operator.args(["--watch-namespace", &namespace, "--lease-namespace", &namespace]);
    operator.env("KUBECONFIG", kubeconfig).stderr(Stdio::null());
    let operator = Child::spawn(&mut operator)?;
    let mut followers = Vec::new();
    for number in 0..FOLLOWERS {
        followers.push(follower::follow(&format!("follower-{number}"), listen).await?);
    }
    let processors = api(&client, &namespace, "Processor");
    let producers = api(&client, &namespace, "Producer");
    let objects = until_ready(&[&processors, &producers]).await?;
    let ready = began.elapsed();
    let writes = figure(admin, "evhub_operator_status_writes_total").await? as f64 / objects.len() as f64;
    let status: usize = objects.iter().map(|object| object.data["status"].to_string().len()).sum();
    let status = status as f64 / objects.len() as f64;
    let resident = operator.memory("VmRSS")?;
    let memory = resident.saturating_sub(*idle.get_or_insert(resident)) as f64 / objects.len() as f64;

    let stock = stock(processors.clone());
    let mut figures =
        Figures { ready, writes, memory, status, ours: Histogram::new(3)?, stock: Histogram::new(3)? };
    // The first ones only warm up.
    for edit in 0..settings.rounds + 10 {
        let (ours, stock) = propagate(&processors, &namespace, &followers, &stock, edit as u32 + 1).await?;
        if edit >= 10 {
            figures.ours.record(micros(ours))?;
            figures.stock.record(micros(stock))?;
        }
    }
    Ok(figures)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn free() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("evhub.dev", "v1alpha1", kind);
    let plural = format!("{}s", kind.to_lowercase());
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk_with_plural(&gvk, &plural))
}

/// Makes a namespace with all that there is to be.
async fn fill(client: &Client, namespace: &str, count: usize) -> Result<()> {
    let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } }))?;
    Api::all(client.clone()).create(&PostParams::default(), &object).await?;
    let service =
        json!({ "metadata": { "name": "billing" }, "spec": { "ports": [{ "name": "http", "port": 80 }] } });
    let services: Api<k8s_openapi::api::core::v1::Service> = Api::namespaced(client.clone(), namespace);
    services.create(&PostParams::default(), &serde_json::from_value(service)?).await?;
    let slice = json!({
        "metadata": { "name": "billing", "labels": { "kubernetes.io/service-name": "billing" } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["10.1.2.3"] }],
    });
    let slices: Api<k8s_openapi::api::discovery::v1::EndpointSlice> =
        Api::namespaced(client.clone(), namespace);
    slices.create(&PostParams::default(), &serde_json::from_value(slice)?).await?;
    let producers = (0..=count / OF_ONE).map(|number| {
        (
            "Producer",
            format!("p{number}"),
            json!({ "topic": { "partitions": 1, "replicas": 1, "minInSyncReplicas": 1 } }),
        )
    });
    let processors =
        (0..=count).map(|number| ("Processor", format!("r{number}"), processor(number / OF_ONE, 1)));
    let all: Vec<_> = producers.chain(processors).collect();
    stream::iter(all.into_iter().map(Ok))
        .try_for_each_concurrent(AT_ONCE, |(kind, name, spec)| create(client, namespace, kind, name, spec))
        .await
}

async fn create(client: &Client, namespace: &str, kind: &str, name: String, spec: Value) -> Result<()> {
    let object = json!({
        "apiVersion": "evhub.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec,
    });
    let object: DynamicObject = serde_json::from_value(object)?;
    let made = api(client, namespace, kind).create(&PostParams::default(), &object).await;
    made.map(drop).with_context(|| format!("make {kind} {name}"))
}

fn processor(producer: usize, in_flight: u32) -> Value {
    json!({
        "producers": [{ "name": format!("p{producer}") }],
        "target": { "service": { "name": "billing", "port": "http" } },
        "delivery": { "maxInFlight": in_flight },
    })
}

/// Waits until everything says that it is Ready, and returns it. To ask costs the API server something, so it is seldom asked.
async fn until_ready(apis: &[&Api<DynamicObject>]) -> Result<Vec<DynamicObject>> {
    let began = Instant::now();
    let is_ready = |object: &DynamicObject| {
        let conditions = object.data["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    loop {
        let mut all = Vec::new();
        for api in apis {
            all.extend(api.list(&ListParams::default()).await?);
        }
        if all.iter().all(is_ready) {
            return Ok(all);
        }
        let ready = all.iter().filter(|object| is_ready(object)).count();
        ensure!(began.elapsed() < PATIENCE, "only {ready} of {} are Ready", all.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A reflector as kube-rs has it; tells of the newest generation of the one that is edited.
fn stock(api: Api<DynamicObject>) -> watch::Receiver<i64> {
    let (sender, receiver) = watch::channel(0);
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("evhub.dev", "v1alpha1", "Processor"));
    let writer = reflector::store::Writer::new(kind);
    tokio::spawn(async move {
        let events = reflector(writer, watcher(api, watcher::Config::default())).default_backoff();
        let mut objects = std::pin::pin!(events.touched_objects());
        while let Some(object) = objects.next().await {
            let Ok(object) = object else { continue };
            if object.metadata.name.as_deref() == Some("r0") {
                sender.send_replace(object.metadata.generation.unwrap_or_default());
            }
        }
    });
    receiver
}

/// Edits one Processor; returns how long that took to reach all followers, and how long the reflector.
async fn propagate(
    processors: &Api<DynamicObject>,
    namespace: &str,
    followers: &[watch::Receiver<Arc<Snapshot>>],
    stock: &watch::Receiver<i64>,
    edit: u32,
) -> Result<(Duration, Duration)> {
    let name = Name::new(namespace, "r0");
    let wanted = edit % 1_000 + 2;
    let began = Instant::now();
    let patch = Patch::Merge(json!({ "spec": { "delivery": { "maxInFlight": wanted } } }));
    let ours = async {
        for follower in followers {
            let is_there = |snapshot: &Arc<Snapshot>| {
                snapshot.processors.get(&name).is_some_and(|one| one.policy.max_in_flight == wanted)
            };
            follower.clone().wait_for(is_there).await?;
        }
        anyhow::Ok(began.elapsed())
    };
    let known = *stock.borrow();
    let heard = async {
        stock.clone().wait_for(|generation| *generation > known).await?;
        anyhow::Ok(began.elapsed())
    };
    let edited = async { Ok(processors.patch("r0", &PatchParams::default(), &patch).await?) };
    let all = async { tokio::try_join!(edited, ours, heard) };
    let (_, ours, heard) = timeout(Duration::from_mins(1), all).await.context("wait for an edit")??;
    // What follows from it is written meanwhile, and must not be in the way of the next one.
    tokio::time::sleep(Duration::from_millis(150)).await;
    Ok((ours, heard))
}

async fn figure(admin: SocketAddr, name: &'static str) -> Result<u64> {
    let page = tokio::task::spawn_blocking(move || -> Result<String> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(admin)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: operator\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    let page = page.await??;
    let line = page.lines().find(|line| line.split(' ').next() == Some(name));
    let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
    value.with_context(|| format!("find {name} in the operator's metrics"))
}
