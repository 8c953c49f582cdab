//! `kill -9`, again and again, under load, while targets fail, hang, flap and answer nonsense.

use anyhow::Result;
use evhub_e2e::{
    check::gate::Gate,
    model::Order,
    nemesis::{Kind, schedule},
    plan::Plan,
    run::Scenario,
    script::Mode,
};

use crate::in_turn;

#[test]
fn e2e_kill() -> Result<()> {
    let mut scenario = Scenario::new("e2e_kill");
    scenario.processors = vec![
        Plan::new("billing", &Mode::MIXED),
        Plan { order: Order::None, ..Plan::new("audit", &Mode::MIXED) },
    ];
    scenario.blows =
        schedule(scenario.seed, &[Kind::Kill, Kind::Kill, Kind::KillAtBirth], 9, (400, 1600), (0, 400));
    scenario.gate = Gate {
        acked: 300,
        unknown: 1,
        changes: 16,
        repeats: 5,
        recovered: 10,
        dead: 3,
        faults: 37,
        at_once: 0,
    };
    in_turn(scenario.run())?;
    Ok(())
}
