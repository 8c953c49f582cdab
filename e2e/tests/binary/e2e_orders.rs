//! All four orders side by side, under kills, while targets fail: each keeps what it says.

use std::time::Duration;

use anyhow::Result;
use evhub_e2e::{
    check::gate::Gate,
    model::{Order, Retry},
    nemesis::{Kind, schedule},
    plan::Plan,
    run::Scenario,
    script::Mode,
};

use crate::in_turn;

#[test]
fn e2e_orders() -> Result<()> {
    let mut scenario = Scenario::new("e2e_orders");
    let modes =
        [(Mode::Fine, 78), (Mode::Slow, 6), (Mode::Half, 6), (Mode::Unavailable, 4), (Mode::Hangs, 3)];
    let retry =
        Retry { initial: Duration::from_millis(50), max: Duration::from_millis(100), ..Retry::default() };
    let timeout = Duration::from_millis(500);
    let plan = |name, order| Plan { order, retry, timeout, ..Plan::new(name, &modes) };
    scenario.processors = vec![
        plan("none", Order::None),
        plan("key", Order::Key),
        plan("first", Order::KeyFirstAttempt),
        plan("partition", Order::Partition),
    ];
    scenario.load.keys = 12;
    scenario.load.rest = Duration::from_millis(80);
    scenario.blows = schedule(scenario.seed, &[Kind::Kill, Kind::KillAtBirth], 4, (800, 1800), (0, 200));
    scenario.gate = Gate {
        acked: 150,
        unknown: 0,
        changes: 16,
        repeats: 3,
        recovered: 40,
        dead: 0,
        faults: 15,
        at_once: 0,
    };
    in_turn(scenario.run())?;
    Ok(())
}
