//! `evhub dev`: a whole hub in one process, on an embedded log. From top to bottom the life of that process.

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use anyhow::Context as _;
use evhub_compile::{Apps, Egress, Settings};
use evhub_dataplane::{
    Hub, admin, api, grpc, ingest,
    server::{self, Limits},
    workers,
};
use evhub_journal::embedded::{self, Embedded};
use evhub_lifecycle::Drain;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    demo,
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
    let data = Data::of(&args)?;
    let journal = open(&args, data.path())?;
    let listeners = Listeners::bind(&args).await?;
    let settings = Settings { prefix: "evhub".into(), egress: Egress::Loopback, apps: Apps::Any };
    let identities = data.identities()?;
    let folder = Folder::open(args.dir.clone(), settings, identities, journal.clone()).await?;
    let (publish, following) = watch::channel(folder.current());
    let hub = Hub::new(journal.clone(), following);
    let addresses = listeners.addresses().context("could not tell the ports")?;
    let mut listening = listeners.serve(&hub, &drain);
    let workers = tokio::spawn(workers::run(hub.clone(), drain.clone()));
    let following = tokio::spawn(folder.follow(publish, drain.clone()));
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
    following.await.context("following the folder ended badly")?;
    journal.close();
    signals.abort();
    told.map(|()| Exit::Success)
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
        match self {
            Self::Kept(path) => Ok(Identities::open(path)?),
            Self::Memory(_) => Ok(Identities::in_memory()),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Memory(folder) => folder.path(),
        }
    }
}

fn open(args: &Args, data: &Path) -> anyhow::Result<Embedded> {
    if !args.dir.is_dir() {
        let problem =
            format!("{}: no such folder (got DIR, allowed a folder with manifests)", args.dir.display());
        return Err(Configuration(vec![problem]).into());
    }
    let options = embedded::Options::new(data.join("log"));
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

/// Once the hub is ready, tells the demo's story, or says that it is.
async fn tell(demo: bool, at: demo::Addresses, hub: &Hub<Embedded>, drain: &Drain) -> anyhow::Result<()> {
    tokio::select! {
        () = drain.begun() => return Ok(()),
        () = ready(hub) => info!("ready: every accepted Processor listens"),
    }
    if demo { demo::run(at, drain.begun()).await } else { Ok(()) }
}

async fn ready(hub: &Hub<Embedded>) {
    // What runs may change meanwhile.
    while !hub.running().processors.keys().all(|name| hub.board.of(name).listening.load(Relaxed)) {
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
