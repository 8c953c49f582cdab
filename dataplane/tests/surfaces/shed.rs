//! More than can be taken is refused at once and says when to come again, on every surface, while the log stands still.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use evhub_dataplane::{Hub, grpc, ingest, ingest::Door, server::Limits};
use evhub_event::Record;
use evhub_journal::{
    Committed, Embedded, Error, Journal, Place, Position, Slice, TopicPartition, TopicSettings, WriteError,
};
use evhub_proto::{
    evhub_comm::Event, evhub_producer::ReportReq, evhub_producer::evhub_producer_client::EvhubProducerClient,
    ingest::ingest_client::IngestClient,
};
use evhub_routing::{Name, Producer, Snapshot};
use tokio::sync::watch;
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt as _;

use super::{
    h2::{channel, event, refusal, request as message},
    rig::{Rig, SINK, TOPIC},
    wire::{Wire, request},
};

/// A log whose appends stand still until it is let go.
#[derive(Clone)]
struct Stalled {
    log: Embedded,
    flows: watch::Receiver<bool>,
}

impl Journal for Stalled {
    type Tail = <Embedded as Journal>::Tail;
    type Member = <Embedded as Journal>::Member;
    type Producer = <Embedded as Journal>::Producer;

    async fn ensure(&self, topic: &str, settings: TopicSettings) -> Result<(), Error> {
        self.log.ensure(topic, settings).await
    }

    fn partitions(&self, topic: &str) -> Option<u32> {
        self.log.partitions(topic)
    }

    async fn look_up(&self, topic: &str) -> Result<Option<u32>, Error> {
        self.log.look_up(topic).await
    }

    fn append(
        &self,
        topic: &str,
        place: Place,
        record: Record,
    ) -> impl Future<Output = Result<Position, WriteError>> + Send + 'static {
        let (log, mut flows, topic) = (self.log.clone(), self.flows.clone(), topic.to_owned());
        async move {
            let _ = flows.wait_for(|flows| *flows).await;
            log.append(&topic, place, record).await
        }
    }

    async fn producer(&self, id: &str) -> Result<Self::Producer, Error> {
        self.log.producer(id).await
    }

    async fn trim(&self, at: &TopicPartition, before: u64) -> Result<(), Error> {
        self.log.trim(at, before).await
    }

    async fn start(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.log.start(at).await
    }

    async fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        records: usize,
        bytes: usize,
    ) -> Result<Slice, Error> {
        self.log.read(at, from, records, bytes).await
    }

    async fn end(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.log.end(at).await
    }

    async fn offset_at(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        self.log.offset_at(at, instant).await
    }

    async fn join(&self, group: &str, topics: &[String]) -> Result<Self::Tail, Error> {
        self.log.join(group, topics).await
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Committed>, Error> {
        self.log.committed(group, partitions).await
    }
}

/// Within this long a client that is turned away must know it.
const SHED: Duration = Duration::from_millis(50);

/// What all but one of a hundred keep to.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[(times.len() - 1) * 99 / 100]
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn report(data: String) -> ReportReq {
    let (app_id, topic_id) = ("shop".to_owned(), "orders".to_owned());
    ReportReq {
        event: Some(Event { app_id, topic_id, event_comm: None, data: data.into() }),
        trigger: None,
        option: None,
    }
}

/// As much as there is room for, all of it waiting for the log.
async fn fill(door: &Door, http: SocketAddr) -> Vec<Wire> {
    let mut waiting = Vec::new();
    while door.in_flight() < 8_000 {
        let mut wire = Wire::connect(http).await;
        let before = door.in_flight();
        wire.send(request("POST", SINK, &[], "x".repeat(1000))).await;
        while door.in_flight() <= before {
            tokio::task::yield_now().await;
        }
        waiting.push(wire);
    }
    waiting
}

/// How long a request takes to be refused.
async fn by_request(wire: &mut Wire, data: &str) -> Duration {
    let began = Instant::now();
    let answer = wire.exchange(request("POST", SINK, &[], data)).await;
    let took = began.elapsed();
    assert_eq!(answer.problem(), (429, "BUSY".to_owned(), "rejected".to_owned(), None));
    assert_eq!(answer.headers["retry-after"], "1");
    took
}

/// The same for a call.
async fn by_call(client: &mut IngestClient<Channel>, data: &str) -> Duration {
    let began = Instant::now();
    let status = client.publish(message(vec![event("1", None, data)])).await.unwrap_err();
    let took = began.elapsed();
    let expected = (Code::ResourceExhausted, "BUSY".to_owned(), "rejected".to_owned(), None);
    assert_eq!(refusal(&status), expected);
    let retry = status.get_error_details().retry_info().unwrap().retry_delay;
    assert_eq!(retry, Some(Duration::from_secs(1)));
    took
}

