//! SIGSTOP for longer than any attempt may take, then SIGCONT; and a kill now and then.

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
fn e2e_pause() -> Result<()> {
    let mut scenario = Scenario::new("e2e_pause");
    scenario.processors = vec![Plan::new("billing", &Mode::MIXED)];
    let kinds = [Kind::Pause, Kind::Pause, Kind::Kill];
    scenario.blows = schedule(scenario.seed, &kinds, 9, (600, 1500), (200, 2200));
    scenario.gate = Gate {
        acked: 300,
        unknown: 0,
        changes: 3,
        repeats: 1,
        recovered: 10,
        dead: 3,
        faults: 22,
        at_once: 0,
    };
    in_turn(scenario.run())?;
    Ok(())
}
