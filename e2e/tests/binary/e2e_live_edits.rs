//! Edits under load, good ones and broken ones, suspending and resuming, a folder that vanishes, and a kill: nothing begins
//! as it was written before, what is broken changes nothing, and nothing is lost.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use evhub_e2e::{
    check::gate::{Figures, Gate},
    history::{Fault, Rec},
    model::Order,
    nemesis::{Blow, Kind, strike},
    plan::Plan,
    run::{Run, Scenario},
    script::Mode,
};
use tokio::time::sleep;

use crate::in_turn;

/// Longer than an edit takes to run.
const A_WHILE: Duration = Duration::from_millis(900);

#[test]
fn e2e_live_edits() -> Result<()> {
    let mut scenario = Scenario::new("e2e_live_edits");
    let modes = [(Mode::Fine, 80), (Mode::Slow, 15), (Mode::Unavailable, 5)];
    scenario.processors =
        vec![Plan::new("billing", &modes), Plan { order: Order::None, ..Plan::new("audit", &modes) }];
    scenario.gate = Gate {
        acked: 250,
        unknown: 0,
        changes: 2,
        repeats: 0,
        recovered: 10,
        dead: 0,
        faults: 10,
        at_once: 0,
    };
    let figures = in_turn(edited(scenario))?;
    assert!(figures.repeats <= 128, "{} repeats, and one kill", figures.repeats);
    Ok(())
}

async fn edited(scenario: Scenario) -> Result<Figures> {
    let (mut run, mut hub) = Run::set_up(scenario).await?;
    let clients = run.clients();
    for round in 0..4 {
        edit(&mut run, |plans| plans.iter_mut().for_each(|plan| plan.edition += 1)).await?;
        sleep(Duration::from_millis(200)).await;
        edit(&mut run, |plans| plans[0].suspended = true).await?;
        let before = run.recorder.count(attempt);
        sleep(Duration::from_millis(300)).await;
        ensure!(run.recorder.count(attempt) > before, "suspending one Processor stopped the other");
        broken(&run, round).await?;
        if round == 2 {
            run.apply()?;
            let blow = Blow { after: Duration::ZERO, kind: Kind::Kill, lasts: Duration::ZERO };
            hub = strike(blow, hub, &run.site, &run.recorder).await?;
        }
        edit(&mut run, |plans| {
            plans[0].suspended = false;
            plans[1].edition += 1;
        })
        .await?;
    }
    clients.stop().await;
    run.conclude(hub).await
}

/// Changes what is written, and waits until that is what runs.
async fn edit(run: &mut Run, change: impl FnOnce(&mut [Plan])) -> Result<()> {
    let from = run.recorder.now();
    let before = run.scenario.processors.clone();
    let mut expected = Vec::new();
    for plan in &before {
        expected.push(run.reader().status(&plan.full_name()).await?.generation);
    }
    change(&mut run.scenario.processors);
    run.apply()?;
    for ((old, new), generation) in before.iter().zip(&run.scenario.processors).zip(expected) {
        let changed = (old.edition, old.suspended) != (new.edition, new.suspended);
        run.runs(&new.full_name(), generation + i64::from(changed)).await?;
    }
    let fault = Fault::Other("an edit".to_owned());
    run.recorder.push_at(from, Rec::Fault { fault, until: run.recorder.now(), effect: 1 });
    Ok(())
}

/// What cannot be accepted changes nothing, and neither does a folder that is not there.
async fn broken(run: &Run, round: usize) -> Result<()> {
    let from = run.recorder.now();
    let good = run.scenario.manifests(&run.targets);
    let away = run.site.folder.path().join("away");
    match round {
        0 => run.site.write("kind: [")?,
        1 => run
            .site
            .write(&good.replace("order: Key", "order: Sideways").replace("order: None", "order: 7"))?,
        2 => run.site.write(&good.replace("startFrom: Earliest", "startFrom: Latest"))?,
        _ => fs::rename(run.site.resources(), &away).context("hide the folder")?,
    }
    let (before, running) = (run.recorder.count(attempt), statuses(run).await?);
    sleep(A_WHILE).await;
    let now = statuses(run).await?;
    ensure!(now == running, "a broken edit made {now:?} of {running:?}");
    let attempts = run.recorder.count(attempt) - before;
    ensure!(attempts > 0, "nothing was delivered while the edit was broken");
    if away.exists() {
        fs::rename(&away, run.site.resources()).context("bring the folder back")?;
    }
    let fault = Fault::Other(format!("broken edit {round}"));
    run.recorder.push_at(from, Rec::Fault { fault, until: run.recorder.now(), effect: attempts as u64 });
    Ok(())
}

/// What runs, as the hub says: a generation each.
async fn statuses(run: &Run) -> Result<Vec<i64>> {
    let mut running = Vec::new();
    for plan in &run.scenario.processors {
        let status = run.reader().ready(&plan.full_name()).await?;
        running.push(status.with_context(|| format!("{} is not ready", plan.name))?.generation);
    }
    Ok(running)
}

fn attempt(rec: &Rec) -> bool {
    matches!(rec, Rec::Recv { .. })
}
