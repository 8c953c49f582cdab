//! `kill -9` while a few hot keys have more waiting than a lane holds, so that most of it is parked behind a failure.

use std::time::Duration;

use anyhow::Result;
use evhub_e2e::{
    check::gate::Gate,
    nemesis::{Kind, schedule},
    plan::Plan,
    run::Scenario,
    script::Mode,
};

use crate::in_turn;

#[test]
fn e2e_hot_keys() -> Result<()> {
    let mut scenario = Scenario::new("e2e_hot_keys");
    let modes = [(Mode::Fine, 94), (Mode::Unavailable, 3), (Mode::Missing, 2), (Mode::Refuses, 1)];
    scenario.processors = vec![Plan::new("billing", &modes)];
    scenario.load.keys = 5;
    scenario.load.clients = 8;
    scenario.load.rest = Duration::from_millis(8);
    scenario.load.numbers = 0..250;
    scenario.blows = schedule(scenario.seed, &[Kind::Kill, Kind::KillAtBirth], 6, (300, 900), (0, 100));
    scenario.gate = Gate {
        acked: 300,
        unknown: 1,
        changes: 6,
        repeats: 5,
        recovered: 10,
        dead: 3,
        faults: 12,
        at_once: 0,
    };
    in_turn(scenario.run())?;
    Ok(())
}
