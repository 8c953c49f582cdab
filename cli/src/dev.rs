//! `evhub dev`: a whole hub in one process, on an embedded log. From top to bottom the life of that process.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use evhub_compile::{Apps, Egress, Log, Mapping, Secrets, Services, Settings};
use evhub_dataplane::{
    Hub,
    budget::Budget,
    process::{self, Addresses, Bound, Broken, Listeners, Process, address},
    schedules, timers, transactions, workers,
};
use evhub_journal::embedded::{self, Embedded, OpenError};
use evhub_lifecycle::Drain;
use evhub_routing::Snapshot;
use tokio::{sync::watch, task, time::sleep};
use tracing::{info, warn};

use crate::{
    demo,
    exit::{Configuration, Exit},
    identity,
    live::{self, Folder},
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
    /// How many shards the ledger of timers has; fixed from the first event with a delay on
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    shards: u32,
    /// Where a Service is that Processors deliver to, as shop/billing=127.0.0.1:8089; of one port alone,
    /// shop/billing:http=127.0.0.1:8089. May be given again and again
    #[arg(long, value_name = "NAMESPACE/NAME=HOST:PORT")]
    service: Vec<Mapping>,
    /// Play the quickstart's service, publish a few events, and tell what happens to them
    #[arg(long)]
    pub(crate) demo: bool,
}

/// How often a starting hub is asked whether it is ready.
const POLL: Duration = Duration::from_millis(10);

/// Runs until told to stop.
pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let mut process = Process::begin();
    // The manifests are read when the log is open, and need them then.
    task::spawn_blocking(evhub_crds::schema::prepare);
    live::check(&args.dir)?;
    let data = Data::of(&args)?;
    let budget = Budget::of_this_process();
    let journal = open(data.path(), &budget)?;
    let Args { http, grpc, admin, api, .. } = &args;
    let listeners = Listeners::bind(Addresses { http: Some(http), grpc: Some(grpc), admin, api }).await?;
    let settings = Settings {
        prefix: "evhub".into(),
        egress: Egress::Loopback,
        apps: Apps::Any,
        services: Services::Mapped(args.service.clone()),
        secrets: Secrets::None,
        log: Log::Embedded,
    };
    let identities = identity::of(data.path())?;
    let ledger = timers::ledger(journal.clone(), "evhub", args.shards);
    timers::check(&ledger).await?;
    let folder = Folder::open(args.dir.clone(), settings, identities, Some(journal.clone())).await?;
    let stage = if args.demo { Some(stage(&folder.current()).await?) } else { None };
    let (publish, following) = watch::channel(folder.current());
    let addresses = listeners.addresses().context("could not tell the ports")?;
    let hub = Hub {
        unserved: folder.unserved(),
        tracer: process.tracer(),
        door: budget.door(),
        room: budget.room(),
        ledger,
        // Publishers of half messages name addresses themselves, which nobody has compiled.
        egress: evhub_dataplane::egress::Egress::loopback(),
        tools: addresses.tools(),
        ..Hub::new(journal.clone(), following)
    };
    process.serve(listeners, &hub);
    let drain = process.drain.clone();
    process.parts.work("the workers", workers::run(hub.clone(), drain.clone()));
    process.parts.work("the ledger", timers::run(hub.clone(), drain.clone()));
    process.parts.work("the schedules", schedules::run(hub.clone(), drain.clone()));
    process.parts.work("the check-backs", transactions::run(hub.clone(), drain.clone()));
    let publish = move |snapshot| drop(publish.send_replace(snapshot));
    process.parts.work("following the folder", folder.follow(publish, drain.clone()));
    process::tell(&budget);
    addresses.tell(None);
    let ended = async {
        journal.ended().await;
        Broken::of("the log's writer")
    };
    let lived = process.live(told(stage, addresses, &hub, &drain), ended).await;
    journal.close();
    info!("stopped");
    lived?;
    if args.demo && !args.memory {
        demo::farewell(&args.data)?;
    }
    Ok(Exit::Success)
}

/// Tells what there is to tell, then waits for the drain.
async fn told(
    stage: Option<demo::Stage>,
    at: Bound,
    hub: &Hub<Embedded>,
    drain: &Drain,
) -> anyhow::Result<()> {
    tell(stage, at, hub, drain).await?;
    drain.begun().await;
    Ok(())
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

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Memory(folder) => folder.path(),
        }
    }
}

fn open(data: &Path, budget: &Budget) -> anyhow::Result<Embedded> {
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
        identity::unusable(&error, hint)
    })
}

async fn stage(snapshot: &Snapshot) -> anyhow::Result<demo::Stage> {
    demo::Stage::set(snapshot).await.map_err(|demo::Unsuitable(problem)| Configuration(vec![problem]).into())
}

/// Once the hub is ready, tells the demo's story, or says that it is.
async fn tell(
    stage: Option<demo::Stage>,
    at: Bound,
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
        Some(stage) => {
            let http = at.http.context("the demo publishes over HTTP")?;
            stage.play(demo::Addresses { http, api: at.api }, drain.begun()).await
        }
        None => Ok(()),
    }
}

async fn listening(hub: &Hub<Embedded>) {
    // What runs may change meanwhile.
    while !hub.silent().is_empty() {
        sleep(POLL).await;
    }
}
