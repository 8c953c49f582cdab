//! Killed while every delivery is parked, twice: each attempt happens once, with its own number.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use evhub_e2e::{
    check::gate::{Figures, Gate},
    history::Rec,
    model::Retry,
    nemesis::{Blow, Kind, strike},
    plan::Plan,
    run::{Run, Scenario},
    script::Mode,
};
use tokio::time::sleep;

use crate::in_turn;

const CLIENTS: usize = 4;
const EACH: usize = 10;
const EVENTS: usize = CLIENTS * EACH;
/// How long everything rests between two attempts.
const REST: Duration = Duration::from_millis(2500);

#[test]
fn e2e_parked_survives() -> Result<()> {
    let mut scenario = Scenario::new("e2e_parked_survives");
    scenario.processors = vec![Plan {
        retry: Retry { initial: REST, max: REST, ..Retry::default() },
        ..Plan::new("billing", &[(Mode::Absent, 1)])
    }];
    scenario.load.clients = CLIENTS;
    scenario.load.numbers = 0..EACH as u64;
    // Enough keys that hardly two events share one, so that each is attempted at once.
    scenario.load.keys = 1 << 40;
    scenario.load.rest = Duration::from_millis(5);
    scenario.gate = Gate {
        acked: EVENTS,
        unknown: 0,
        changes: 2,
        repeats: 0,
        recovered: EVENTS,
        dead: 0,
        faults: 3,
        at_once: 0,
    };
    let figures = in_turn(parked(scenario))?;
    assert_eq!(
        (figures.attempts, figures.repeats),
        (3 * EVENTS, 0),
        "three attempts each, none of them twice"
    );
    Ok(())
}

async fn parked(scenario: Scenario) -> Result<Figures> {
    let (run, mut hub) = Run::set_up(scenario).await?;
    run.clients().finish().await;
    for attempts in [EVENTS, 2 * EVENTS] {
        all_parked(&run, attempts).await?;
        let blow = Blow { after: Duration::ZERO, kind: Kind::Kill, lasts: Duration::from_millis(100) };
        hub = strike(blow, hub, &run.site, &run.recorder).await?;
        let parked = run.reader().status("shop/billing").await?.parked;
        if parked != EVENTS as u64 {
            run.recorder.complain(format!(
                "a hub that has just become ready says that {parked} of {EVENTS} are parked"
            ));
        }
    }
    run.targets.iter().for_each(evhub_e2e::target::Target::heal);
    attempts(&run, 3 * EVENTS).await?;
    run.conclude(hub).await
}

/// Waits until so many attempts were made and everything is parked again.
async fn all_parked(run: &Run, attempts: usize) -> Result<()> {
    let made = || run.recorder.count(attempt);
    let parked = run
        .reader()
        .until("shop/billing", Duration::from_secs(8), |status| {
            made() == attempts && status.parked == EVENTS as u64 && status.in_flight == 0
        })
        .await?;
    ensure!(parked.is_ok(), "not all parked after {} attempts of {attempts}: {parked:?}", made());
    Ok(())
}

/// Waits until so many attempts were made.
async fn attempts(run: &Run, attempts: usize) -> Result<()> {
    let since = Instant::now();
    while run.recorder.count(attempt) < attempts {
        ensure!(
            since.elapsed() < Duration::from_secs(8),
            "{} attempts of {attempts}",
            run.recorder.count(attempt)
        );
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn attempt(rec: &Rec) -> bool {
    matches!(rec, Rec::Recv { .. })
}
