//! An event that is not tried again suspends its Processor: nothing more begins, whoever restarts, until it is resumed; each
//! time the event gets one more attempt.

use std::time::Duration;

use anyhow::{Result, ensure};
use evhub_e2e::{
    check::gate::{Figures, Gate},
    history::{Answer, Fault, Rec},
    model::{Order, Retry},
    plan::Plan,
    run::{Run, Scenario},
    script::Mode,
};
use tokio::time::sleep;

use crate::in_turn;

const PROCESSOR: &str = "shop/billing";
const PATIENCE: Duration = Duration::from_secs(8);
/// Longer than any attempt, and than any wait between two.
const A_WHILE: Duration = Duration::from_millis(1200);

#[test]
fn e2e_suspend() -> Result<()> {
    let mut scenario = Scenario::new("e2e_suspend");
    scenario.processors = vec![Plan {
        order: Order::Partition,
        on_exhausted: "Suspend",
        // Resuming may be repeated for ever.
        retry: Retry { max_attempts: 1000, ..Retry::default() },
        ..Plan::new("billing", &[(Mode::Fine, 6), (Mode::Wrong, 1)])
    }];
    scenario.load.numbers = 0..30;
    scenario.gate = Gate { acked: 150, faults: 2, changes: 1, ..Gate::default() };
    let figures = in_turn(suspended(scenario))?;
    assert_eq!(figures.dead, 0, "what is suspended is not given up");
    Ok(())
}

async fn suspended(scenario: Scenario) -> Result<Figures> {
    let (run, mut hub) = Run::set_up(scenario).await?;
    let clients = run.clients();
    stands_still(&run).await?;
    let from = run.recorder.now();
    let effect = u64::from(hub.kill().await?);
    run.recorder.push_at(from, Rec::Fault { fault: Fault::Kill, until: run.recorder.now(), effect });
    hub = run.site.start_ready().await?;
    stands_still(&run).await?;
    clients.finish().await;

    let refused = |rec: &Rec| matches!(rec, Rec::Done { answer: Answer::Failure(400), .. });
    let before = run.recorder.count(refused);
    run.reader().resume(PROCESSOR).await?;
    run.seen("refusals", before + 1, refused).await?;
    stands_still(&run).await?;

    run.targets[0].heal();
    let since = std::time::Instant::now();
    // Several partitions may each hold an event back; all of them are resumed at once.
    while run.reader().status(PROCESSOR).await?.pending() > 0 {
        run.reader().resume(PROCESSOR).await?;
        ensure!(since.elapsed() < PATIENCE, "it does not go on");
        sleep(Duration::from_millis(50)).await;
    }
    run.conclude(hub).await
}

/// Waits until the Processor says that it is suspended; from then on nothing is attempted.
async fn stands_still(run: &Run) -> Result<()> {
    let wished = |status: &evhub_e2e::truth::Status| status.suspended && status.in_flight == 0;
    let reached = run.reader().until(PROCESSOR, PATIENCE, wished).await?;
    ensure!(reached.is_ok(), "it is not suspended: {reached:?}");
    let attempt = |rec: &Rec| matches!(rec, Rec::Recv { .. });
    let before = run.recorder.count(attempt);
    sleep(A_WHILE).await;
    ensure!(run.recorder.count(attempt) == before, "attempts were made while it was suspended");
    ensure!(run.reader().status(PROCESSOR).await?.lag > 0, "there is nothing that it could have delivered");
    Ok(())
}
