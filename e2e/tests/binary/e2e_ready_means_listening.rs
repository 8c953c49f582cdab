//! Processors come and go; whatever is published right after one was seen ready reaches it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use evhub_e2e::{
    check::gate::{Figures, Gate},
    history::Rec,
    model::Start,
    plan::{Plan, manifests},
    publisher::{Clients, Load},
    run::{Run, Scenario},
    script::{Mode, Script},
    target::Target,
};
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::in_turn;

/// How often Processors come and go, and how many at once.
const ROUNDS: usize = 12;
const AT_ONCE: usize = 16;
/// How long one may take to come or go.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(10);

#[test]
fn e2e_ready_means_listening() -> Result<()> {
    let mut scenario = Scenario::new("e2e_ready_means_listening");
    scenario.processors = vec![Plan::new("standing", &[(Mode::Fine, 1)])];
    let acked = ROUNDS * AT_ONCE;
    scenario.gate =
        Gate { acked, unknown: 0, changes: 0, repeats: 0, recovered: 0, dead: 0, faults: 0, at_once: 0 };
    let figures = in_turn(coming_and_going(scenario))?;
    assert!(figures.attempts > 2 * acked, "only {} attempts", figures.attempts);
    Ok(())
}

async fn coming_and_going(scenario: Scenario) -> Result<Figures> {
    let (mut run, hub) = Run::set_up(scenario).await?;
    let any = Target::start("", Script::new(&[(Mode::Fine, 1)], 0), run.recorder.clone()).await?;
    let standing = run.scenario.processors.clone();
    for round in 0..ROUNDS {
        let passing = (0..AT_ONCE).map(|n| Plan {
            start: Start::Ready,
            timeout: Duration::from_secs(5),
            ..Plan::new(&format!("passing{round}-{n}"), &[(Mode::Fine, 1)])
        });
        let passing: Vec<Plan> = passing.collect();
        let all = standing.iter().map(|plan| (plan, run.targets[0].port));
        run.site.write(&manifests(None, all.chain(passing.iter().map(|plan| (plan, any.port)))))?;
        let visits =
            passing.iter().enumerate().map(|(n, plan)| visit(&run, plan, (round * AT_ONCE + n) as u64));
        for visited in join_all(visits).await {
            visited?;
        }
        for plan in &passing {
            let quiet =
                run.reader().until(&plan.full_name(), PATIENCE, |status| status.pending() == 0).await?;
            ensure!(quiet.is_ok(), "{} is left with {quiet:?}", plan.name);
        }
        run.apply()?;
        for plan in &passing {
            gone(&run, plan).await?;
        }
        run.passing.extend(passing);
    }
    run.conclude(hub).await
}

/// Waits until the Processor is ready, and publishes at once.
async fn visit(run: &Run, plan: &Plan, number: u64) -> Result<()> {
    let since = Instant::now();
    let (name, reader) = (plan.full_name(), run.reader());
    while reader.is_gone(&name).await? || reader.ready(&name).await?.is_none() {
        ensure!(since.elapsed() < PATIENCE, "{name} is not ready after {PATIENCE:?}");
        sleep(LOOK).await;
    }
    let load =
        Load { clients: 1, rest: Duration::ZERO, numbers: number..number + 1, ..run.scenario.load.clone() };
    Clients::start(&load, &[run.site.ports.http], run.scenario.seed, &run.recorder).finish().await;
    Ok(())
}

async fn gone(run: &Run, plan: &Plan) -> Result<()> {
    let since = Instant::now();
    while !run.reader().is_gone(&plan.full_name()).await? {
        ensure!(since.elapsed() < PATIENCE, "{} is not gone after {PATIENCE:?}", plan.name);
        sleep(LOOK).await;
    }
    run.recorder.push(Rec::Gone { processor: plan.full_name() });
    Ok(())
}
