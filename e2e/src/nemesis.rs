//! What is done to a hub while it works, by a schedule that a seed decides.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::{task::yield_now, time::sleep};

use crate::{
    history::{Fault, Rec, draw},
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
    /// SIGSTOP, then SIGCONT.
    Pause,
    /// SIGTERM, and a new start.
    CleanStop,
}

/// So many blows of these kinds by turns; pauses and rests are drawn between the bounds, in milliseconds.
pub fn schedule(seed: u64, kinds: &[Kind], blows: usize, rest: (u64, u64), lasts: (u64, u64)) -> Vec<Blow> {
    let pick = |what: &str, n: usize, (low, high): (u64, u64)| {
        Duration::from_millis(low + draw(seed, &["blow", what, &n.to_string()]) % (high - low).max(1))
    };
    let kinds = kinds.iter().cycle().take(blows).enumerate();
    kinds
        .map(|(n, kind)| Blow { after: pick("rest", n, rest), kind: *kind, lasts: pick("lasts", n, lasts) })
        .collect()
}

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
    let ended = hub.ended();
    ensure!(ended.is_none(), "the hub ended by itself ({ended:?}); its log ends:\n{}", site.log_end());
    let from = recorder.now();
    let (fault, effect) = match blow.kind {
        Kind::Kill => {
            in_the_act(recorder).await;
            (Fault::Kill, hub.kill().await?)
        }
        Kind::CleanStop => (Fault::CleanStop, hub.stop().await?),
        Kind::Pause => {
            let stopped = hub.pause().await?;
            sleep(blow.lasts).await;
            hub.resume()?;
            (Fault::Pause, stopped)
        }
    };
    let fault = Rec::Fault { fault, until: recorder.now(), effect: u64::from(effect) };
    recorder.push_at(from, fault);
    if blow.kind == Kind::Pause {
        return Ok(hub);
    }
    sleep(blow.lasts).await;
    site.start_ready().await.with_context(|| format!("start again after {:?}", blow.kind))
}
