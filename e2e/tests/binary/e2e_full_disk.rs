//! The disk is full, then it is not: publishes are refused honestly, nothing is lost, and work goes on.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use evhub_e2e::{
    check::gate::{Figures, Gate},
    history::{Fault, Outcome, Rec},
    model::Order,
    plan::Plan,
    recorder::Recorder,
    run::{Run, Scenario},
    script::Mode,
};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::in_turn;

/// Room for the hub's own files and a few seconds of events.
const SIZE: &str = "size=192m";

#[test]
fn e2e_full_disk() -> Result<()> {
    let mut scenario = Scenario::new("e2e_full_disk");
    scenario.processors = vec![Plan::new("billing", &[(Mode::Fine, 9), (Mode::Unavailable, 1)])];
    scenario.gate =
        Gate { acked: 170, unknown: 0, changes: 1, repeats: 0, recovered: 5, dead: 0, faults: 4, at_once: 0 };
    let figures = in_turn(fill_and_free(scenario))?;
    assert!(figures.rejected >= 40, "only {} were refused", figures.rejected);
    Ok(())
}

#[test]
fn e2e_dead_letters_wait_for_the_disk() -> Result<()> {
    let mut scenario = Scenario::new("e2e_dead_letters_wait_for_the_disk");
    let timeout = Duration::from_secs(20);
    scenario.processors =
        vec![Plan { order: Order::None, timeout, ..Plan::new("billing", &[(Mode::RefusesLate, 1)]) }];
    scenario.load.clients = 4;
    scenario.load.numbers = 0..10;
    scenario.load.rest = Duration::ZERO;
    scenario.gate = Gate { acked: 40, dead: 40, faults: 2, ..Gate::default() };
    in_turn(refused_on_a_full_disk(scenario))?;
    Ok(())
}

/// Every event is under way when the disk fills, and is refused for good while it is full.
async fn refused_on_a_full_disk(scenario: Scenario) -> Result<Figures> {
    let mut run = Run::prepare(scenario).await?;
    let disk = Disk::mount()?;
    run.site.data = disk.0.path().join("data");
    let hub = run.site.first_start().await?;
    let from = run.recorder.now();
    run.clients().finish().await;
    run.seen("attempts", 40, |rec| matches!(rec, Rec::Recv { .. })).await?;
    let ballast = disk.fill()?;
    run.seen("refusals", 40, |rec| matches!(rec, Rec::Done { .. })).await?;
    sleep(Duration::from_millis(500)).await;
    let status = run.reader().status("shop/billing").await?;
    ensure!(status.dead < 40 && status.pending() > 0, "nothing waits for the disk: {status:?}");
    let fault = Fault::Other("a disk without room for dead letters".to_owned());
    run.recorder.push_at(from, Rec::Fault { fault, until: run.recorder.now(), effect: 40 - status.dead });
    fs::remove_file(ballast).context("free the disk")?;
    run.conclude(hub).await
}

/// The disk fills and empties while the hub runs; then the hub is killed on a full disk and starts on one with room.
async fn fill_and_free(scenario: Scenario) -> Result<Figures> {
    let mut run = Run::prepare(scenario).await?;
    let disk = Disk::mount()?;
    run.site.data = disk.0.path().join("data");
    let mut hub = run.site.first_start().await?;
    let clients = run.clients();
    run.warm(60).await?;

    let ballast = full(&run, &disk).await?;
    fs::remove_file(ballast).context("free the disk")?;
    acknowledges(&run).await?;

    let ballast = full(&run, &disk).await?;
    let from = run.recorder.now();
    let effect = u64::from(hub.kill().await?);
    run.recorder.push_at(from, Rec::Fault { fault: Fault::Kill, until: run.recorder.now(), effect });
    fs::remove_file(ballast).context("free the disk")?;
    hub = run.site.start_ready().await?;
    acknowledges(&run).await?;

    clients.stop().await;
    run.conclude(hub).await
}

/// Fills the disk and waits until publishes are refused.
async fn full(run: &Run, disk: &Disk) -> Result<PathBuf> {
    let from = run.recorder.now();
    let refused = |outcome: &Outcome| matches!(outcome, Outcome::Rejected(_));
    let before = ended(&run.recorder, refused);
    let ballast = disk.fill()?;
    at_least(&run.recorder, "refusals", before + 20, refused).await?;
    let effect = (ended(&run.recorder, refused) - before) as u64;
    let fault = Fault::Other("full disk".to_owned());
    run.recorder.push_at(from, Rec::Fault { fault, until: run.recorder.now(), effect });
    Ok(ballast)
}

/// Waits until publishes are acknowledged again.
async fn acknowledges(run: &Run) -> Result<()> {
    let acked = |outcome: &Outcome| matches!(outcome, Outcome::Acked { .. });
    let before = ended(&run.recorder, acked);
    at_least(&run.recorder, "acknowledgements", before + 60, acked).await
}

async fn at_least(
    recorder: &Recorder,
    what: &str,
    most: usize,
    fits: impl Fn(&Outcome) -> bool,
) -> Result<()> {
    let since = Instant::now();
    while ended(recorder, &fits) < most {
        ensure!(since.elapsed() < Duration::from_secs(10), "fewer than {most} {what} in 10 s");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn ended(recorder: &Recorder, fits: impl Fn(&Outcome) -> bool) -> usize {
    recorder.count(|rec| matches!(rec, Rec::Complete { outcome, .. } if fits(outcome)))
}

/// A small disk of its own. Its folder is not the site's: that one goes first, and could not go with a disk in it.
struct Disk(TempDir);

impl Disk {
    fn mount() -> Result<Self> {
        let at = tempfile::Builder::new().prefix("evhub-e2e-").tempdir().context("make the mount point")?;
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "evhub-e2e"]).arg(at.path()).status();
        ensure!(
            mounted.context("run mount")?.success(),
            "mounting a small disk needs the right to mount (root)"
        );
        Ok(Self(at))
    }

    /// Writes a file until not one byte more fits.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.path().join("ballast");
        let mut file = File::create(&path).context("create the ballast")?;
        for size in [1 << 20, 4096, 1] {
            loop {
                match file.write(&vec![0x5a; size]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("fill the disk"),
                }
            }
        }
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, because on a failed run the hub may still be ending. Nothing can be done if it fails.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}
