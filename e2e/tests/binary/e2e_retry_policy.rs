//! Every way for a target to fail, to be late and to ask for time: as many attempts as the policy allows, each in its time,
//! whoever makes it.

use std::time::Duration;

use anyhow::Result;
use evhub_e2e::{
    check::gate::Gate,
    model::{Growth, Order, Retry},
    nemesis::{Kind, schedule},
    plan::Plan,
    run::Scenario,
    script::Mode,
};

use crate::in_turn;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn e2e_retry_policy() -> Result<()> {
    let mut scenario = Scenario::new("e2e_retry_policy");
    // Now and then so many fail one after the other that the breaker opens: for a second, and until a probe succeeds.
    let retry = Retry { asked: ms(2000), prompt: Some(ms(4000)), ..Retry::default() };
    let linear = Retry { growth: Growth::Linear, initial: ms(150), max: ms(400), jitter: 10, ..retry };
    let fixed = Retry { growth: Growth::Fixed, initial: ms(250), max: ms(250), jitter: 0, ..retry };
    let aged = Retry { max_attempts: 50, max_age: ms(2000), ..fixed };
    let plan = |name, order, retry| Plan { order, retry, ..Plan::new(name, &Mode::TRYING) };
    scenario.processors = vec![
        plan("doubled", Order::Key, retry),
        plan("linear", Order::None, linear),
        plan("fixed", Order::KeyFirstAttempt, fixed),
        plan("aged", Order::None, aged),
    ];
    scenario.load.rest = ms(60);
    scenario.blows = schedule(scenario.seed, &[Kind::Kill], 3, (2500, 4000), (0, 200));
    scenario.gate = Gate {
        acked: 200,
        unknown: 0,
        changes: 4,
        repeats: 1,
        recovered: 100,
        dead: 20,
        faults: 60,
        at_once: 0,
    };
    in_turn(scenario.run())?;
    Ok(())
}
