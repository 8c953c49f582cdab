//! The dataplane on Kafka: takes events, delivers them, and follows whoever says what to run. From top to bottom the life of
//! that process.
//!
//! - [`args`]: the command line, checked

mod args;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use evhub_dataplane::{
    Hub,
    budget::Budget,
    exchange::Exchange,
    follow::{self, Follow},
    process::{self, Addresses, Broken, Listeners, Process, address::advertised},
    schedules, timers, transactions, workers,
};
use evhub_kafka::{Connection, Kafka};
use evhub_lifecycle::{
    alone,
    exit::{self, Configuration, Exit},
};
use tokio::runtime::Runtime;
use tracing::info;

use self::args::{Args, Roles};

/// No broker can be reached, or none lets this process in; exits 69.
#[derive(Debug, thiserror::Error)]
#[error("no broker of {0} can be used")]
struct Unreachable(String);

/// How long the end waits for what still asks brokers.
const LAST: Duration = Duration::from_secs(1);

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
        // Whoever still waits for a broker that is away waits for nothing that matters.
        runtime.shutdown_timeout(LAST);
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
    let mut process = Process::begin();
    let checked = args.check()?;
    let (roles, prefix, data) = (checked.roles, checked.prefix, checked.data);
    let _alone = alone(&data)?;
    let listeners = Listeners::bind(Addresses {
        http: roles.ingest.then_some(checked.http.as_str()),
        // Whoever leads a shard of the ledger is asked there what it decided.
        grpc: (roles.ingest || roles.ledger).then_some(checked.grpc.as_str()),
        admin: &checked.admin,
        api: &checked.api,
    })
    .await?;
    let data_problem = |error: follow::Unkept| Configuration(vec![format!("--data: {}", exit::line(&error))]);
    let replica = follow::replica(&data).map_err(data_problem)?;
    let settings = follow::Settings {
        control: checked.control,
        control_tls: checked.control_tls,
        replica: replica.clone(),
        data,
        prefix: prefix.clone(),
    };
    let follow = Follow::begin(settings).map_err(data_problem)?;
    let budget = Budget::of_this_process();
    let kafka = connect(checked.kafka).await?;
    let addresses = listeners.addresses().context("could not tell the ports")?;
    let address = checked.advertise.or_else(|| addresses.grpc.map(advertised)).unwrap_or_default();
    let ledger = timers::shared(kafka.clone(), &prefix, checked.shards, address);
    timers::check(&ledger).await?;
    let hub = Hub {
        following: Some(follow.status()),
        dispatches: roles.dispatch,
        egress: checked.egress,
        tools: addresses.tools(),
        tracer: process.tracer(),
        door: budget.door(),
        room: budget.room(),
        exchange: Exchange::on(kafka.clone(), &prefix),
        ledger,
        ..Hub::new(kafka, follow.snapshots())
    };
    process.serve(listeners, &hub);
    let drain = process.drain.clone();
    work(&mut process, roles, &hub);
    process.parts.work("following control", follow.run(hub, drain.clone()));
    process::tell(&budget);
    addresses.tell(Some(&replica));
    // Kafka's clients end with the process alone, and go on whatever befalls the brokers.
    let log = std::future::pending::<Broken>();
    let life = async {
        drain.begun().await;
        Ok::<(), anyhow::Error>(())
    };
    process.live(life, log).await?;
    info!("stopped");
    Ok(())
}

/// What the roles are for, until the drain.
fn work(process: &mut Process, roles: Roles, hub: &Hub<Kafka>) {
    let drain = &process.drain;
    if roles.dispatch {
        process.parts.work("the workers", workers::run(hub.clone(), drain.clone()));
    }
    if roles.ledger {
        process.parts.work("the ledger", timers::run(hub.clone(), drain.clone()));
        process.parts.work("the schedules", schedules::run(hub.clone(), drain.clone()));
        process.parts.work("the check-backs", transactions::run(hub.clone(), drain.clone()));
    }
}

async fn connect(connection: Connection) -> anyhow::Result<Kafka> {
    let bootstrap = connection.bootstrap.clone();
    let kafka = Kafka::connect(connection).await;
    kafka.map_err(|error| anyhow::Error::new(error).context(Unreachable(bootstrap)))
}
