//! Dead letters are redriven when their target is mended: each event comes once more, as it was, in its key's order.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use evhub_e2e::{
    check::{self, gate::Gate},
    history::{Answer, History, Mono, Rec},
    plan::{PARTITIONS, PRODUCER, Plan},
    run::{Run, Scenario},
    script::Mode,
};

use crate::in_turn;

const PROCESSOR: &str = "shop/billing";
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn e2e_redrive() -> Result<()> {
    let mut scenario = Scenario::new("e2e_redrive");
    scenario.processors = vec![Plan::new("billing", &[(Mode::Fine, 1), (Mode::Wrong, 1)])];
    scenario.load.numbers = 0..40;
    scenario.load.keys = 8;
    scenario.load.rest = Duration::from_millis(5);
    scenario.gate = Gate { acked: 240, dead: 80, faults: 0, ..Gate::default() };
    in_turn(redriven(scenario))
}

async fn redriven(scenario: Scenario) -> Result<()> {
    let (run, mut hub) = Run::set_up(scenario).await?;
    run.clients().finish().await;
    let quiet = run.reader().until(PROCESSOR, PATIENCE, |status| status.pending() == 0).await?;
    ensure!(quiet.is_ok(), "not everything came to an end: {quiet:?}");
    run.reader().log(PRODUCER, PARTITIONS).await?;
    run.reader().dead(PROCESSOR).await?;
    run.targets.iter().for_each(evhub_e2e::target::Target::heal);
    let before = run.recorder.history();
    let from = run.recorder.now();

    // Killed right after the order was accepted: what is accepted is kept.
    let matched = run.reader().redrive(PROCESSOR).await?;
    hub.kill().await?;
    let mut hub = run.site.start_ready().await?;
    let dead = before.0.iter().filter(|entry| matches!(entry.rec, Rec::Dead { .. })).count();
    ensure!(matched == dead as u64, "{matched} of {dead} were redriven");
    run.seen("redriven attempts", dead, |rec| matches!(rec, Rec::Done { answer: Answer::Success, .. }))
        .await?;
    let quiet = run.reader().until(PROCESSOR, PATIENCE, |status| status.pending() == 0).await?;
    ensure!(quiet.is_ok(), "not everything redriven came to an end: {quiet:?}");
    ensure!(hub.stop().await?, "the hub did not end well");
    ensure!(run.recorder.complaints().is_empty(), "{:?}", run.recorder.complaints());
    holds(&before, &run.recorder.history(), from)
}

/// An event as it was published: its fingerprint and its key.
type Known<'h> = BTreeMap<&'h str, (u64, Option<&'h str>)>;

fn holds(before: &History, after: &History, from: Mono) -> Result<()> {
    let known: Known<'_> = before
        .0
        .iter()
        .filter_map(|entry| match &entry.rec {
            Rec::Invoke { id, hash, key, .. } => Some((id.as_str(), (*hash, key.as_deref()))),
            _ => None,
        })
        .collect();
    let place = |wanted: &str| {
        before.0.iter().find_map(|entry| match &entry.rec {
            Rec::Log { id, partition, offset, .. } if id == wanted => Some((*partition, *offset)),
            _ => None,
        })
    };
    let dead: BTreeSet<&str> = before
        .0
        .iter()
        .filter_map(|entry| match &entry.rec {
            Rec::Dead { id, .. } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    ensure!(dead.len() >= 80, "only {} died", dead.len());
    let mut came = BTreeSet::new();
    let mut last: BTreeMap<&str, (u32, u64)> = BTreeMap::new();
    for entry in after.0.iter().filter(|entry| entry.at > from) {
        let Rec::Recv { id, key, hash, epoch: _, .. } = &entry.rec else { continue };
        ensure!(dead.contains(id.as_str()), "{id} was delivered again and is no dead letter");
        let (as_published, its_key) = known.get(id.as_str()).context("an event that nobody published")?;
        ensure!((hash, key.as_deref()) == (as_published, *its_key), "{id} came back changed");
        // The owner that was killed may have made an attempt that its successor repeats.
        if !came.insert(id.as_str()) {
            continue;
        }
        if let (Some(key), Some(place)) = (its_key, place(id)) {
            let before = last.insert(key, place);
            ensure!(before.is_none_or(|before| before < place), "{id} came out of its key's order");
        }
    }
    ensure!(came == dead, "{} of {} dead letters came back", came.len(), dead.len());
    let model = evhub_e2e::model::Model {
        processors: vec![Plan::new("billing", &[]).model()],
        ..evhub_e2e::model::Model::default()
    };
    let reports = check::all(before, &model);
    ensure!(check::anomalies(&reports).is_empty(), "before the redrive: {:?}", check::anomalies(&reports));
    Ok(())
}
