//! `evhub dev`: a whole hub in one process, on an embedded log. From top to bottom the life of that process.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use evhub_compile::{Apps, Compiled, Egress, Settings, World, compile};
use evhub_dataplane::{
    Hub, admin, api, grpc, ingest, provision,
    server::{self, Limits},
    workers,
};
use evhub_journal::embedded::{self, Embedded};
use evhub_lifecycle::Drain;
use evhub_routing::{Generation, Snapshot};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use crate::{
    demo,
    exit::{Configuration, Exit},
    identity::Identities,
    manifests, output,
};

/// Run a whole hub in this process, on an embedded log
///
/// Reads the Producers and Processors of DIR, takes events, delivers them, and survives kill -9. A resource that is not
/// accepted is left out and said so; the others run. The first SIGTERM or Ctrl-C lets what is under way finish; a second
/// one aborts.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Try:\n  evhub dev examples/quickstart --demo\n  evhub dev my/manifests --data /var/lib/evhub"
)]
pub(crate) struct Args {
    /// The folder with the manifests (*.yaml, *.yml, *.json)
    dir: PathBuf,
    /// Where the log and everything else that must survive is kept
    #[arg(long, default_value = "./.evhub", value_name = "DIR")]
    data: PathBuf,
    /// Where applications publish over HTTP
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    http: String,
    /// Where applications publish over gRPC
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "HOST:PORT")]
    grpc: String,
    /// Where /livez, /readyz, /metrics and /snapshot are
    #[arg(long, default_value = "127.0.0.1:8082", value_name = "HOST:PORT")]
    admin: String,
    /// Where tools ask; it takes events as well
    #[arg(long, default_value = "127.0.0.1:8083", value_name = "HOST:PORT")]
    api: String,
    /// Play the quickstart's service, publish a few events, and tell what happens to them
    #[arg(long)]
    pub(crate) demo: bool,
}

/// How long a stop waits for attempts under way. Longer than the default time-out of an attempt, and within the grace
/// that Kubernetes gives a pod.
const GRACE: Duration = Duration::from_secs(25);
/// How often a starting hub is asked whether it is ready.
const POLL: Duration = Duration::from_millis(10);

/// Runs until told to stop.
pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let (trigger, drain) = evhub_lifecycle::channel();
    let signals = tokio::spawn(evhub_lifecycle::signals(trigger.clone()));
    let journal = open(&args)?;
    let snapshot = snapshot(&args)?;
    let listeners = Listeners::bind(&args).await?;
    provision::provision(&journal, &snapshot).await.context("could not make the topics")?;
    let (_publish, following) = watch::channel(Arc::new(snapshot));
    let hub = Hub::new(journal.clone(), following);
    let addresses = listeners.addresses().context("could not tell the ports")?;
    let mut listening = listeners.serve(&hub, &drain);
    let workers = tokio::spawn(workers::run(hub.clone(), drain.clone()));
    info!(http = args.http, grpc = args.grpc, admin = args.admin, api = args.api, "listening");
    let told = tell(args.demo, addresses, &hub, &drain).await;
    if told.is_err() {
        trigger.begin();
    }
    drain.begun().await;
    info!("stopping: finishing what is under way; a second signal aborts");
    if timeout(GRACE, workers).await.is_err() {
        warn!(grace = ?GRACE, "attempts are still under way; they will be repeated after the next start");
    }
    while listening.join_next().await.is_some() {}
    journal.close();
    signals.abort();
    told.map(|()| Exit::Success)
}

fn open(args: &Args) -> anyhow::Result<Embedded> {
    if !args.dir.is_dir() {
        let problem =
            format!("{}: no such folder (got DIR, allowed a folder with manifests)", args.dir.display());
        return Err(Configuration(vec![problem]).into());
    }
    let options = embedded::Options::new(args.data.join("log"));
    Embedded::open(options).map_err(|error| {
        let mut problem = format!("--data: {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            problem = format!("{problem}: {cause}");
            source = cause.source();
        }
        Configuration(vec![problem]).into()
    })
}

