//! One Processor's target hangs and fails; the other's deliveries do not notice.

use std::{collections::HashMap, time::Duration};

use anyhow::Result;
use evhub_e2e::{
    check::gate::Gate,
    history::{History, Mono, Rec},
    run::{Plan, Run, Scenario},
    script::Mode,
};
use tokio::time::sleep;

use crate::in_turn;

/// The limit for 99 of 100: generous, because the machine is shared, and far below the time-outs next door.
const LIMIT: Duration = Duration::from_millis(500);

#[test]
fn e2e_two_processors_isolation() -> Result<()> {
    let mut scenario = Scenario::new("e2e_two_processors_isolation");
    let stuck = Plan {
        ordered: false,
        ..Plan::new("stuck", &[(Mode::Hangs, 3), (Mode::Drips, 1), (Mode::Broken, 1)])
    };
    scenario.processors = vec![Plan::new("steady", &[(Mode::Fine, 1)]), stuck];
    scenario.load.rest = Duration::from_millis(80);
    scenario.gate =
        Gate { acked: 150, unknown: 0, changes: 0, repeats: 0, recovered: 50, dead: 10, faults: 3 };
    let late = in_turn(steady(scenario))?;
    assert!(late < LIMIT, "99 of 100 were delivered within {late:?}, which is over {LIMIT:?}");
    Ok(())
}

async fn steady(scenario: Scenario) -> Result<Duration> {
    let (run, hub) = Run::set_up(scenario).await?;
    let recorder = run.recorder.clone();
    let clients = run.clients();
    sleep(Duration::from_secs(5)).await;
    clients.stop().await;
    run.conclude(hub).await?;
    Ok(p99(&recorder.history()))
}

/// From the acknowledgement to the first attempt.
fn p99(history: &History) -> Duration {
    let mut ids: HashMap<u64, &str> = HashMap::new();
    let mut acked: HashMap<&str, Mono> = HashMap::new();
    for entry in &history.0 {
        match &entry.rec {
            Rec::Invoke { op, id, .. } => drop(ids.insert(*op, id)),
            Rec::Complete { op, .. } => drop(ids.get(op).map(|id| acked.insert(id, entry.at))),
            _ => {}
        }
    }
    let mut waits: Vec<Mono> = history
        .0
        .iter()
        .filter_map(|entry| match &entry.rec {
            Rec::Recv { processor, id, .. } if processor == "shop/steady" => {
                Some(entry.at.saturating_sub(*acked.get(id.as_str())?))
            }
            _ => None,
        })
        .collect();
    waits.sort_unstable();
    Duration::from_nanos(waits[waits.len() * 99 / 100])
}
