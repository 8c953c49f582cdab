//! One of twenty targets hangs, fails, is slow, or never ends its answers; the nineteen others are served as before.

use std::{io::Write as _, time::Duration};

use anyhow::Result;
use evhub_e2e::{
    check::{
        self,
        gate::{Figures, Gate},
    },
    history::{Fault, Rec},
    model::{Model, Order},
    plan::Plan,
    run::{Run, Scenario},
    script::Mode,
};
use tokio::time::sleep;

use crate::in_turn;

/// How long each time of calm and of trouble lasts.
const TURN: Duration = Duration::from_secs(4);

#[test]
fn e2e_isolation() -> Result<()> {
    let mut scenario = Scenario::new("e2e_isolation");
    // Long enough that a machine without time for the hub is not taken for a target without an answer.
    let timeout = Duration::from_secs(10);
    // Far more than they need, and far fewer than the one in trouble may have under way: if room were shared, it would show.
    let max_in_flight = 8;
    let steady = |n| Plan { timeout, max_in_flight, ..Plan::new(&format!("steady{n}"), &[(Mode::Fine, 1)]) };
    let steady = (0..19).map(steady);
    let troubled = Plan { order: Order::None, ..Plan::new("troubled", &[(Mode::Fine, 1)]) };
    scenario.processors = std::iter::once(troubled).chain(steady).collect();
    scenario.load.clients = 4;
    scenario.load.rest = Duration::from_millis(60);
    scenario.gate =
        Gate { acked: 250, unknown: 0, changes: 0, repeats: 0, recovered: 1, dead: 0, faults: 4, at_once: 0 };
    in_turn(by_turns(scenario))?;
    Ok(())
}

async fn by_turns(scenario: Scenario) -> Result<Figures> {
    let (run, hub) = Run::set_up(scenario).await?;
    let clients = run.clients();
    for mode in [Mode::Stuck, Mode::Broken, Mode::Late, Mode::Endless] {
        sleep(TURN).await;
        let (from, before) = (run.recorder.now(), run.targets[0].faulted());
        run.targets[0].turn(Some(mode));
        sleep(TURN).await;
        run.targets[0].turn(None);
        let fault = Fault::Trouble("shop/troubled".to_owned());
        let effect = run.targets[0].faulted() - before;
        run.recorder.push_at(from, Rec::Fault { fault, until: run.recorder.now(), effect });
    }
    sleep(TURN).await;
    clients.stop().await;
    let recorder = run.recorder.clone();
    let processors = run.scenario.processors.iter().map(Plan::model).collect();
    let figures = run.conclude(hub).await?;
    let model = Model { processors, ..Model::default() };
    let told = check::isolation(&recorder.history(), &model).map_err(anyhow::Error::msg)?;
    std::io::stderr().write_all(format!("e2e_isolation: {told}\n").as_bytes())?;
    Ok(figures)
}