/// Compiles what the folder says, and makes durable who everything is.
fn snapshot(args: &Args) -> anyhow::Result<Snapshot> {
    let loaded = manifests::load(std::slice::from_ref(&args.dir))
        .map_err(|manifests::Unreadable { problems }| Configuration(problems))?;
    loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
    let mut identities = Identities::open(&args.data)?;
    let mut objects = loaded.objects;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    identities.assign(&mut objects, now);
    let settings = Settings { prefix: "evhub".into(), egress: Egress::Loopback, apps: Apps::Any };
    let compiled = compile(&World { settings, objects });
    report(&compiled);
    identities.save(&compiled)?;
    let generation = Generation { epoch: identities.epoch(), revision: 1 };
    Ok(Snapshot { generation, ..compiled.snapshot })
}

fn report(compiled: &Compiled) {
    for verdict in &compiled.verdicts {
        for finding in &verdict.findings {
            error!(
                object = format!(
                    "{}/{}",
                    output::or_dash(verdict.namespace.as_ref()),
                    output::or_dash(verdict.name.as_ref())
                ),
                file = verdict.origin.as_ref().map(ToString::to_string),
                reason = format!("{}/{}", finding.condition, finding.reason),
                field = finding.field,
                "{}",
                finding.message
            );
        }
    }
    let snapshot = &compiled.snapshot;
    info!(producers = snapshot.producers.len(), processors = snapshot.processors.len(), "compiled");
}

/// Once the hub is ready, tells the demo's story, or says that it is.
async fn tell(demo: bool, at: demo::Addresses, hub: &Hub<Embedded>, drain: &Drain) -> anyhow::Result<()> {
    tokio::select! {
        () = drain.begun() => return Ok(()),
        () = ready(hub) => info!("ready: every accepted Processor listens"),
    }
    if demo { demo::run(at, drain.begun()).await } else { Ok(()) }
}

async fn ready(hub: &Hub<Embedded>) {
    let running = hub.running();
    while !running.processors.keys().all(|name| hub.board.of(name).listening.load(Relaxed)) {
        sleep(POLL).await;
    }
}

/// The addresses that were asked for, taken.
struct Listeners {
    http: TcpListener,
    grpc: TcpListener,
    admin: TcpListener,
    api: TcpListener,
}

impl Listeners {
    async fn bind(args: &Args) -> anyhow::Result<Self> {
        let (http, grpc, admin, api) = tokio::join!(
            server::bind("--http", &args.http),
            server::bind("--grpc", &args.grpc),
            server::bind("--admin", &args.admin),
            server::bind("--api", &args.api),
        );
        match (http, grpc, admin, api) {
            (Ok(http), Ok(grpc), Ok(admin), Ok(api)) => Ok(Self { http, grpc, admin, api }),
            (http, grpc, admin, api) => {
                let failed = [http.err(), grpc.err(), admin.err(), api.err()].into_iter().flatten();
                Err(Configuration(failed.map(|error| format!("{error}: {}", error.source)).collect()).into())
            }
        }
    }

    fn addresses(&self) -> std::io::Result<demo::Addresses> {
        Ok(demo::Addresses { http: self.http.local_addr()?, api: self.api.local_addr()? })
    }

    /// Serves all four until the drain begins.
    fn serve(self, hub: &Hub<Embedded>, drain: &Drain) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let serve = |name, listener, router| {
            server::serve(name, listener, router, Limits::default(), hub.meters.clone(), drain.clone())
        };
        tasks.spawn(serve("http", self.http, ingest::router(hub.clone())));
        tasks.spawn(grpc::serve("grpc", self.grpc, hub.clone(), grpc::Limits::default(), drain.clone()));
        tasks.spawn(serve("admin", self.admin, admin::router(hub.clone(), drain.clone())));
        tasks.spawn(serve("api", self.api, api::router(hub.clone())));
        tasks
    }
}
