//! Publishing over gRPC with the generated client: what is accepted, where it then lies, and how calls end.

use std::time::Duration;

use evhub_dataplane::{grpc::Limits, ingest::Door};
use evhub_event::Controls;
use evhub_proto::{
    cloudevents::cloud_event::{CloudEventAttributeValue, cloud_event_attribute_value::Attr},
    health::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient},
    ingest::{PublishRequest, ingest_client::IngestClient, outcome::Kind},
};
use futures_util::StreamExt as _;
use tokio::{sync::mpsc, time::timeout};
use tonic::{Code, Request};

use super::{
    h2::{channel, event, good, refusal, request},
    rig::{Rig, TOPIC},
    wire::{PATIENCE, Wire},
};

#[tokio::test]
async fn every_event_has_an_outcome_that_says_where_it_is() {
    let rig = Rig::start().await;
    let mut client = IngestClient::new(channel(rig.grpc).await);
    let mut tagged = event("c", Some("k"), "3");
    let tags = CloudEventAttributeValue { attr: Some(Attr::CeString("paid,vip".to_owned())) };
    tagged.attributes.insert("evhubtags".to_owned(), tags);
    let events = vec![event("a", Some("k"), "1"), event("b", None, "2"), tagged];
    let message = PublishRequest { correlation: 7, ..request(events) };
    let response = client.publish(message).await.unwrap().into_inner();
    assert_eq!(response.correlation, 7);
    let records = rig.records(TOPIC).await;
    assert_eq!(records.len(), 3);
    for (outcome, id) in response.outcomes.iter().zip(["a", "b", "c"]) {
        assert_eq!((outcome.kind(), outcome.id.as_str()), (Kind::Accepted, id));
        let at = |stored: &evhub_journal::Stored| i64::try_from(stored.offset).unwrap() == outcome.offset;
        let found = records.iter().find(|(p, stored)| *p as i32 == outcome.partition && at(stored));
        let (_, stored) = found.expect("it lies where the outcome says");
        let event = evhub_event::kafka::decode(&stored.record).unwrap();
        assert_eq!(event.id, id);
        let tags = Controls::of(&stored.record).tags;
        assert_eq!(tags.len(), if id == "c" { 2 } else { 0 });
    }
    let same = response.outcomes[0].partition == response.outcomes[2].partition;
    assert!(same && response.outcomes[0].offset < response.outcomes[2].offset, "a key's events are in order");
}

#[tokio::test]
async fn one_bad_event_refuses_the_whole_call() {
    let rig = Rig::start().await;
    let mut client = IngestClient::new(channel(rig.grpc).await);
    let events = vec![event("a", None, "1"), event("", None, "2")];
    let status = client.publish(request(events)).await.unwrap_err();
    let field = Some("events[1].id".to_owned());
    let expected = (Code::InvalidArgument, "MISSING_ATTRIBUTE".to_owned(), "rejected".to_owned(), field);
    assert_eq!(refusal(&status), expected);
    assert!(rig.events().await.is_empty());
}

#[tokio::test]
async fn a_call_that_accepted_nothing_fails() {
    let rig = Rig::start().await;
    let mut client = IngestClient::new(channel(rig.grpc).await);
    client.publish(good()).await.unwrap();
    rig.hub.journal.close();
    let status = client.publish(good()).await.unwrap_err();
    let expected = (Code::Unavailable, "LOG_UNAVAILABLE".to_owned(), "rejected".to_owned(), None);
    assert_eq!(refusal(&status), expected);
}

/// A stream whose requests we send by hand.
fn requests(room: usize) -> (mpsc::Sender<PublishRequest>, impl futures_util::Stream<Item = PublishRequest>) {
    let (sender, receiver) = mpsc::channel(room);
    let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|message| (message, receiver))
    });
    (sender, stream)
}

