//! `evhub dev`: a whole hub in one process, on an embedded log. From top to bottom the life of that process.

mod parts;

use std::{
    collections::BTreeMap,
    future::pending,
    io,
    iter::successors,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use evhub_compile::{Compiled, Egress, Settings, World, compile};
use evhub_crds::Kind;
use evhub_dataplane::{
    Hub, Unserved, admin, api, ingest, provision,
    server::{self, BindError, Limits},
    workers,
};
use evhub_journal::embedded::{self, Embedded, OpenError};
use evhub_lifecycle::Drain;
use evhub_routing::{Generation, Name, Snapshot};
use tokio::{net::TcpListener, sync::watch, time::sleep};
use tracing::{error, info, warn};

use self::parts::Parts;
use crate::{
    address, demo,
    exit::{Configuration, Exit},
    identity::Identities,
    manifests,
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
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT", value_parser = address::parse)]
    http: String,
    /// Where /livez, /readyz, /metrics and /snapshot are
    #[arg(long, default_value = "127.0.0.1:8082", value_name = "HOST:PORT", value_parser = address::parse)]
    admin: String,
    /// Where tools ask; it takes events as well
    #[arg(long, default_value = "127.0.0.1:8083", value_name = "HOST:PORT", value_parser = address::parse)]
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
    let (snapshot, unserved) = snapshot(&args)?;
    let listeners = Listeners::bind(&args).await?;
    let stage = if args.demo { Some(stage(&snapshot).await?) } else { None };
    provision::provision(&journal, &snapshot).await.context("could not make the topics")?;
    let (_publish, following) = watch::channel(Arc::new(snapshot));
    let hub = Hub { unserved, ..Hub::new(journal.clone(), following) };
    let [http, admin, api] = listeners.addresses().context("could not tell the ports")?;
    let mut parts = Parts::default();
    let (last, lasting) = evhub_lifecycle::channel();
    listeners.serve(&hub, &drain, &lasting, &mut parts);
    parts.work("the workers", workers::run(hub.clone(), drain.clone()));
    info!(%http, %admin, %api, "listening");
    let lived = tokio::select! {
        biased;
        told = live(stage, demo::Addresses { http, api }, &hub, &drain) => told,
        error = broken(&mut parts, &journal, &drain) => Err(error),
    };
    if let Err(error) = &lived {
        error!(error = format!("{error:#}"), "the hub cannot go on");
        trigger.begin();
    }
    info!("stopping: finishing what is under way");
    parts.finish(GRACE, &last).await;
    journal.close();
    signals.abort();
    info!("stopped");
    lived?;
    if args.demo {
        demo::farewell(&args.data)?;
    }
    Ok(Exit::Success)
}

/// Tells what there is to tell, then waits for the drain.
async fn live(
    stage: Option<demo::Stage>,
    at: demo::Addresses,
    hub: &Hub<Embedded>,
    drain: &Drain,
) -> anyhow::Result<()> {
    tell(stage, at, hub, drain).await?;
    drain.begun().await;
    Ok(())
}

/// Waits until something ends that should not: a task, or the log's writer.
async fn broken(parts: &mut Parts, journal: &Embedded, drain: &Drain) -> anyhow::Error {
    let error = tokio::select! {
        error = parts.broken() => error,
        () = journal.ended() => anyhow::anyhow!("the log's writer ended unexpectedly"),
    };
    if drain.has_begun() {
        // Once the drain has begun, to end is right.
        pending::<()>().await;
    }
    error
}

fn open(args: &Args) -> anyhow::Result<Embedded> {
    if !args.dir.is_dir() {
        let got = if args.dir.exists() { "a file" } else { "nothing there" };
        let problem = format!(
            "{}: no such folder (got {got}, allowed a folder with manifests, as examples/quickstart)",
            args.dir.display()
        );
        return Err(Configuration(vec![problem]).into());
    }
    let options = embedded::Options::new(args.data.join("log"));
    Embedded::open(options).map_err(|error| {
        let hint = match &error {
            OpenError::Io { .. } => " (name a folder that may be written to, with --data)",
            OpenError::Unreadable { .. } => {
                " (restore it from a copy, or begin anew in another folder with --data)"
            }
            OpenError::InUse { .. } | OpenError::Format { .. } => "",
        };
        unusable_data(&error, hint)
    })
}

fn unusable_data(error: &(dyn std::error::Error + 'static), hint: &str) -> anyhow::Error {
    let causes = successors(Some(error), |error| error.source()).map(ToString::to_string);
    Configuration(vec![format!("--data: {}{hint}", causes.collect::<Vec<_>>().join(": "))]).into()
}

async fn stage(snapshot: &Snapshot) -> anyhow::Result<demo::Stage> {
    demo::Stage::set(snapshot).await.map_err(|demo::Unsuitable(problem)| Configuration(vec![problem]).into())
}

/// Compiles what the folder says, and makes durable who everything is. Also tells which Processors will not run.
fn snapshot(args: &Args) -> anyhow::Result<(Snapshot, Arc<[Unserved]>)> {
    let loaded = manifests::load(std::slice::from_ref(&args.dir))
        .map_err(|manifests::Unreadable { problems }| Configuration(problems))?;
    loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
    let mut identities = Identities::open(&args.data).map_err(|error| unusable_data(&error, ""))?;
    let mut objects = loaded.objects;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    identities.assign(&mut objects, now);
    let settings = Settings { prefix: "evhub".into(), egress: Egress::Loopback };
    let compiled = compile(&World { settings, objects });
    report(&compiled);
    if compiled.verdicts.is_empty() {
        warn!(dir = %args.dir.display(), "no Producer and no Processor there; nothing can be published");
    }
    identities.save(&compiled)?;
    let generation = Generation { epoch: identities.epoch(), revision: 1 };
    let unserved = unserved(&compiled);
    Ok((Snapshot { generation, ..compiled.snapshot }, unserved))
}

fn unserved(compiled: &Compiled) -> Arc<[Unserved]> {
    let mut all = BTreeMap::new();
    for verdict in compiled.verdicts.iter().filter(|verdict| verdict.kind == Some(Kind::Processor)) {
        let (Some(namespace), Some(name)) = (&verdict.namespace, &verdict.name) else { continue };
        let Some(finding) = verdict.findings.first() else { continue };
        let name = Name::new(namespace, name);
        // A second one of the same name is told of by its elder.
        if !compiled.snapshot.processors.contains_key(&name) {
            let (accepted, reason) = (verdict.accepted, finding.reason.to_string());
            all.entry(name.clone()).or_insert(Unserved { name, accepted, reason });
        }
    }
    all.into_values().collect()
}

fn report(compiled: &Compiled) {
    for verdict in &compiled.verdicts {
        for finding in &verdict.findings {
            error!(
                object = verdict
                    .namespace
                    .as_ref()
                    .zip(verdict.name.as_ref())
                    .map(|(ns, name)| format!("{ns}/{name}")),
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
async fn tell(
    stage: Option<demo::Stage>,
    at: demo::Addresses,
    hub: &Hub<Embedded>,
    drain: &Drain,
) -> anyhow::Result<()> {
    tokio::select! {
        () = drain.begun() => return Ok(()),
        () = listening(hub) => {}
    }
    match hub.waiting().as_slice() {
        [] => info!("ready: every accepted Processor listens"),
        waiting => {
            let waiting = waiting.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            warn!(waiting, "not ready: accepted Processors name what is not there; all others listen");
        }
    }
    match stage {
        Some(stage) => stage.play(at, drain.begun()).await,
        None => Ok(()),
    }
}

async fn listening(hub: &Hub<Embedded>) {
    let running = hub.running();
    while !running.processors.keys().all(|name| hub.board.of(name).listening.load(Relaxed)) {
        sleep(POLL).await;
    }
}

fn refused(error: &BindError) -> String {
    let BindError { address, flag, source } = error;
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => "stop what listens there, or name another address",
        io::ErrorKind::PermissionDenied => "ports below 1024 are the system's; name another",
        _ => "name an address of this machine",
    };
    format!("{flag}: could not listen on {address}: {source} ({hint} with {flag} HOST:PORT)")
}

/// The addresses that were asked for, taken.
struct Listeners {
    http: TcpListener,
    admin: TcpListener,
    api: TcpListener,
}

impl Listeners {
    async fn bind(args: &Args) -> anyhow::Result<Self> {
        let (http, admin, api) = tokio::join!(
            server::bind("--http", &args.http),
            server::bind("--admin", &args.admin),
            server::bind("--api", &args.api),
        );
        match (http, admin, api) {
            (Ok(http), Ok(admin), Ok(api)) => Ok(Self { http, admin, api }),
            (http, admin, api) => {
                let failed = [http.err(), admin.err(), api.err()].into_iter().flatten();
                Err(Configuration(failed.map(|error| refused(&error)).collect()).into())
            }
        }
    }

    /// Those of `--http`, `--admin` and `--api`, as they came to be.
    fn addresses(&self) -> io::Result<[SocketAddr; 3]> {
        Ok([self.http.local_addr()?, self.admin.local_addr()?, self.api.local_addr()?])
    }

    /// Serves all three until the drain begins; the admin listener until the last thing has ended.
    fn serve(self, hub: &Hub<Embedded>, drain: &Drain, lasting: &Drain, parts: &mut Parts) {
        let serve = |name, listener, router, until: &Drain| {
            server::serve(name, listener, router, Limits::default(), hub.meters.clone(), until.clone())
        };
        parts.listen("the listener of --http", serve("http", self.http, ingest::router(hub.clone()), drain));
        let admin = admin::router(hub.clone(), drain.clone());
        parts.listen("the listener of --admin", serve("admin", self.admin, admin, lasting));
        parts.listen("the listener of --api", serve("api", self.api, api::router(hub.clone()), drain));
    }
}