/// The same for a report.
async fn by_report(client: &mut EvhubProducerClient<Channel>, data: &str) -> Duration {
    let began = Instant::now();
    let answer = client.report(report(data.to_owned())).await.unwrap();
    let took = began.elapsed();
    assert_eq!(answer.metadata().get("status-code").unwrap(), "0");
    let answer = answer.into_inner();
    assert_eq!(answer.ret.unwrap().code, 20000, "in ret, as EvHub says it, and not by the transport");
    assert!(!answer.event_id.is_empty());
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_log_stands_still_the_rest_is_refused_at_once() {
    const ROUNDS: usize = 100;
    let rig = Rig::start().await;
    let (flow, flows) = watch::channel(false);
    let journal = Stalled { log: rig.hub.journal.clone(), flows };
    let door = Door::new(10_000);
    let hub = Hub { door: door.clone(), ..Hub::new(journal, rig.hub.snapshot.clone()) };
    let (_trigger, drain) = evhub_lifecycle::channel();
    let (http, _one) =
        super::rig::serve("http", ingest::router(hub.clone()), Limits::default(), &rig.hub, &drain).await;
    let listener = evhub_dataplane::server::bind("--test", "127.0.0.1:0").await.unwrap();
    let calls = listener.local_addr().unwrap();
    tokio::spawn(grpc::serve("grpc", listener, hub, grpc::Limits::default(), drain));

    let waiting = fill(&door, http).await;

    // The same connections answer what needs no log, and that is what refusals are measured by.
    let mut wire = Wire::connect(http).await;
    let mut client = IngestClient::new(channel(calls).await);
    let mut evhub = EvhubProducerClient::new(channel(calls).await);
    let (mut easy, mut refused) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    let large = "x".repeat(4000);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        assert_eq!(wire.exchange(request("POST", "/nowhere", &[], &large)).await.status, 404);
        easy.push(began.elapsed());
        for (times, took) in refused.iter_mut().zip([
            by_request(&mut wire, &large).await,
            by_call(&mut client, &large).await,
            by_report(&mut evhub, &large).await,
        ]) {
            times.push(took);
        }
    }
    let easy = median(easy);
    for (surface, times) in ["HTTP", "gRPC", "EvHub"].into_iter().zip(refused) {
        let (median, p99) = (median(times.clone()), p99(times));
        println!("{surface}: refused after {median:?}, 99 of 100 within {p99:?}");
        // By the median, because this machine may have other things to do; one that waited for the log would wait for ever.
        assert!(median < SHED, "{surface}: refused after {median:?}, where an easy answer takes {easy:?}");
    }

    flow.send_replace(true);
    for mut wire in waiting {
        assert_eq!(wire.answer().await.unwrap().status, 202, "what was let in is in the log");
    }
    assert_eq!(
        wire.exchange(request("POST", SINK, &[], &large)).await.status,
        202,
        "and there is room again"
    );
    assert!(rig.records(TOPIC).await.len() > 8);
}

/// So slow that nothing flows back while a test runs.
fn slowed(rig: &Rig) {
    let name = Name::new("shop", "orders");
    rig.snapshots.send_modify(|snapshot| {
        let mut producers = snapshot.producers.clone();
        let slow = Producer { events_per_second: Some(1), ..Producer::clone(&producers[&name]) };
        producers.insert(name.clone(), Arc::new(slow));
        *snapshot = Arc::new(Snapshot { producers, ..Snapshot::clone(snapshot) });
    });
}

#[tokio::test]
async fn a_producer_s_rate_holds_on_every_surface() {
    let rig = Rig::start().await;
    slowed(&rig);
    let mut client = IngestClient::new(channel(rig.grpc).await);
    // A batch gets in whole, and is paid off for a minute.
    let many = (0..50).map(|n| event(&n.to_string(), None, "x")).collect();
    client.publish(message(many)).await.unwrap();

    for headers in [&[][..], &[("content-type", "application/cloudevents-batch+json")]] {
        let body = r#"[{"specversion":"1.0","id":"1","source":"/s","type":"t"}]"#;
        let answer = rig.ask(rig.http, request("POST", SINK, headers, body)).await;
        assert_eq!(answer.problem().1, "QUOTA", "{headers:?}");
        assert!(answer.headers["retry-after"].parse::<u32>().unwrap() > 1);
    }
    let status = client.publish(message(vec![event("1", None, "x")])).await.unwrap_err();
    assert_eq!(refusal(&status).1, "QUOTA");
    assert!(status.get_error_details().retry_info().unwrap().retry_delay > Some(Duration::from_secs(1)));
    let requests = futures_util::stream::iter([message(vec![event("1", None, "x")])]);
    let mut answers = client.publish_stream(requests).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().outcomes[0].reason, "QUOTA");

    let mut evhub = EvhubProducerClient::new(channel(rig.grpc).await);
    let ret = evhub.report(report("x".to_owned())).await.unwrap().into_inner().ret.unwrap();
    assert_eq!(ret.code, 20000, "{}", ret.msg);
    let body = r#"{"event":{"app_id":"shop","topic_id":"orders","data":"Mg=="}}"#;
    let answer = rig.ask(rig.http, request("POST", "/v1/report", &[], body)).await.json();
    assert_eq!(answer["ret"]["code"], 20000, "{answer}");
    assert_eq!(rig.records(TOPIC).await.len(), 50);
}

#[tokio::test]
async fn a_call_has_the_bytes_of_a_batch_at_the_most() {
    let rig = Rig::start().await;
    let mut client = IngestClient::new(channel(rig.grpc).await);
    let of =
        |count: usize| message((0..count).map(|n| event(&n.to_string(), None, &"x".repeat(4000))).collect());
    let status = client.publish(of(5)).await.unwrap_err();
    let field = Some("events".to_owned());
    let expected = (Code::ResourceExhausted, "BATCH_TOO_LARGE".to_owned(), "rejected".to_owned(), field);
    assert_eq!(refusal(&status), expected);
    client.publish(of(4)).await.unwrap();
    assert_eq!(rig.records(TOPIC).await.len(), 4);
}
