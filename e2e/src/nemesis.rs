//! What is done to a hub while it works, by a schedule that a seed decides.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::{task::yield_now, time::sleep};

use crate::{
    history::{Fault, Mono, Rec, draw},
    hub::{Hub, Site},
    recorder::Recorder,
};

/// One blow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blow {
    /// How long the hub is left in peace before.
    pub after: Duration,
    /// What is done.
    pub kind: Kind,
    /// How long the hub stays down or paused.
    pub lasts: Duration,
}

/// Kinds of blow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SIGKILL, and a new start.
    Kill,
    /// SIGKILL, and again within the first moments of the new start, while it opens its log and takes over.
    KillAtBirth,
    /// SIGSTOP, then SIGCONT.
    Pause,
    /// SIGTERM, and a new start.
    CleanStop,
}

/// So many blows of these kinds by turns; pauses and rests are drawn between the bounds, in milliseconds.
pub fn schedule(seed: u64, kinds: &[Kind], blows: usize, rest: (u64, u64), lasts: (u64, u64)) -> Vec<Blow> {
    let pick = |what: &str, n: usize, (low, high): (u64, u64)| {
        let dice = draw(seed, &["blow", what, &n.to_string()]);
        Duration::from_micros(1000 * low + dice % (1000 * (high - low)).max(1))
    };
    let kinds = kinds.iter().cycle().take(blows).enumerate();
    kinds
        .map(|(n, kind)| Blow { after: pick("rest", n, rest), kind: *kind, lasts: pick("lasts", n, lasts) })
        .collect()
}

/// How long a newborn lives at most, in microseconds: about as long as it takes to become ready.
const BIRTH: u64 = 60_000;

/// Waits, but not for long, until some publish is under way: a kill should leave outcomes unknown.
async fn in_the_act(recorder: &Recorder) {
    let since = Instant::now();
    while !recorder.publishing() && since.elapsed() < Duration::from_millis(200) {
        yield_now().await;
    }
}

/// Strikes once, and leaves a hub that is ready.
pub async fn strike(blow: Blow, mut hub: Hub, site: &Site, recorder: &Recorder) -> Result<Hub> {
    sleep(blow.after).await;
    if blow.kind == Kind::Kill {
        in_the_act(recorder).await;
    }
    let ended = hub.ended();
    ensure!(ended.is_none(), "the hub ended by itself ({ended:?}); its log ends:\n{}", site.log_end());
    match blow.kind {
        Kind::Kill | Kind::KillAtBirth => kill(&mut hub, recorder).await?,
        Kind::CleanStop => {
            let from = recorder.now();
            let well = hub.stop().await?;
            note(recorder, from, Fault::CleanStop, well);
        }
        Kind::Pause => {
            let from = recorder.now();
            let stopped = hub.pause().await?;
            sleep(blow.lasts).await;
            hub.resume()?;
            note(recorder, from, Fault::Pause, stopped);
            return Ok(hub);
        }
    }
    sleep(blow.lasts).await;
    if blow.kind == Kind::KillAtBirth {
        let mut newborn = site.start()?;
        sleep(Duration::from_micros(u64::from(blow.lasts.subsec_micros()) % BIRTH)).await;
        kill(&mut newborn, recorder).await?;
    }
    site.start_ready().await.with_context(|| format!("start again after {:?}", blow.kind))
}

async fn kill(hub: &mut Hub, recorder: &Recorder) -> Result<()> {
    let from = recorder.now();
    let killed = hub.kill().await?;
    note(recorder, from, Fault::Kill, killed);
    Ok(())
}

fn note(recorder: &Recorder, from: Mono, fault: Fault, effect: bool) {
    recorder.push_at(from, Rec::Fault { fault, until: recorder.now(), effect: u64::from(effect) });
}
