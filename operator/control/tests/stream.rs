//! The service over a real connection, and dataplanes that are slow, silent or make no sense.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use evhub_control::{Control, Security, serve};
use evhub_lifecycle::Trigger;
use evhub_proto::control::{
    Applied, Hello, Report, Running, Update, control_client::ControlClient, report::What,
};
use evhub_routing::{
    Brokers, EvhubName, Generation, Name, Producer, Snapshot,
    wire::{self, Assembly, Digest},
};
use futures_util::stream::unfold;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tonic::{Code, Status, Streaming, transport::Channel};

/// Far longer than anything takes, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Site {
    control: Control,
    address: SocketAddr,
    _trigger: Trigger,
}

/// A dataplane as it should not always be.
struct Peer {
    reports: mpsc::Sender<Report>,
    updates: Streaming<Update>,
    assembly: Assembly,
    runs: Snapshot,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (control, (trigger, drain)) = (Control::default(), evhub_lifecycle::channel());
        tokio::spawn(serve(listener, Security::Open, control.clone(), drain));
        Self { control, address, _trigger: trigger }
    }

    async fn client(&self) -> ControlClient<Channel> {
        let channel =
            Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap();
        ControlClient::new(channel)
    }

    /// Opens a stream that begins with this.
    async fn open(&self, first: Report) -> Result<Peer, Status> {
        let (reports, outgoing) = mpsc::channel(8);
        reports.send(first).await.unwrap();
        let outgoing = unfold(outgoing, |mut outgoing| async { Some((outgoing.recv().await?, outgoing)) });
        let updates =
            timeout(PATIENCE, self.client().await.follow(outgoing)).await.expect("an answer")?.into_inner();
        Ok(Peer { reports, updates, assembly: Assembly::default(), runs: Snapshot::default() })
    }

    async fn follow(&self, replica: &str) -> Peer {
        let hello = Hello { replica: replica.to_owned(), version: "1".to_owned(), running: None };
        self.open(Report { what: Some(What::Hello(hello)) }).await.unwrap()
    }

    async fn is_at(&self, generation: Generation, replicas: usize) {
        let mut rollout = self.control.rollout();
        let all =
            rollout.wait_for(|rollout| rollout.is_at(generation) && rollout.replicas().count() == replicas);
        timeout(PATIENCE, all).await.expect("it runs").unwrap();
    }
}

impl Peer {
    /// Takes all parts of the next snapshot, and says how many there were.
    async fn take(&mut self) -> usize {
        for parts in 1.. {
            let part = timeout(PATIENCE, self.updates.message()).await.expect("a part").unwrap().unwrap();
            if let Some(next) = self.assembly.take(&self.runs, part) {
                self.runs = next.unwrap();
                return parts;
            }
        }
        unreachable!("there is a last part")
    }

    async fn answer(&self) {
        let digest = Digest::of(&self.runs).bytes().to_vec().into();
        let running = Running { generation: Some(wire::generation(self.runs.generation)), digest };
        let applied = Applied { running: Some(running), ..Applied::default() };
        self.reports.send(Report { what: Some(What::Applied(applied)) }).await.unwrap();
    }
}

fn snapshot(revision: u64, producers: usize) -> Arc<Snapshot> {
    let producer = |name: String| Producer {
        name: Name::new("shop", name.clone()),
        uid: "x".repeat(1000),
        evhub: EvhubName { app_id: "shop".into(), topic_id: name.clone() },
        topic: format!("evhub.shop.{name}"),
        partitions: 1,
        retention: None,
        retention_bytes: None,
        event_bytes: 1,
        batch_events: 1,
        batch_bytes: 1,
        events_per_second: None,
        max_delay: Duration::from_hours(1),
        due_topic: "evhub.shop.orders.due".to_owned(),
        pending_timers: 1_000_000,
        ledger: evhub_routing::Ledger::default(),
        brokers: Brokers::default(),
    };
    let producers = (0..producers).map(|number| producer(format!("p{number}")));
    let producers = producers.map(|one| (one.name.clone(), Arc::new(one))).collect();
    Arc::new(Snapshot { generation: Generation { epoch: 1, revision }, producers, ..Snapshot::default() })
}

#[tokio::test]
async fn who_does_not_say_hello_is_told_so() {
    let site = Site::start().await;
    let nameless = Report { what: Some(What::Hello(Hello::default())) };
    let rude = Report { what: Some(What::Applied(Applied::default())) };
    for first in [nameless, rude, Report::default()] {
        let status = site.open(first).await.err().unwrap();
        assert_eq!(
            (status.code(), status.message().contains("hello")),
            (Code::InvalidArgument, true),
            "{status}"
        );
    }
    assert_eq!(site.control.rollout().borrow().replicas().count(), 0);
}

#[tokio::test]
async fn a_large_world_comes_in_parts_and_an_edit_of_it_in_one() {
    let site = Site::start().await;
    site.control.publish(snapshot(1, 5_000));
    let mut peer = site.follow("a").await;
    assert!(peer.take().await > 5);
    peer.answer().await;
    site.is_at(peer.runs.generation, 1).await;
    site.control.publish(snapshot(2, 5_001));
    assert_eq!(peer.take().await, 1);
    assert_eq!(peer.runs, *snapshot(2, 5_001));
}

/// One takes nothing of what it is sent, another never answers: a third follows all the same, and what was meant for the
/// slow ones meanwhile is kept for nobody.
#[tokio::test]
async fn slow_ones_hold_up_nobody_and_get_the_newest() {
    let site = Site::start().await;
    site.control.publish(snapshot(1, 50));
    let (deaf, mut mute) = (site.follow("deaf").await, site.follow("mute").await);
    mute.take().await;
    let mut quick = site.follow("quick").await;
    for revision in 1..=30 {
        site.control.publish(snapshot(revision, 50 + revision as usize));
        while quick.runs.generation.revision < revision {
            quick.take().await;
            quick.answer().await;
        }
    }
    mute.answer().await;
    mute.take().await;
    assert_eq!(mute.runs.generation.revision, 30, "it skips what it was too slow for");
    mute.answer().await;
    let of = |name: &str| {
        let rollout = site.control.rollout();
        let rollout = rollout.borrow();
        rollout.replicas().find(|(known, _)| *known == name).map(|(_, replica)| replica.is_live)
    };
    assert_eq!((of("deaf"), of("quick")), (Some(false), Some(true)));
    drop(deaf);
    site.is_at(Generation { epoch: 1, revision: 30 }, 2).await;
}

#[tokio::test]
async fn of_two_with_one_name_the_newer_one_counts() {
    let site = Site::start().await;
    site.control.publish(snapshot(1, 1));
    let mut older = site.follow("a").await;
    older.take().await;
    let mut newer = site.follow("a").await;
    newer.take().await;
    newer.answer().await;
    site.is_at(newer.runs.generation, 1).await;
    drop(older);
    // Whoever comes next is told after the older one has gone, or before; the newer one is known in both cases.
    let mut other = site.follow("b").await;
    other.take().await;
    other.answer().await;
    site.is_at(newer.runs.generation, 2).await;
}
