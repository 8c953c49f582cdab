//! The operator's process, from top to bottom its life: settings, an API server, a Lease, and then leading, again and again
//! until it is told to stop.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use evhub_control::{Control, Security};
use evhub_lease::{Lease, Released, Timing};
use evhub_lifecycle::{
    Drain,
    exit::{self, Configuration, Exit},
};
use evhub_operator::{
    admin::{self, Admin},
    args::{Args, Checked, GRACE},
    certificates,
    lead::{self, Context},
    meters::Meters,
};
use kube_client::{Client, Config};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// No API server can be used; exits 69.
#[derive(Debug, thiserror::Error)]
#[error("no API server can be used")]
struct Unreachable;

/// How long an API server may take to answer for the first time.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is asked.
const AGAIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nobody is left to tell when this cannot be written.
            let _ = error.print();
            return code(if error.use_stderr() { Exit::Usage } else { Exit::Success });
        }
    };
    evhub_telemetry::logging::init(false);
    let ran = Runtime::new().context("could not start").and_then(|runtime| {
        let ran = runtime.block_on(run(args));
        runtime.shutdown_timeout(Duration::from_secs(1));
        ran
    });
    match ran {
        Ok(()) => code(Exit::Success),
        Err(error) => {
            eprint!("{}", exit::explain(error.as_ref()));
            code(if error.is::<Configuration>() {
                Exit::Configuration
            } else if error.is::<Unreachable>() {
                Exit::Unreachable
            } else {
                Exit::Failed
            })
        }
    }
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

/// Runs until told to stop.
async fn run(args: Args) -> anyhow::Result<()> {
    let checked = args.check()?;
    let (trigger, drain) = evhub_lifecycle::channel();
    tokio::spawn(evhub_lifecycle::signals(trigger.clone()));
    let admin_at = bind("--admin", &checked.admin).await?;
    // Taken again when it leads; that it can be had is to be known at once.
    drop(bind("--listen", &checked.listen).await?);
    let meters = Arc::new(Meters::default());
    let (ready, is_ready) = watch::channel(false);
    info!(admin = %admin_at.local_addr().context("could not tell the port")?, "listening");
    let serving = Admin { meters: Arc::clone(&meters), ready: is_ready };
    let serving = tokio::spawn(admin::serve(admin_at, serving, drain.begun()));
    let (client, namespace) = tokio::select! {
        () = drain.begun() => return Ok(()),
        connected = connect() => connected?,
    };
    let Checked {
        settings,
        namespaces,
        relist,
        publish,
        lease_namespace,
        lease,
        listen,
        security,
        making,
        ..
    } = checked;
    let me = format!("{}_{:08x}", hostname(), fastrand::u32(..));
    let context =
        Context { client: client.clone(), settings, namespaces, publish, relist, me: me.clone(), meters };
    let namespace = lease_namespace.unwrap_or(namespace);
    if let Some(making) = making {
        tokio::select! {
            () = drain.begun() => return Ok(()),
            () = certificates::make(&client, &namespace, &making) => {}
        }
        tokio::spawn(certificates::renew(client.clone(), namespace.clone(), making));
    }
    ready.send_replace(true);
    let mut lease = Lease::new(client, &namespace, &lease, me, Timing::USUAL);
    let lived = live(&context, &mut lease, (&listen, &security), &drain).await;
    ready.send_replace(false);
    trigger.begin();
    if timeout(GRACE, serving).await.is_err() {
        warn!("whoever watches over this process is still connected, and is cut off");
    }
    info!("stopped");
    lived
}

/// Waits to lead, leads, and waits again.
async fn live(
    context: &Context,
    lease: &mut Lease,
    (listen, security): (&str, &Security),
    drain: &Drain,
) -> anyhow::Result<()> {
    while !drain.has_begun() {
        let held = tokio::select! {
            () = drain.begun() => return Ok(()),
            held = lease.acquire() => held,
        };
        context.meters.leads.set(1);
        let (control, transitions) = (Control::default(), held.transitions());
        let (seen, raise) = watch::channel(0);
        let (trigger, ends) = evhub_lifecycle::channel();
        let listener = bind("--listen", listen).await?;
        info!(listen = %listener.local_addr().context("could not tell the port")?, "serving the control stream");
        let mut serving =
            tokio::spawn(evhub_control::serve(listener, security.clone(), control.clone(), ends));
        let stopped = drain.begun();
        let led = tokio::select! {
            released = held.keep(stopped, raise) => Ok(released),
            led = lead::lead(context.clone(), control, transitions, seen) => led.map(|()| Released::Given),
            served = &mut serving => Err(match served {
                Ok(Ok(())) => anyhow::anyhow!("the listener ended unexpectedly"),
                Ok(Err(error)) => error.into(),
                Err(error) => error.into(),
            }),
        };
        context.meters.leads.set(0);
        trigger.begin();
        if timeout(GRACE, &mut serving).await.is_err() {
            serving.abort();
        }
        match led {
            Ok(Released::Given | Released::Lost) => {}
            Err(error) => {
                error!(error = format!("{error:#}"), "cannot lead on");
                return Err(error);
            }
        }
    }
    Ok(())
}

/// An API server that answers, and the namespace that we are in.
async fn connect() -> anyhow::Result<(Client, String)> {
    let config = Config::infer().await.context(Unreachable)?;
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config).context(Unreachable)?;
    let mut trouble = None;
    let answered = async {
        while let Err(error) = client.apiserver_version().await {
            let why = exit::line(&error);
            if trouble.as_ref() != Some(&why) {
                warn!(why, "the API server cannot be used yet");
                trouble = Some(why);
            }
            sleep(AGAIN).await;
        }
    };
    let answered = timeout(PATIENCE, answered).await;
    answered.map_err(|_| {
        anyhow::anyhow!("{}", trouble.unwrap_or_else(|| "it does not answer".to_owned())).context(Unreachable)
    })?;
    Ok((client, namespace))
}

async fn bind(flag: &str, address: &str) -> Result<TcpListener, Configuration> {
    let problem = |error| Configuration(vec![format!("{flag}: could not listen on {address} ({error})")]);
    TcpListener::bind(address).await.map_err(problem)
}

/// What this machine, or pod, is called.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String =
        name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(63).collect();
    if name.is_empty() { "operator".to_owned() } else { name }
}
