//! `evhub dev`: a whole hub in one process, on an embedded log. From top to bottom the life of that process.

mod parts;

use std::{
    future::pending,
    io,
    iter::successors,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use evhub_compile::{Apps, Egress, Mapping, Services, Settings};
use evhub_dataplane::{
    Hub, admin, api,
    budget::Budget,
    grpc, ingest,
    server::{self, BindError, Limits},
    workers,
};
use evhub_journal::embedded::{self, Embedded, OpenError};
use evhub_lifecycle::Drain;
use evhub_routing::Snapshot;
use evhub_telemetry::Export;
use tokio::{net::TcpListener, runtime::Handle, sync::watch, task, time::sleep};
use tracing::{error, info, warn};

use self::parts::Parts;
use crate::{
    address, demo,
    exit::{Configuration, Exit},
    identity::Identities,
    live::Folder,
};

/// Run a whole hub in this process, on an embedded log
///
/// Reads the Producers and Processors of DIR, takes events, delivers them, and survives kill -9. An edit in DIR runs within
/// a second. A resource that is not accepted is left out, or runs on as it was accepted last, and said so; the others run.
/// The first SIGTERM or Ctrl-C lets what is under way finish; a second
/// one aborts.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Try:\n  evhub dev examples/quickstart --demo\n  evhub dev my/manifests --data /var/lib/evhub\n  evhub dev my/manifests --memory"
)]
pub(crate) struct Args {
    /// The folder with the manifests (*.yaml, *.yml, *.json)
    dir: PathBuf,
    /// Where the log and everything else that must survive is kept
    #[arg(long, default_value = "./.evhub", value_name = "DIR", conflicts_with = "memory")]
    data: PathBuf,
    /// Keep nothing on disk: the data lies in memory and ends with this process
    #[arg(long)]
    memory: bool,
    /// Where applications publish over HTTP
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT", value_parser = address::parse)]
    http: String,
    /// Where applications publish over gRPC
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "HOST:PORT", value_parser = address::parse)]
    grpc: String,
    /// Where /livez, /readyz, /metrics and /snapshot are
    #[arg(long, default_value = "127.0.0.1:8082", value_name = "HOST:PORT", value_parser = address::parse)]
    admin: String,
    /// Where tools ask; it takes events as well
    #[arg(long, default_value = "127.0.0.1:8083", value_name = "HOST:PORT", value_parser = address::parse)]
    api: String,
    /// Where a Service is that Processors deliver to, as shop/billing=127.0.0.1:8089; of one port alone,
    /// shop/billing:http=127.0.0.1:8089. May be given again and again
    #[arg(long, value_name = "NAMESPACE/NAME=HOST:PORT")]
    service: Vec<Mapping>,
    /// Play the quickstart's service, publish a few events, and tell what happens to them
    #[arg(long)]
    pub(crate) demo: bool,
}

/// How long a stop waits for attempts under way. Longer than the default time-out of an attempt, and within the grace
/// that Kubernetes gives a pod.
const GRACE: Duration = Duration::from_secs(25);
/// How long a stop waits for the collector of traces.
const LAST_SPANS: Duration = Duration::from_secs(2);
/// How often a starting hub is asked whether it is ready.
const POLL: Duration = Duration::from_millis(10);

/// Runs until told to stop.
pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let (trigger, drain) = evhub_lifecycle::channel();
    let signals = tokio::spawn(evhub_lifecycle::signals(trigger.clone()));
    let files = evhub_lifecycle::allow_open_files();
    // The manifests are read when the log is open, and need them then.
    task::spawn_blocking(evhub_crds::schema::prepare);
    let data = Data::of(&args)?;
    let budget = Budget::of_this_process();
    let journal = open(&args, data.path(), &budget)?;
    let listeners = Listeners::bind(&args).await?;
    let settings = Settings {
        prefix: "evhub".into(),
        egress: Egress::Loopback,
        apps: Apps::Any,
        services: Services::Mapped(args.service.clone()),
    };
    let identities = data.identities()?;
    let folder = Folder::open(args.dir.clone(), settings, identities, journal.clone()).await?;
    let stage = if args.demo { Some(stage(&folder.current()).await?) } else { None };
    let (publish, following) = watch::channel(folder.current());
    let export = traces();
    let tracer = export.tracer();
    let hub = Hub {
        unserved: folder.unserved(),
        tracer,
        door: budget.door(),
        room: budget.room(),
        ..Hub::new(journal.clone(), following)
    };
    let [http, grpc, admin, api] = listeners.addresses().context("could not tell the ports")?;
    let mut parts = Parts::default();
    let (last, lasting) = evhub_lifecycle::channel();
    listeners.serve(files, &hub, &drain, &lasting, &mut parts);
    parts.work("the workers", workers::run(hub.clone(), drain.clone()));
    parts.work("following the folder", folder.follow(publish, drain.clone()));
    let Budget { total, door, log, events, parked } = budget;
    info!(total, door, log, events, parked, "bytes of memory, and the shares of it");
    info!(%http, %grpc, %admin, %api, "listening");
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
    export.finish(LAST_SPANS).await;
    signals.abort();
    info!("stopped");
    lived?;
    if args.demo && !args.memory {
        demo::farewell(&args.data)?;
    }
    Ok(Exit::Success)
}

