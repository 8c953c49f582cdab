//! By system-call trace: no acknowledgement leaves before the sync that covers its event.

use std::{
    fs,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use evhub_e2e::{
    history::{Outcome, Rec},
    plan::PRODUCER,
    publisher::{Clients, Load},
    run::{Run, Scenario},
    trace::prove,
};
use tokio::time::sleep;

use crate::in_turn;

const CALLS: &str =
    "trace=read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync";

#[test]
fn e2e_fsync() -> Result<()> {
    let (trace, data, acked) = in_turn(traced(Scenario::new("e2e_fsync")))?;
    let proof = prove(&trace, &data).expect("every acknowledgement has its sync");
    assert_eq!(proof.acked.len(), acked, "the trace shows every acknowledgement that arrived");
    let line = format!(
        "e2e_fsync: {acked} acknowledgements, each behind one of {} syncs; anomalies 0\n",
        proof.syncs
    );
    std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");

    let unsynced: Vec<_> = trace.lines().filter(|line| !line.contains("sync")).collect();
    prove(&unsynced.join("\n"), &data).expect_err("a trace without its syncs must be refused");
    prove(&hasty(&trace, &proof.acked[0]), &data).expect_err("an acknowledgement moved up must be refused");
    Ok(())
}

/// Publishes one by one, then all at once, and returns the trace, the data folder and how many were acknowledged.
async fn traced(scenario: Scenario) -> Result<(String, String, usize)> {
    let mut run = Run::prepare(scenario).await?;
    let file = run.site.folder.path().join("trace");
    let tracer = ["strace", "-D", "-f", "-y", "-ttt", "-s", "65536", "-e", CALLS, "-o"];
    run.site.before = tracer.map(str::to_owned).to_vec();
    run.site.before.push(file.display().to_string());
    let mut hub = run.site.first_start().await?;
    for (clients, numbers) in [(1, 0..30), (8, 100..120)] {
        let load = Load {
            producer: PRODUCER.to_owned(),
            clients,
            keys: 64,
            rest: Duration::ZERO,
            numbers,
            alike: false,
        };
        Clients::start(&load, &[run.site.ports.http], run.scenario.seed, &run.recorder).finish().await;
    }
    ensure!(hub.stop().await?, "the hub did not end well:\n{}", run.site.log_end());
    let trace = complete(&file, hub.pid()).await?;
    let acked = run.recorder.count(|rec| matches!(rec, Rec::Complete { outcome: Outcome::Acked { .. }, .. }));
    ensure!(acked == 30 + 8 * 20, "{acked} were acknowledged; {:?}", run.recorder.complaints());
    Ok((trace, run.site.data.display().to_string(), acked))
}

/// The trace, once the tracer has written the hub's end.
async fn complete(file: &Path, pid: i32) -> Result<String> {
    let since = Instant::now();
    let end = format!("\n{pid} ");
    loop {
        let trace = String::from_utf8_lossy(&fs::read(file).context("read the trace")?).into_owned();
        let ended =
            trace.rfind(&end).is_some_and(|at| trace[at..].contains("+++ exited") && trace.ends_with('\n'));
        if ended {
            return Ok(trace);
        }
        ensure!(since.elapsed() < Duration::from_secs(10), "the trace has no end");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The trace with this acknowledgement directly behind its request.
fn hasty(trace: &str, id: &str) -> String {
    let mut lines: Vec<_> = trace.lines().collect();
    let asked =
        lines.iter().position(|line| line.contains(&format!("ce-id: {id}\\r"))).expect("it was asked for");
    let acked = asked
        + lines[asked..].iter().position(|line| line.contains("\"HTTP/1.1 202 ")).expect("it was answered");
    let line = lines.remove(acked);
    lines.insert(asked + 1, line);
    lines.join("\n")
}
