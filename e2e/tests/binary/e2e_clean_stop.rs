//! SIGTERM under load: nothing that a target answered is sent again.

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
fn e2e_clean_stop() -> Result<()> {
    let mut scenario = Scenario::new("e2e_clean_stop");
    let modes =
        [(Mode::Fine, 40), (Mode::Slow, 40), (Mode::Half, 8), (Mode::Unavailable, 6), (Mode::Refuses, 6)];
    scenario.processors = vec![Plan::new("billing", &modes)];
    scenario.blows = schedule(scenario.seed, &[Kind::CleanStop], 4, (500, 1500), (0, 200));
    scenario.gate = Gate {
        acked: 200,
        unknown: 0,
        changes: 5,
        repeats: 0,
        recovered: 10,
        dead: 3,
        faults: 9,
        at_once: 0,
    };
    let figures = in_turn(scenario.run())?;
    assert_eq!(figures.repeats, 0, "a clean stop repeats nothing");
    Ok(())
}
