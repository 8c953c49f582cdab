//! How Processors are doing is said when that is of another order than before, and by whoever connects anew.

use evhub_control::{Doing, Rollout};
use evhub_event::kafka;
use evhub_journal::{Journal as _, Place};
use evhub_routing::Name;

use super::sites::{Controller, Site, event, generation, processor, snapshot};

/// What the only replica says of this Processor; nothing where it has not said how any does.
fn doing(rollout: &Rollout, name: &str) -> Option<Doing> {
    let (_, replica) = rollout.replicas().next()?;
    Some(replica.doing.as_ref()?.get(&Name::new("shop", name)).cloned().unwrap_or_default())
}

#[tokio::test]
async fn a_backlog_is_told_and_what_waits_for_another_attempt() {
    let (site, controller) = (Site::new(), Controller::start().await);
    let mut suspended = processor("billing", None);
    suspended.suspend = true;
    controller.publish(snapshot(1, &["orders"], vec![suspended.clone()]));
    let plane = site.plane("a", Some(controller.address));
    controller.until("it runs", |rollout| rollout.is_at(generation(1))).await;
    controller
        .until("it is at rest", |rollout| {
            doing(rollout, "billing").is_some_and(|one| one == Doing::default())
        })
        .await;
    for _ in 0..12 {
        site.log.append("evhub.shop.orders", Place::Partition(0), kafka::encode(&event())).await.unwrap();
    }
    let is_behind = |one: &Doing| one.backlog >= 10 && one.oldest.is_some() && one.parked == 0;
    controller
        .until("it is behind", |rollout| doing(rollout, "billing").is_some_and(|one| is_behind(&one)))
        .await;

    // Whoever serves control next is told all of it.
    let address = controller.stop().await;
    let controller = Controller::at(address).await;
    controller.publish(snapshot(2, &["orders"], vec![suspended.clone()]));
    controller
        .until("it is said again", |rollout| doing(rollout, "billing").is_some_and(|one| is_behind(&one)))
        .await;

    // Nobody is where it delivers to: what was tried in vain waits.
    let going = evhub_routing::Processor { suspend: false, generation: 2, ..suspended };
    controller.publish(snapshot(3, &["orders"], vec![going]));
    controller
        .until("some wait", |rollout| doing(rollout, "billing").is_some_and(|one| one.parked > 0))
        .await;
    plane.stop().await;
}
