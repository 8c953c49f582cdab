//! Without control: from the copy on disk, or else from the one in the log; and never with less than it had.

use evhub_control::Rollout;
use evhub_dataplane::follow::{Source, shared};
use evhub_routing::Snapshot;

use super::sites::{Controller, Site, generation, names, processor, snapshot};

#[tokio::test]
async fn it_starts_from_its_own_copy_and_goes_on_when_control_comes_back() {
    let (site, controller) = (Site::new(), Controller::start().await);
    let wanted = snapshot(3, &["orders"], vec![processor("billing", Some("Bearer hush"))]);
    controller.publish(wanted.clone());
    let plane = site.plane("a", Some(controller.address));
    controller.until("it runs", |rollout| rollout.is_at(generation(3))).await;
    let address = controller.stop().await;
    plane.until("control is gone", |status| !status.connected && status.trouble.is_some()).await;
    assert_eq!(*plane.hub.running(), wanted, "it goes on");
    plane.stop().await;

    let plane = site.plane("a", Some(address));
    let status = plane.applies(3).await;
    assert_eq!(status.source, Source::Disk);
    assert_eq!(*plane.hub.running(), wanted, "credentials included");
    assert_eq!(plane.readyz().await.0, 200, "it is ready without control");

    let controller = Controller::at(address).await;
    // It says what it runs before it is told, and answers what it is told although that runs already.
    controller.until("it says what it runs", |rollout: &Rollout| rollout.is_at(generation(3))).await;
    controller.publish(wanted.clone());
    plane.until("it is told the same", |status| status.updates == 1).await;
    controller.publish(snapshot(4, &["orders"], vec![]));
    controller.until("it follows again", |rollout| rollout.is_at(generation(4))).await;
    plane.stop().await;
}

#[tokio::test]
async fn one_that_has_nothing_begins_with_the_copy_in_the_log() {
    let (site, controller) = (Site::new(), Controller::start().await);
    let wanted =
        snapshot(5, &["orders"], vec![processor("audit", None), processor("billing", Some("Bearer hush"))]);
    controller.publish(wanted.clone());
    let plane = site.plane("a", Some(controller.address));
    controller.until("it runs", |rollout| rollout.is_at(generation(5))).await;
    let kept = async {
        while shared::load(&site.log, "evhub").await.unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(super::sites::PATIENCE, kept).await.expect("a copy is kept in the log");
    let address = controller.stop().await;
    plane.stop().await;

    let plane = site.plane("new", Some(address));
    let status = plane.applies(5).await;
    assert_eq!(status.source, Source::Log);
    // What it may not have from there waits for control, and is not run without its credentials.
    assert_eq!(names(&plane.hub.running()), ["shop/orders", "shop/audit!"]);
    let controller = Controller::at(address).await;
    controller.publish(wanted.clone());
    plane.until("control says it", |status| status.source == Source::Control).await;
    assert_eq!(*plane.hub.running(), wanted);
    plane.stop().await;
}

#[tokio::test]
async fn without_control_or_copy_it_is_not_ready_and_runs_nothing() {
    let site = Site::new();
    let plane = site.plane("a", None);
    // The log was asked by the time that it answers this; a condition for *nothing happened* there is not.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(*plane.hub.running(), Snapshot::default());
    assert_eq!(plane.readyz().await.0, 503);
    plane.stop().await;
}

/// The one in the log may be newer and say less.
#[tokio::test]
async fn its_own_copy_goes_before_the_one_in_the_log() {
    let (site, controller) = (Site::new(), Controller::start().await);
    let own = snapshot(1, &["orders"], vec![processor("billing", Some("Bearer hush"))]);
    controller.publish(own.clone());
    let plane = site.plane("a", Some(controller.address));
    controller.until("it runs", |rollout| rollout.is_at(generation(1))).await;
    plane.stop().await;
    let address = controller.stop().await;
    shared::keep(&site.log, "evhub", &snapshot(2, &["late"], vec![])).await.unwrap();
    let plane = site.plane("a", Some(address));
    // By then it has found that nobody is there, which is when one that has nothing asks the log.
    plane.until("nobody serves control", |status| status.trouble.is_some()).await;
    assert_eq!((plane.applies(1).await.source, &*plane.hub.running()), (Source::Disk, &own));
    plane.stop().await;
    assert_eq!(
        shared::load(&site.log, "evhub").await.unwrap(),
        Some(snapshot(2, &["late"], vec![])),
        "nor the other way"
    );
}