/// Whoever is to be told of traces, by the variables of OpenTelemetry.
fn traces() -> Export {
    let (export, warnings) = Export::from_env(Handle::current());
    for warning in warnings {
        warn!(warning, "a variable of OpenTelemetry is not obeyed");
    }
    export
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

/// Where everything is kept that outlives a request.
enum Data {
    /// It survives this process.
    Kept(PathBuf),
    /// It does not.
    Memory(tempfile::TempDir),
}

/// A file system in memory, on every Linux.
const MEMORY: &str = "/dev/shm";

impl Data {
    fn of(args: &Args) -> anyhow::Result<Self> {
        if !args.memory {
            return Ok(Self::Kept(args.data.clone()));
        }
        let folder = tempfile::Builder::new().prefix("evhub-").tempdir_in(MEMORY);
        folder.map(Self::Memory).map_err(|error| {
            let problem = format!("--memory: cannot make a folder in {MEMORY} ({error}); use --data instead");
            Configuration(vec![problem]).into()
        })
    }

    fn identities(&self) -> anyhow::Result<Identities> {
        Identities::open(self.path()).map_err(|error| unusable_data(&error, ""))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Memory(folder) => folder.path(),
        }
    }
}

fn open(args: &Args, data: &Path, budget: &Budget) -> anyhow::Result<Embedded> {
    if !args.dir.is_dir() {
        let got = if args.dir.exists() { "a file" } else { "nothing there" };
        let problem = format!(
            "{}: no such folder (got {got}, allowed a folder with manifests, as examples/quickstart)",
            args.dir.display()
        );
        return Err(Configuration(vec![problem]).into());
    }
    let usual = embedded::Options::new(data.join("log"));
    let options = embedded::Options { max_waiting_bytes: budget.log, ..usual };
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
    // What runs may change meanwhile.
    while !hub.silent().is_empty() {
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
                Err(Configuration(failed.map(|error| refused(&error)).collect()).into())
            }
        }
    }

    /// Those of `--http`, `--grpc`, `--admin` and `--api`, as they came to be.
    fn addresses(&self) -> io::Result<[SocketAddr; 4]> {
        Ok([
            self.http.local_addr()?,
            self.grpc.local_addr()?,
            self.admin.local_addr()?,
            self.api.local_addr()?,
        ])
    }

    /// Serves all four until the drain begins; the admin listener until the last thing has ended.
    fn serve(self, files: u64, hub: &Hub<Embedded>, drain: &Drain, lasting: &Drain, parts: &mut Parts) {
        let limits = Limits::default().within(files);
        let serve = |name, listener, router, until: &Drain| {
            server::serve(name, listener, router, limits, hub.meters.clone(), until.clone())
        };
        parts.listen("the listener of --http", serve("http", self.http, ingest::router(hub.clone()), drain));
        let limits = grpc::Limits::default().within(files);
        let grpc = grpc::serve("grpc", self.grpc, hub.clone(), limits, drain.clone());
        parts.listen("the listener of --grpc", grpc);
        let admin = admin::router(hub.clone(), drain.clone());
        parts.listen("the listener of --admin", serve("admin", self.admin, admin, lasting));
        let api = api::router(hub.clone());
        let is_here = self.api.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let api = if is_here { api::local(api) } else { api };
        parts.listen("the listener of --api", serve("api", self.api, api, drain));
    }
}
