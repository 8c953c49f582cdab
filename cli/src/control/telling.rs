//! What is told of dataplanes: each change of what one of them runs, once. Writes log lines.

use evhub_control::{Control, Replica, Rollout};
use evhub_lifecycle::Drain;
use tracing::{error, info, warn};

/// Tells until the drain begins.
pub(super) async fn rollout(control: Control, drain: Drain) {
    let mut begun = std::pin::pin!(drain.begun());
    let mut rollout = control.rollout();
    let (mut before, mut everywhere) = (Rollout::default(), None);
    loop {
        tokio::select! {
            () = begun.as_mut() => return,
            changed = rollout.changed() => if changed.is_err() {
                return;
            }
        }
        let now = rollout.borrow_and_update().clone();
        for (name, replica) in now.replicas() {
            let known = before.replicas().find(|(known, _)| *known == name).map(|(_, replica)| replica);
            tell(name, known, replica);
        }
        let newest = control.newest().filter(|newest| now.is_at(*newest));
        if let Some(generation) = newest.filter(|_| everywhere != newest) {
            info!(%generation, dataplanes = now.replicas().count(), "all dataplanes run it");
            everywhere = newest;
        }
        before = now;
    }
}

fn tell(name: &str, before: Option<&Replica>, replica: &Replica) {
    let is_new = |changed: &dyn Fn(&Replica) -> bool| before.is_none_or(changed);
    let runs_else = |before: &Replica| {
        (before.running, &before.unready, before.is_live)
            != (replica.running, &replica.unready, replica.is_live)
    };
    if let Some(running) = replica.running.filter(|_| replica.is_live && is_new(&runs_else)) {
        let (generation, digest) = (running.generation, running.digest);
        if replica.unready.is_empty() {
            info!(replica = name, %generation, %digest, "it runs there, and every resource in it is ready");
        } else {
            let unready =
                replica.unready.iter().map(|one| format!("{} {}: {}", one.kind, one.name, one.reason));
            let unready = unready.collect::<Vec<_>>().join("; ");
            warn!(replica = name, %generation, %digest, unready, "it runs there, and not every resource in it is ready");
        }
    }
    let refuses_else = |before: &Replica| before.refused != replica.refused;
    if let Some((generation, reason)) = replica.refused.as_ref().filter(|_| is_new(&refuses_else)) {
        error!(replica = name, %generation, reason, "it is refused there; what ran before runs on");
    }
}
