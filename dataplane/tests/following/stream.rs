//! With control: it is told the whole, then differences, says what it runs, and refuses what may not run.

use std::sync::atomic::Ordering::Relaxed;

use evhub_dataplane::{egress::Egress, follow::Source};
use evhub_event::kafka;
use evhub_journal::{Journal as _, Place, TopicSettings};
use evhub_routing::{Generation, Name, Processor, Removal, Snapshot};
use serde_json::json;

use super::sites::{Controller, Site, event, generation, names, processor, snapshot, unready};

#[tokio::test]
async fn nothing_told_is_not_the_same_as_nothing_to_run() {
    let (site, controller) = (Site::new(), Controller::start().await);
    let plane = site.plane("a", Some(controller.address));
    plane.until("it is connected", |status| status.connected).await;
    let (status, said) = plane.readyz().await;
    assert_eq!(
        (status, &said["configured"], &said["control"]["source"]),
        (503, &json!(false), &json!("nothing"))
    );
    assert!(!controller.control.rollout().borrow().is_at(Generation::default()), "it is not live");

    controller.publish(snapshot(1, &[], vec![]));
    plane.applies(1).await;
    let (status, said) = plane.readyz().await;
    assert_eq!(
        (status, &said["configured"], &said["control"]["source"]),
        (200, &json!(true), &json!("control"))
    );
    controller.until("it is live", |rollout| rollout.is_at(generation(1))).await;
    plane.stop().await;
    controller.until("it has gone", |rollout| rollout.replicas().count() == 0).await;
}

#[tokio::test]
async fn what_is_published_runs_and_is_acknowledged_when_it_does() {
    let (site, controller) = (Site::new(), Controller::start().await);
    controller.publish(snapshot(1, &["orders"], vec![processor("billing", None)]));
    let plane = site.plane("a", Some(controller.address));
    controller.until("it runs", |rollout| rollout.is_at(generation(1))).await;
    // It was acknowledged, so all of it is there.
    assert_eq!(site.log.partitions("evhub.shop.orders"), Some(2));
    assert!(plane.hub.silent().is_empty(), "its Processor listens");

    let before = plane.hub.running();
    controller.publish(snapshot(2, &["orders", "late"], vec![processor("audit", None)]));
    controller.until("the edit runs", |rollout| rollout.is_at(generation(2))).await;
    let after = plane.hub.running();
    assert_eq!(names(&after), ["shop/late", "shop/orders", "shop/audit!"]);
    let orders = Name::new("shop", "orders");
    assert!(
        std::sync::Arc::ptr_eq(&before.producers[&orders], &after.producers[&orders]),
        "what stays is not replaced"
    );
    assert_eq!(plane.applies(2).await.updates, 2);

    // Of what comes quickly only the newest has to run.
    for revision in 3..40 {
        controller.publish(snapshot(revision, &["orders"], vec![]));
    }
    controller.until("the newest runs", |rollout| rollout.is_at(generation(39))).await;
    let all = [plane, site.plane("b", Some(controller.address))];
    let both = |rollout: &evhub_control::Rollout| {
        rollout.replicas().filter(|(_, replica)| replica.is_live).count() == 2
            && rollout.is_at(generation(39))
    };
    controller.until("another one runs it, too", both).await;
    for plane in all {
        plane.stop().await;
    }
}

#[tokio::test]
async fn a_lower_generation_is_refused_and_the_reason_is_told() {
    let (site, controller) = (Site::new(), Controller::start().await);
    let plane = site.plane("a", Some(controller.address));
    let higher =
        Snapshot { generation: Generation { epoch: 2, revision: 1 }, ..snapshot(1, &["orders"], vec![]) };
    controller.publish(higher.clone());
    controller.until("it runs", |rollout| rollout.is_at(higher.generation)).await;
    // As of one that lost its data folder: it counts its starts from one again.
    let address = controller.stop().await;
    let controller = Controller::at(address).await;
    controller.publish(snapshot(7, &[], vec![]));
    let is_refused = |rollout: &evhub_control::Rollout| {
        rollout.replicas().any(|(_, replica)| {
            replica
                .refused
                .as_ref()
                .is_some_and(|(which, why)| *which == generation(7) && why.contains("lower than 2.1"))
        })
    };
    controller.until("it refuses", is_refused).await;
    assert_eq!(*plane.hub.running(), higher, "what ran goes on");
    let status = plane.until("it says so", |status| status.refused.is_some()).await;
    assert_eq!((status.refusals, status.connected), (1, true));
    // The next higher one is taken, whole.
    let next =
        Snapshot { generation: Generation { epoch: 3, revision: 1 }, ..snapshot(1, &["late"], vec![]) };
    controller.publish(next.clone());
    controller.until("it runs", |rollout| rollout.is_at(next.generation)).await;
    assert_eq!(*plane.hub.running(), next);
    let status = plane.until("nothing is refused any more", |status| status.refused.is_none()).await;
    assert_eq!(status.source, Source::Control);
    plane.stop().await;
}

#[tokio::test]
async fn another_installations_snapshot_is_refused() {
    let (site, controller) = (Site::new(), Controller::start().await);
    let plane = site.plane("a", Some(controller.address));
    let mut foreign = processor("billing", None);
    foreign.group = "other.shop.billing.1".to_owned();
    controller.publish(snapshot(1, &["orders"], vec![foreign]));
    let status = plane.until("it is refused", |status| status.refused.is_some()).await;
    let reason = status.refused.unwrap().reason;
    assert!(reason.contains("--prefix is evhub"), "{reason}");
    assert_eq!(*plane.hub.running(), Snapshot::default());
    plane.stop().await;
}

