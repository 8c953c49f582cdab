//! `evhub control`: serves the control stream from a folder, to dataplanes that run elsewhere. From top to bottom the life of
//! that process.

mod telling;

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use evhub_compile::{Apps, Egress, Grant, Log, Mapping, Secrets, Services, Settings};
use evhub_control::{Control, Security};
use evhub_dataplane::{process::address, server};
use evhub_lifecycle::Drain;
use tokio::{task, task::JoinHandle, time::timeout};
use tracing::{error, info, warn};

use crate::{
    exit::{Configuration, Exit},
    identity,
    live::{self, Folder},
};

/// Serve what the manifests of a folder say to evhub-dataplane processes
///
/// Reads the Producers and Processors of DIR as `evhub dev` does, and tells every dataplane that follows: all of it first, then
/// what changes, as soon as it does. Says which dataplane runs what. Dataplanes go on without this process, restarts
/// included. There is neither a password nor encryption on this stream, and it tells what targets are sent, credentials
/// included: let nobody but dataplanes reach it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Try:\n  evhub control examples/quickstart --service shop/billing=127.0.0.1:8089\n  evhub-dataplane --kafka localhost:9092 --control http://127.0.0.1:8084 --egress-allow 127.0.0.1"
)]
pub(crate) struct Args {
    /// The folder with the manifests (*.yaml, *.yml, *.json)
    dir: PathBuf,
    /// Where dataplanes follow
    #[arg(long, default_value = "127.0.0.1:8084", value_name = "HOST:PORT", value_parser = address::parse)]
    listen: String,
    /// Where is kept who the resources are, and how often this was started; without it every dataplane would take them for
    /// others
    #[arg(long, default_value = "./.evhub-control", value_name = "DIR")]
    data: PathBuf,
    /// What heads every topic and group; the dataplanes' own --prefix must be the same
    #[arg(long, default_value = "evhub", value_name = "NAME")]
    prefix: String,
    /// Where a Service is that Processors deliver to, as shop/billing=127.0.0.1:8089; of one port alone,
    /// shop/billing:http=127.0.0.1:8089. May be given again and again
    #[arg(long, value_name = "NAMESPACE/NAME=HOST:PORT")]
    service: Vec<Mapping>,
    /// Topics of their own that the Producers of a namespace may bring, as shop=shop.orders or shop=shop.*. May be given again and
    /// again
    #[arg(long, value_name = "NAMESPACE=TOPIC")]
    allow_topics: Vec<Grant>,
}

/// How long a stop waits for the listener.
const GRACE: Duration = Duration::from_secs(5);

/// Runs until told to stop.
pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let Args { dir, listen, data, prefix, service, allow_topics } = args;
    let (trigger, drain) = evhub_lifecycle::channel();
    let signals = tokio::spawn(evhub_lifecycle::signals(trigger.clone()));
    task::spawn_blocking(evhub_crds::schema::prepare);
    live::check(&dir)?;
    // Nobody else may count its starts, or say who its resources are.
    let _alone = evhub_lifecycle::alone(&data)?;
    let listener = server::bind("--listen", &listen).await;
    let listener = listener.map_err(|error| Configuration(vec![error.problem()]))?;
    let settings = Settings {
        prefix,
        egress: Egress::Anywhere,
        apps: Apps::Any,
        services: Services::Mapped(service),
        secrets: Secrets::None,
        log: Log::Kafka(allow_topics),
    };
    let folder = Folder::open(dir, settings, identity::of(&data)?, None).await?;
    let control = Control::default();
    control.publish(folder.current());
    info!(listen = %listener.local_addr().context("could not tell the port")?, "serving the control stream");
    let serving =
        tokio::spawn(evhub_control::serve(listener, Security::Open, control.clone(), drain.clone()));
    let rollout = tokio::spawn(telling::rollout(control.clone(), drain.clone()));
    let publish = move |snapshot| control.publish(snapshot);
    let following = tokio::spawn(folder.follow(publish, drain.clone()));
    let lived = live(serving, following, &drain).await;
    if let Err(error) = &lived {
        error!(error = format!("{error:#}"), "the control stream cannot go on");
        trigger.begin();
    }
    rollout.abort();
    signals.abort();
    info!("stopped");
    lived.map(|()| Exit::Success)
}

/// Waits for the drain, or for what should not end before; then for the listener, for a moment.
async fn live(
    mut serving: JoinHandle<Result<(), evhub_control::serve::Error>>,
    following: JoinHandle<()>,
    drain: &Drain,
) -> anyhow::Result<()> {
    tokio::select! {
        () = drain.begun() => {}
        served = &mut serving => {
            served.context("the listener failed")??;
            anyhow::ensure!(drain.has_begun(), "the listener ended unexpectedly");
            return Ok(());
        }
        followed = following => {
            followed.context("following the folder failed")?;
            anyhow::ensure!(drain.has_begun(), "following the folder ended unexpectedly");
        }
    }
    if timeout(GRACE, &mut serving).await.is_err() {
        warn!("dataplanes are still connected; they are cut off");
        serving.abort();
    }
    Ok(())
}
