//! What a hub needs from exec to its first accepted event, and how much memory it holds while it idles.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use evhub_bench::{
    child::{Child, evhub},
    hub::{processor, producer},
    rounds::Rounds,
    wire::Template,
};

use crate::settings::Settings;

/// Long enough for everything that a start leaves to be done.
const IDLE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures and shows the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    settings.head("Start and idle");
    let mut columns: [Rounds; 5] = Default::default();
    for round in 0..=settings.rounds {
        let figures = once(settings)?;
        if round > 0 {
            columns.iter_mut().zip(figures).for_each(|(column, figure)| column.add(figure));
        }
    }
    let names = [
        "`evhub version`, exec to exit, ms",
        "exec to the first accepted event, empty disk, ms",
        "exec to the first accepted event, again, ms",
        "resident, idle, MiB",
        "threads, idle",
    ];
    println!("\n| | median (lowest–highest) |\n|---|---:|");
    for (name, column) in names.iter().zip(&columns) {
        println!("| {name} | {:.1} |", column.spread());
    }
    Ok(())
}

fn once(settings: &Settings) -> Result<[f64; 5]> {
    let folder = tempfile::tempdir_in(&settings.disk)?;
    let resources = folder.path().join("resources");
    std::fs::create_dir(&resources)?;
    let resource = format!("{}---\n{}", producer(4), processor("http://127.0.0.1:9/", 64));
    std::fs::write(resources.join("all.yaml"), resource)?;
    let began = Instant::now();
    let mut version = Command::new(evhub()?);
    ensure!(version.arg("version").stdout(Stdio::null()).status()?.success(), "evhub version failed");
    let floor = began.elapsed();
    let start = || first(&resources, &folder.path().join("data"));
    let (fresh, hub) = start()?;
    drop(hub);
    let (again, hub) = start()?;
    sleep(IDLE);
    let resident = hub.memory("VmRSS")? as f64 / 1024.0;
    let threads = hub.memory("Threads")? as f64;
    let millis = |span: Duration| span.as_secs_f64() * 1000.0;
    Ok([millis(floor), millis(fresh), millis(again), resident, threads])
}

/// Starts a hub and publishes an event as soon as it takes one.
fn first(resources: &std::path::Path, data: &std::path::Path) -> Result<(Duration, Child)> {
    let http = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = Command::new(evhub()?);
    command.arg("dev").arg(resources).arg("--data").arg(data).args(["--http", &http.to_string()]);
    command.args(["--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--api", "127.0.0.1:0"]);
    command.stderr(Stdio::null());
    let request = Template::new(http).of(1).to_vec();
    let began = Instant::now();
    let hub = Child::spawn(&mut command)?;
    while began.elapsed() < PATIENCE {
        if accepted(http, &request)? {
            return Ok((began.elapsed(), hub));
        }
        sleep(Duration::from_micros(200));
    }
    bail!("no event was accepted in {PATIENCE:?}")
}

/// Whether an event is accepted now; nobody listens yet when not.
fn accepted(address: SocketAddr, request: &[u8]) -> Result<bool> {
    let Ok(mut stream) = TcpStream::connect(address) else { return Ok(false) };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).context("read the first answer")?;
    ensure!(answer.ends_with(b" 202"), "the first event was answered {}", String::from_utf8_lossy(&answer));
    Ok(true)
}
