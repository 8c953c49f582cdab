//! A topic goes when whoever serves control says so, and for no other reason; and one that grows does so with all that is read
//! beside it.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use evhub_control::{Control, Security};
use evhub_routing::{Brokers, EvhubName, Generation, Ledger, Name, Producer, Removal, Snapshot};
use tokio::{net::TcpListener, runtime::Runtime, time::timeout};

use super::{
    service::{Publisher, Service},
    site::{PATIENCE, Plane, Site},
};

/// Who serves control, in this process.
struct Controller {
    runtime: Runtime,
    control: Control,
    address: SocketAddr,
    _trigger: evhub_lifecycle::Trigger,
}

impl Controller {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (control, (trigger, drain)) = (Control::default(), evhub_lifecycle::channel());
        let address = listener.local_addr().unwrap();
        runtime.spawn(evhub_control::serve(listener, Security::Open, control.clone(), drain));
        Self { runtime, control, address, _trigger: trigger }
    }

    /// Publishes it, and waits until it runs and all of it is ready.
    #[track_caller]
    fn runs(&self, snapshot: Snapshot, plane: &Plane) {
        let generation = snapshot.generation;
        self.control.publish(Arc::new(snapshot));
        let mut rollout = self.control.rollout();
        let ready = rollout.wait_for(|rollout| rollout.is_at(generation));
        let waited = self.runtime.block_on(async { timeout(PATIENCE, ready).await.map(|_| ()) });
        assert!(waited.is_ok(), "{generation} does not run; the log:\n{}", plane.process.log());
    }
}

/// The Producer `shop/orders`, as often as it was made.
fn orders(prefix: &str, uid: &str) -> Producer {
    let topic = format!("{prefix}.shop.orders");
    Producer {
        name: Name::new("shop", "orders"),
        uid: uid.to_owned(),
        evhub: EvhubName { app_id: "shop".into(), topic_id: "orders".into() },
        due_topic: format!("{topic}.due"),
        topic,
        partitions: 1,
        retention: None,
        retention_bytes: None,
        event_bytes: 64 << 10,
        batch_events: 10,
        batch_bytes: 1 << 20,
        events_per_second: None,
        max_delay: Duration::from_hours(1),
        ledger: Ledger::default(),
        pending_timers: 100,
        brokers: Brokers { replicas: 1, min_in_sync_replicas: 1, delete: true, ..Brokers::default() },
    }
}

fn snapshot(revision: u64, producers: Vec<Producer>, removals: Vec<Removal>) -> Snapshot {
    Snapshot {
        generation: Generation { epoch: 1, revision },
        producers: producers.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect(),
        removals: removals.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect(),
        ..Snapshot::default()
    }
}

#[test]
fn a_topic_goes_when_that_is_said_and_the_next_one_of_the_name_begins_empty() {
    let site = Site::new("removed", super::site::NOWHERE);
    let controller = Controller::start();
    let plane = site.plane("one", controller.address);
    let publish = |number: u32| Publisher::connect(plane.http).publish_at("k", number);
    let first = orders(&site.prefix, "1");
    controller.runs(snapshot(1, vec![first.clone()], vec![]), &plane);
    assert_eq!([publish(0), publish(1)], [Some(0), Some(1)]);

    // That it is gone is not enough: it comes back, and all of it is there.
    controller.runs(snapshot(2, vec![], vec![]), &plane);
    controller.runs(snapshot(3, vec![first.clone()], vec![]), &plane);
    assert_eq!(publish(2), Some(2));

    let Producer { name, uid, topic, due_topic, .. } = first;
    let removal = Removal { name, uid, topic, due_topic };
    controller.runs(snapshot(4, vec![], vec![removal]), &plane);
    assert_eq!(plane.process.said(DELETES).len(), 1, "{}", plane.process.log());
    controller.runs(snapshot(5, vec![orders(&site.prefix, "2")], vec![]), &plane);
    assert_eq!(publish(3), Some(0), "nothing of the one before is left");
}

const DELETES: &str = "deleting a topic whose Producer was deleted, as its deletionPolicy says";

#[test]
fn a_topic_grows_while_it_is_read_and_every_partition_is_delivered_from() {
    let service = Service::start();
    let site = Site::new("grows", service.address);
    let (control, address) = site.control("127.0.0.1:0");
    let plane = site.plane("one", address);
    control.says("it runs there, and every resource in it is ready");
    let mut publisher = Publisher::connect(plane.http);
    assert!((0..20).all(|key| publisher.publish(&format!("k{key}"), 0)));
    let delivered = || service.received().into_iter().collect::<BTreeSet<_>>().len();
    plane.process.until("the first are delivered", || delivered() == 20);

    site.write(
        "orders.yaml",
        "apiVersion: evhub.dev/v1alpha1\nkind: Producer\n\
         metadata: { name: orders, namespace: shop, annotations: { evhub.dev/allow-order-break: 'true' } }\n\
         spec: { topic: { partitions: 12, replicas: 1, minInSyncReplicas: 1, config: { flush.ms: soon } } }\n",
    );
    // What brokers refuse is told, and what runs stays as it is.
    let refused = || control.log().contains("flush.ms") && control.log().contains("keeps its settings");
    control.until("the refusal is told", refused);
    assert!((0..20).all(|key| publisher.publish(&format!("k{key}"), 1)));
    plane.process.until("they are delivered", || delivered() == 40);

    site.write(
        "orders.yaml",
        "apiVersion: evhub.dev/v1alpha1\nkind: Producer\n\
         metadata: { name: orders, namespace: shop, annotations: { evhub.dev/allow-order-break: 'true' } }\n\
         spec: { topic: { partitions: 12, replicas: 1, minInSyncReplicas: 1, config: { flush.ms: '777' } } }\n",
    );
    let runs = || {
        let said = control.said("it runs there, and every resource in it is ready");
        said.iter().any(|line| line["generation"] == "1.3")
    };
    control.until("it is mended", runs);
    // Of 200 keys some lie in each of the partitions.
    assert!((0..200).all(|key| publisher.publish(&format!("n{key}"), 2)));
    plane.process.until("all are delivered", || delivered() == 240);
}
