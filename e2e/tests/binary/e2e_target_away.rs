//! A target goes away and comes back, again and again, as in a rolling restart: nothing is lost, and nothing is given up.

use std::time::Duration;

use anyhow::Result;
use evhub_e2e::{
    check::gate::{Figures, Gate},
    model::Retry,
    plan::Plan,
    run::{Run, Scenario},
    script::Mode,
};
use tokio::time::sleep;

use crate::in_turn;

#[test]
fn e2e_target_away() -> Result<()> {
    let mut scenario = Scenario::new("e2e_target_away");
    let modes = [(Mode::Fine, 70), (Mode::Slow, 25), (Mode::Late, 5)];
    scenario.processors =
        vec![Plan { retry: Retry { max_attempts: 50, ..Retry::default() }, ..Plan::new("billing", &modes) }];
    scenario.gate = Gate {
        acked: 150,
        unknown: 0,
        changes: 0,
        repeats: 0,
        recovered: 50,
        dead: 0,
        faults: 5,
        at_once: 0,
    };
    let figures = in_turn(restarted(scenario))?;
    assert_eq!(figures.dead, 0, "a target that is away for a moment is no reason to give an event up");
    Ok(())
}

async fn restarted(scenario: Scenario) -> Result<Figures> {
    let (mut run, hub) = Run::set_up(scenario).await?;
    let clients = run.clients();
    run.warm(50).await?;
    for away in [100, 1500, 700] {
        run.targets[0].leave(Duration::from_millis(away)).await?;
        sleep(Duration::from_millis(1500)).await;
    }
    clients.stop().await;
    run.conclude(hub).await
}
