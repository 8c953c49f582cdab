//! The disk is full, then it is not: publishes are refused honestly, nothing is lost, and work goes on.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use evhub_e2e::{
    check::gate::{Figures, Gate},
    history::{Fault, Outcome, Rec},
    recorder::Recorder,
    run::{Plan, Run, Scenario},
    script::Mode,
};
use tokio::time::sleep;

use crate::in_turn;

/// Room for the hub's own files and a few seconds of events.
const SIZE: &str = "size=192m";

#[test]
fn e2e_full_disk() -> Result<()> {
    let mut scenario = Scenario::new("e2e_full_disk");
    scenario.processors = vec![Plan::new("billing", &[(Mode::Fine, 9), (Mode::Unavailable, 1)])];
    scenario.gate = Gate { acked: 150, unknown: 0, changes: 0, repeats: 0, recovered: 5, dead: 0, faults: 2 };
    let figures = in_turn(fill_and_free(scenario))?;
    assert!(figures.rejected >= 20, "only {} were refused", figures.rejected);
    Ok(())
}

async fn fill_and_free(scenario: Scenario) -> Result<Figures> {
    let run = Run::prepare(scenario).await?;
    let disk = Disk::mount(&run.site.data)?;
    let hub = run.site.start_ready().await?;
    let clients = run.clients();
    run.warm(60).await?;

    let since = run.recorder.now();
    let ballast = disk.fill()?;
    at_least(&run.recorder, "refusals", 20, |outcome| matches!(outcome, Outcome::Rejected(_))).await?;
    let refused = acked_or_not(&run.recorder, |outcome| matches!(outcome, Outcome::Rejected(_)));
    let fault = Fault::Other("full disk".to_owned());
    run.recorder.push_at(since, Rec::Fault { fault, until: run.recorder.now(), effect: refused as u64 });

    fs::remove_file(ballast).context("free the disk")?;
    let before = acked_or_not(&run.recorder, |outcome| matches!(outcome, Outcome::Acked { .. }));
    at_least(&run.recorder, "acknowledgements after", before + 60, |o| matches!(o, Outcome::Acked { .. }))
        .await?;
    clients.stop().await;
    run.conclude(hub).await
}

async fn at_least(
    recorder: &Recorder,
    what: &str,
    most: usize,
    fits: impl Fn(&Outcome) -> bool,
) -> Result<()> {
    let since = Instant::now();
    while acked_or_not(recorder, &fits) < most {
        ensure!(since.elapsed() < Duration::from_secs(10), "fewer than {most} {what} in 10 s");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn acked_or_not(recorder: &Recorder, fits: impl Fn(&Outcome) -> bool) -> usize {
    recorder.count(|rec| matches!(rec, Rec::Complete { outcome, .. } if fits(outcome)))
}

/// A small disk of its own.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Result<Self> {
        fs::create_dir(at).context("make the mount point")?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "evhub-e2e"]).arg(at).status();
        ensure!(
            mounted.context("run mount")?.success(),
            "mounting a small disk needs the right to mount (root)"
        );
        Ok(Self(at.to_owned()))
    }

    /// Writes a file until not one byte more fits.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("ballast");
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
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