#[tokio::test]
async fn a_stream_answers_in_order_and_outlives_a_bad_request() {
    const COUNT: u64 = 1000;
    let rig = Rig::start().await;
    let mut client = IngestClient::new(channel(rig.grpc).await);
    let (sender, stream) = requests(1);
    tokio::spawn(async move {
        for n in 1..=COUNT {
            let id = if n == 500 { String::new() } else { format!("{n:04}") };
            let message = PublishRequest { correlation: n, ..request(vec![event(&id, Some("k"), "x")]) };
            sender.send(message).await.unwrap();
        }
        let empty = PublishRequest { correlation: COUNT + 1, ..request(vec![]) };
        sender.send(empty).await.unwrap();
    });
    let mut answers = client.publish_stream(stream).await.unwrap().into_inner();
    for n in 1..=COUNT + 1 {
        let answer = timeout(PATIENCE, answers.message()).await.unwrap().unwrap().expect("an answer each");
        assert_eq!((answer.correlation, answer.outcomes.len()), (n, 1));
        let outcome = &answer.outcomes[0];
        let expected = match n {
            500 => (Kind::Rejected, "MISSING_ATTRIBUTE", "events[0].id"),
            n if n > COUNT => (Kind::Rejected, "EMPTY_BATCH", "events"),
            _ => (Kind::Accepted, "", ""),
        };
        assert_eq!((outcome.kind(), outcome.reason.as_str(), outcome.field.as_str()), expected);
    }
    assert_eq!(answers.message().await.unwrap(), None, "the stream ends with its requests");
    let ids: Vec<_> = rig.events().await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids.len() as u64, COUNT - 1);
    assert!(ids.is_sorted(), "one key's events lie in the order of their requests");
    assert_eq!(rig.hub.door.in_flight(), 0);
}

#[tokio::test]
async fn a_drain_answers_what_was_read_and_tells_the_rest() {
    let mut rig = Rig::start().await;
    let channel = channel(rig.grpc).await;
    let mut health = HealthClient::new(channel.clone());
    let service = "evhub.ingest.v1.Ingest".to_owned();
    let mut watch = health.watch(HealthCheckRequest { service }).await.unwrap().into_inner();
    let (sender, stream) = requests(1);
    let mut answers = IngestClient::new(channel).publish_stream(stream).await.unwrap().into_inner();
    sender.send(good()).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().outcomes[0].kind(), Kind::Accepted);
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    rig.trigger.begin();

    let status = timeout(PATIENCE, answers.message()).await.unwrap().unwrap_err();
    let expected = (Code::Unavailable, "DRAINING".to_owned(), "rejected".to_owned(), None);
    assert_eq!(refusal(&status), expected);
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(watch.message().await.unwrap(), None);
    for listener in rig.listeners.drain(..) {
        timeout(PATIENCE, listener).await.expect("it ends").unwrap();
    }
    assert!(tokio::net::TcpStream::connect(rig.grpc).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn an_old_connection_ends_and_its_stream_says_so() {
    let limits = Limits { age: Duration::from_millis(200), ..Limits::default() };
    let rig = Rig::calling(limits, Door::default()).await;
    let (sender, stream) = requests(1);
    let mut client = IngestClient::new(channel(rig.grpc).await);
    let mut answers = client.publish_stream(stream).await.unwrap().into_inner();
    sender.send(good()).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().outcomes[0].kind(), Kind::Accepted);
    let status = timeout(PATIENCE, answers.message()).await.unwrap().unwrap_err();
    assert_eq!(refusal(&status).1, "DRAINING");
    client.publish(good()).await.expect("the channel has a new connection");
}