/// One Producer's topic cannot be made: the others run, and it is said which does not.
#[tokio::test]
async fn what_cannot_be_ready_is_told_and_holds_up_nothing_else() {
    let (site, controller) = (Site::new(), Controller::start().await);
    let odd = TopicSettings { partitions: 5, max_record_bytes: 1 << 20, ..TopicSettings::default() };
    site.log.ensure("evhub.shop.odd", odd).await.unwrap();
    controller.publish(snapshot(1, &["odd", "orders"], vec![]));
    let plane = site.plane("a", Some(controller.address));
    let told = |rollout: &evhub_control::Rollout| {
        unready(rollout).get("a").is_some_and(|unready| !unready.is_empty())
    };
    let rollout = controller.until("it is told", told).await;
    assert!(!rollout.is_at(generation(1)));
    let unready = &unready(&rollout)["a"];
    assert!(
        unready.len() == 1 && unready[0].starts_with("Producer shop/odd: topic evhub.shop.odd"),
        "{unready:?}"
    );
    assert_eq!(site.log.partitions("evhub.shop.orders"), Some(2));
    assert_eq!(plane.readyz().await.0, 200, "publishers of the others are not turned away");
    // Whoever wrote it mends it.
    controller.publish(snapshot(2, &["orders"], vec![]));
    controller.until("all is ready", |rollout| rollout.is_at(generation(2))).await;
    plane.stop().await;
}

/// An edit may lead to where this process may not deliver: then it stops, and goes on when it leads elsewhere again.
#[tokio::test]
async fn a_processor_whose_url_is_not_allowed_does_not_run_and_is_told_of() {
    let (site, controller) = (Site::new(), Controller::start().await);
    let only = Egress::Only(vec!["127.0.0.0/8".parse().unwrap()]);
    let plane = site.plane_that("a", Some(controller.address), only);
    let billing = processor("billing", None);
    controller.publish(snapshot(1, &["orders"], vec![billing.clone()]));
    controller.until("it runs", |rollout| rollout.is_at(generation(1))).await;
    let mut elsewhere = billing.clone();
    elsewhere.generation = 2;
    elsewhere.target.url = "http://169.254.169.254/".parse().unwrap();
    controller.publish(snapshot(2, &["orders"], vec![elsewhere, processor("audit", None)]));
    let told = |rollout: &evhub_control::Rollout| {
        unready(rollout)["a"] == ["Processor shop/billing: its target's URL is not within --egress-allow"]
    };
    controller.until("it is told", told).await;
    assert_eq!(plane.hub.silent(), [Name::new("shop", "billing")], "the other one listens");
    controller.publish(snapshot(3, &["orders"], vec![Processor { generation: 3, ..billing }]));
    controller.until("it runs again", |rollout| rollout.is_at(generation(3))).await;
    plane.stop().await;
}

/// Its attempt is under way and takes long: what is said to run without it does so when that is over.
#[tokio::test]
async fn an_acknowledgement_waits_for_what_is_removed_to_end() {
    let (site, controller) = (Site::new(), Controller::start().await);
    let plane = site.plane("a", Some(controller.address));
    // It takes connections and never answers.
    let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut billing = processor("billing", None);
    billing.target.url = format!("http://{}/", hangs.local_addr().unwrap()).parse().unwrap();
    billing.target.timeout = std::time::Duration::from_secs(20);
    controller.publish(snapshot(1, &["orders"], vec![billing]));
    controller.until("it runs", |rollout| rollout.is_at(generation(1))).await;
    let progress = plane.hub.board.of("billing");
    site.log.append("evhub.shop.orders", Place::Partition(0), kafka::encode(&event())).await.unwrap();
    let _attempt = hangs.accept().await.unwrap();
    assert!(progress.listening.load(Relaxed));
    controller.publish(snapshot(2, &["orders"], vec![]));
    controller.until("it runs without", |rollout| rollout.is_at(generation(2))).await;
    assert!(!progress.listening.load(Relaxed), "it has ended by then");
    plane.stop().await;
}

/// Only an order has a topic deleted; this log keeps it all the same, which is told until the order is taken back.
#[tokio::test]
async fn a_removal_is_tried_when_it_is_told_and_told_of_while_it_is_not_done() {
    let (site, controller) = (Site::new(), Controller::start().await);
    let plane = site.plane("a", Some(controller.address));
    controller.publish(snapshot(1, &["orders"], vec![]));
    controller.until("it runs", |rollout| rollout.is_at(generation(1))).await;
    controller.publish(snapshot(2, &[], vec![]));
    controller.until("it is gone", |rollout| rollout.is_at(generation(2))).await;
    assert_eq!(
        site.log.partitions("evhub.shop.orders"),
        Some(2),
        "that it is gone says nothing of its topic"
    );

    let mut told = snapshot(3, &[], vec![]);
    let topic = "evhub.shop.orders".to_owned();
    let (name, due_topic) = (Name::new("shop", "orders"), format!("{topic}.due"));
    let removal = Removal { name: name.clone(), uid: "orders".into(), topic, due_topic };
    told.removals.insert(name, std::sync::Arc::new(removal));
    controller.publish(told);
    let is_told = |rollout: &evhub_control::Rollout| {
        unready(rollout)["a"]
            .iter()
            .any(|one| one.starts_with("Producer shop/orders: topic evhub.shop.orders"))
    };
    let rollout = controller.until("it is tried", is_told).await;
    assert!(unready(&rollout)["a"][0].contains("stays until its records are as old"), "{rollout:?}");
    assert!(!rollout.is_at(generation(3)));
    controller.publish(snapshot(4, &[], vec![]));
    controller.until("nothing is to go any more", |rollout| rollout.is_at(generation(4))).await;
    plane.stop().await;
}