#[tokio::test]
async fn a_full_door_ends_the_call_and_opens_again() {
    let rig = Rig::calling(Limits::default(), Door::new(1000)).await;
    let mut client = IngestClient::new(channel(rig.grpc).await);
    let large = request(vec![event("large", None, &"x".repeat(2000))]);
    let status = client.publish(large.clone()).await.unwrap_err();
    let expected = (Code::ResourceExhausted, "BUSY".to_owned(), "rejected".to_owned(), None);
    assert_eq!(refusal(&status), expected);
    let mut answers = client.publish_stream(tokio_stream(vec![good(), large])).await.unwrap().into_inner();
    let first = answers.message().await;
    let last = match first {
        Ok(Some(answer)) => {
            assert_eq!(answer.outcomes[0].kind(), Kind::Accepted);
            answers.message().await.unwrap_err()
        }
        // Both requests may have come in one piece.
        other => other.unwrap_err(),
    };
    assert_eq!(refusal(&last).1, "BUSY");
    client.publish(good()).await.expect("there is room again");
    assert_eq!(rig.hub.door.in_flight(), 0);
}

fn tokio_stream(messages: Vec<PublishRequest>) -> impl futures_util::Stream<Item = PublishRequest> {
    futures_util::stream::iter(messages)
}

#[tokio::test]
async fn a_stream_keeps_its_deadline() {
    let rig = Rig::start().await;
    let (_sender, stream) = requests(1);
    let mut request = Request::new(stream);
    request.metadata_mut().insert("grpc-timeout", "1S".parse().unwrap());
    let mut answers =
        IngestClient::new(channel(rig.grpc).await).publish_stream(request).await.unwrap().into_inner();
    let status = timeout(PATIENCE, answers.message()).await.unwrap().unwrap_err();
    assert_eq!(refusal(&status).1, "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn health_knows_each_service() {
    let rig = Rig::start().await;
    let mut health = HealthClient::new(channel(rig.grpc).await);
    for service in ["", "evhub.ingest.v1.Ingest", "evhub_producer.evhubProducer"] {
        let service = service.to_owned();
        let answer = health.check(HealthCheckRequest { service }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    let unknown = || HealthCheckRequest { service: "other".to_owned() };
    assert_eq!(refusal(&health.check(unknown()).await.unwrap_err()).0, Code::NotFound);
    let mut watch = health.watch(unknown()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
}

#[tokio::test]
async fn reflection_lists_what_is_served() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let mut rig = Rig::start().await;
    let mut client = ServerReflectionClient::new(channel(rig.grpc).await);
    let ask = |asked| ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
    let list = ask(MessageRequest::ListServices(String::new()));
    let symbol = ask(MessageRequest::FileContainingSymbol("evhub_producer.evhubProducer".to_owned()));
    let (_open, more) = mpsc::channel::<ServerReflectionRequest>(1);
    let open =
        futures_util::stream::unfold(more, async |mut more| more.recv().await.map(|next| (next, more)));
    let asked = futures_util::stream::iter([list, symbol]).chain(open);
    let mut answers = client.server_reflection_info(asked).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("a list of services")
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    let expected = [
        "evhub.ingest.v1.Ingest",
        "evhub.ledger.v1.Ledger",
        "evhub_producer.evhubProducer",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ];
    assert_eq!(names, expected);
    let file = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))));

    rig.trigger.begin();
    for listener in rig.listeners.drain(..) {
        timeout(PATIENCE, listener).await.expect("an open reflection stream holds nobody up").unwrap();
    }
}

#[tokio::test]
async fn who_does_not_greet_is_cut_off() {
    let limits = Limits { greeting: Duration::from_millis(200), ..Limits::default() };
    let rig = Rig::calling(limits, Door::default()).await;
    for begun in ["", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut wire = Wire::connect(rig.grpc).await;
        wire.send(begun).await;
        assert!(wire.drained().await, "{begun:?}");
    }
    IngestClient::new(channel(rig.grpc).await).publish(good()).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let rig = Rig::calling(Limits { connections: 1, ..Limits::default() }, Door::default()).await;
    let mut client = IngestClient::new(channel(rig.grpc).await);
    client.publish(good()).await.unwrap();
    assert!(Wire::connect(rig.grpc).await.ends().await);
    client.publish(good()).await.expect("the first one has its place");
}
