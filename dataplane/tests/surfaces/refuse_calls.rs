//! What is refused over gRPC, how, and that it leaves no trace: not in the log, not on the connection, and not on any
//! other. By the rows of bad inputs of gRPC and HTTP/2.

use bytes::Bytes;
use evhub_dataplane::{grpc::Limits, ingest::Door};
use evhub_proto::{
    cloudevents::cloud_event::{CloudEventAttributeValue, cloud_event_attribute_value::Attr},
    ingest::{PublishRequest, PublishResponse, outcome::Kind},
};
use prost::Message as _;
use tonic::Code;

use super::{
    h2::{PUBLISH, Raw, STREAM, event, frame, good, prefixed, request},
    rig::{BATCH_EVENTS, EVENT_BYTES, Rig},
    wire::Wire,
};

/// A call and what it is refused with.
struct Case {
    row: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Bytes,
    code: Code,
    reason: &'static str,
    field: Option<&'static str>,
}

impl Case {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn to(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    fn at(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }
}

fn case(row: &'static str, body: impl Into<Bytes>, code: Code, reason: &'static str) -> Case {
    Case { row, path: PUBLISH, headers: Vec::new(), body: body.into(), code, reason, field: None }
}

fn of_calls() -> Vec<Case> {
    let whole = || frame(&good());
    let short = [&[0, 0xff, 0xff, 0xff, 0xff][..], &[0; 10]].concat();
    let large = [&[0, 0, 0x40, 0, 1][..], &[0; 10]].concat();
    let packed = || prefixed(1, &good().encode_to_vec());
    let cut = whole().slice(..20);
    vec![
        case("B-30", whole(), Code::Unimplemented, "UNKNOWN_METHOD").to("/evhub.ingest.v1.Ingest/Nothing"),
        case("B-30", whole(), Code::Unimplemented, "UNKNOWN_METHOD").to("/no.such.Service/Publish"),
        case("B-30", whole(), Code::Unimplemented, "UNKNOWN_METHOD").to("/"),
        case("B-31", short, Code::ResourceExhausted, "EVENT_TOO_LARGE"),
        case("B-31", large, Code::ResourceExhausted, "EVENT_TOO_LARGE"),
        case("B-32", packed(), Code::Unimplemented, "UNSUPPORTED_MEDIA_TYPE").at("grpc-encoding"),
        case("B-32", packed(), Code::Unimplemented, "UNSUPPORTED_MEDIA_TYPE")
            .at("grpc-encoding")
            .with("grpc-encoding", "gzip"),
        case("B-32", whole(), Code::Unimplemented, "UNSUPPORTED_MEDIA_TYPE")
            .at("grpc-encoding")
            .with("grpc-encoding", "br"),
        case("B-32", prefixed(7, &[]), Code::InvalidArgument, "INVALID_MESSAGE"),
        case("B-39", cut, Code::InvalidArgument, "INVALID_MESSAGE"),
        case("B-39", "", Code::InvalidArgument, "INVALID_MESSAGE"),
        case("B-38", whole(), Code::DeadlineExceeded, "DEADLINE_EXCEEDED").with("grpc-timeout", "1n"),
        case("B-38", whole(), Code::DeadlineExceeded, "DEADLINE_EXCEEDED").with("grpc-timeout", "0S"),
        case("B-38", whole(), Code::InvalidArgument, "INVALID_HEADER")
            .at("grpc-timeout")
            .with("grpc-timeout", "soon"),
        case("B-38", whole(), Code::InvalidArgument, "INVALID_HEADER")
            .at("grpc-timeout")
            .with("grpc-timeout", "123456789S"),
    ]
}

/// What protobuf cannot be.
fn of_messages() -> Vec<Case> {
    let bad = |bytes: &[u8]| case("B-39", prefixed(0, bytes), Code::InvalidArgument, "INVALID_MESSAGE");
    let deep = [[0x2b].repeat(10_000), [0x2c].repeat(10_000)].concat();
    let broken = &[0x1a, 0x04, 0x0a, 0x02, 0xff, 0xfe];
    vec![
        bad(&[0x80]),
        bad(&[0x00, 0x00]),
        bad(&[0x0d, 0, 0, 0, 0]).at("namespace"),
        bad(&[0x0c]).at("namespace"),
        bad(&deep),
        bad(&[0x0a, 0x02, 0xff, 0xfe]).at("namespace"),
        bad(&[&PublishRequest { events: Vec::new(), ..good() }.encode_to_vec()[..], broken].concat())
            .at("events.id"),
        bad(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]).at("namespace"),
    ]
}

/// What no event can be, and no Producer takes.
fn of_events() -> Vec<Case> {
    let invalid =
        |message: PublishRequest, reason| case("B-39", frame(&message), Code::InvalidArgument, reason);
    let with = |name: &str, attr| {
        let mut event = event("1", None, "x");
        event.attributes.insert(name.to_owned(), CloudEventAttributeValue { attr });
        request(vec![event])
    };
    let time = |seconds, nanos| Some(Attr::CeTimestamp(prost_types::Timestamp { seconds, nanos }));
    let string = |text: &str| Some(Attr::CeString(text.to_owned()));
    let nobody = PublishRequest { producer: "nobody".to_owned(), ..good() };
    let elsewhere = PublishRequest { namespace: String::new(), ..good() };
    let late = PublishRequest { producer: "late".to_owned(), ..good() };
    let many = request((0..=BATCH_EVENTS).map(|n| event(&n.to_string(), None, "x")).collect());
    let large = request(vec![event("1", None, &"x".repeat(EVENT_BYTES))]);
    vec![
        invalid(with("time", time(569_034_205_184, 0)), "INVALID_TIME").at("events[0].time"),
        invalid(with("time", time(0, -1)), "INVALID_TIME").at("events[0].time"),
        invalid(with("ext", None), "INVALID_ATTRIBUTE_TYPE").at("events[0].ext"),
        invalid(with("Ext", string("1")), "INVALID_ATTRIBUTE_NAME").at("events[0].Ext"),
        invalid(with("evhubcron", string("1h")), "RESERVED_ATTRIBUTE").at("events[0].evhubcron"),
        invalid(request(vec![event("", None, "x")]), "MISSING_ATTRIBUTE").at("events[0].id"),
        invalid(request(vec![]), "EMPTY_BATCH").at("events"),
        case("B-02", frame(&nobody), Code::NotFound, "UNKNOWN_PRODUCER"),
        case("B-02", frame(&elsewhere), Code::NotFound, "UNKNOWN_PRODUCER"),
        case("B-26", frame(&late), Code::Unavailable, "NOT_READY"),
        case("B-19", frame(&many), Code::ResourceExhausted, "BATCH_TOO_LARGE").at("events"),
        case("B-11", frame(&large), Code::ResourceExhausted, "EVENT_TOO_LARGE").at("events[0]"),
    ]
}

#[tokio::test]
async fn each_bad_call_is_refused_and_the_next_good_one_taken() {
    let rig = Rig::start().await;
    let (mut published, mut wrong) = (0, Vec::new());
    for case in of_calls().into_iter().chain(of_messages()).chain(of_events()) {
        let shown = format!("{} {} {:?} {:.40?}", case.row, case.path, case.headers, case.body);
        let mut raw = Raw::connect(rig.grpc).await;
        let heard = raw.call(case.path, &case.headers, case.body).await;
        assert_eq!(heard.http, 200, "{shown}");
        let field = case.field.map(ToOwned::to_owned);
        let expected = (case.code, case.reason.to_owned(), "rejected".to_owned(), field);
        if heard.refusal() != expected {
            wrong.push(format!("{shown}: {:?}, not {expected:?}", heard.refusal()));
        }
        assert!(raw.publishes().await, "after {shown}");
        assert!(Raw::connect(rig.grpc).await.publishes().await, "beside {shown}");
        published += 2;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let events = rig.events().await;
    assert_eq!(events.len(), published);
    assert!(events.iter().all(|event| event.id == "good"), "a refused event left no trace");
    assert_eq!(rig.hub.door.in_flight(), 0);
}

/// What stands between the messages of a stream decides whether there is a next one; what is in them does not.
#[tokio::test]
async fn a_stream_ends_with_what_is_no_message_and_not_with_what_is_a_bad_one() {
    let rig = Rig::start().await;
    let large = [&[0, 0, 0x40, 0, 1][..], &[0; 10]].concat();
    let cut = frame(&good()).slice(..20);
    let ending = [
        (Bytes::from(large), Code::ResourceExhausted, "EVENT_TOO_LARGE"),
        (prefixed(1, &good().encode_to_vec()), Code::Unimplemented, "UNSUPPORTED_MEDIA_TYPE"),
        (prefixed(7, &[]), Code::InvalidArgument, "INVALID_MESSAGE"),
        (cut, Code::InvalidArgument, "INVALID_MESSAGE"),
    ];
    let stream = async |requests: &[Bytes]| {
        Raw::connect(rig.grpc).await.call(STREAM, &[], requests.concat().into()).await
    };
    for (last, code, reason) in ending {
        let heard = stream(&[frame(&good()), last]).await;
        let refusal = heard.refusal();
        assert_eq!((refusal.0, refusal.1.as_str(), refusal.2.as_str()), (code, reason, "rejected"));
        let [answer] = &heard.messages::<PublishResponse>()[..] else {
            panic!("{reason}: what came before is answered")
        };
        assert_eq!(answer.outcomes[0].kind(), Kind::Accepted);
    }
    let bad = [
        (prefixed(0, &[0x80]), 0, "INVALID_MESSAGE"),
        (
            prefixed(
                0,
                &[&[0x20, 9][..], &good().encode_to_vec(), &[0x1a, 0x04, 0x0a, 0x02, 0xff, 0xfe]].concat(),
            ),
            9,
            "INVALID_MESSAGE",
        ),
        (
            frame(&PublishRequest { correlation: 9, producer: "nobody".to_owned(), ..good() }),
            9,
            "UNKNOWN_PRODUCER",
        ),
        (
            frame(&PublishRequest {
                correlation: 9,
                ..request(vec![event("1", None, "x"); BATCH_EVENTS + 1])
            }),
            9,
            "BATCH_TOO_LARGE",
        ),
    ];
    for (middle, correlation, reason) in bad {
        let heard = stream(&[frame(&good()), middle, frame(&good())]).await;
        assert_eq!(heard.status.as_ref().expect("a status").code(), Code::Ok, "{reason}");
        let answers = heard.messages::<PublishResponse>();
        let outcomes: Vec<_> =
            answers.iter().map(|answer| (answer.correlation, answer.outcomes[0].reason.as_str())).collect();
        assert_eq!(outcomes, [(0, ""), (correlation, reason), (0, "")]);
        assert!(answers.iter().all(|answer| answer.outcomes.len() == 1));
    }
    assert_eq!(rig.events().await.len(), 4 + 2 * 4);
    assert_eq!(rig.hub.door.in_flight(), 0);
}

#[tokio::test]
async fn what_is_no_call_gets_a_plain_status() {
    let rig = Rig::start().await;
    let mut raw = Raw::connect(rig.grpc).await;
    for content_type in ["application/grpc+json", "application/json", "application/grpcx", ""] {
        let heard = raw.call(PUBLISH, &[("content-type", content_type)], frame(&good())).await;
        assert_eq!((heard.http, heard.status.is_none()), (415, true), "{content_type}");
    }
    let heard = raw.call(PUBLISH, &[("content-type", "application/grpc+proto")], frame(&good())).await;
    assert_eq!(heard.http, 200);
    assert!(raw.publishes().await);
    assert_eq!(rig.events().await.len(), 2);
}

#[tokio::test]
async fn what_protobuf_allows_is_read_as_it_says() {
    let rig = Rig::start().await;
    let mut raw = Raw::connect(rig.grpc).await;
    let whole = good().encode_to_vec();
    // A field that nobody knows, and one key of the attributes twice: ignored, and the last one counts.
    let unknown = [&whole[..], &[0xa2, 0x06, 0x01, 0x78]].concat();
    let pair = |value: &str| {
        let attr = Some(Attr::CeString(value.to_owned()));
        let value = CloudEventAttributeValue { attr }.encode_to_vec();
        let entry = [&[0x0a, 1, b'x', 0x12, value.len() as u8][..], &value].concat();
        [&[0x2a, entry.len() as u8][..], &entry].concat()
    };
    let event = [event("twice", None, "x").encode_to_vec(), pair("first"), pair("last")].concat();
    let head = PublishRequest { events: Vec::new(), ..good() }.encode_to_vec();
    let twice = [&head[..], &[0x1a, event.len() as u8], &event].concat();
    for message in [unknown, twice] {
        let heard = raw.call(PUBLISH, &[], prefixed(0, &message)).await;
        assert_eq!(heard.status.unwrap().code(), Code::Ok);
    }
    let events = rig.events().await;
    let found = events.iter().find(|event| event.id == "twice").unwrap();
    assert_eq!(found.extension("x"), Some("last"));
}

/// A frame of HTTP/2.
fn h2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn broken_frames_end_their_connection_only() {
    let rig = Rig::calling(Limits::default(), Door::default()).await;
    let mut beside = Raw::connect(rig.grpc).await;
    let start = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &h2(4, 0, 0, &[])].concat();
    // POST, http, and a path, by HPACK's own table; then nothing but what is wrong.
    let head = [0x83, 0x86, 0x84, 0x01, 0x01, b'h'];
    let open = h2(1, 4, 1, &head);
    let flood = (0..5000).flat_map(|_| h2(9, 0, 1, &[0x40, 1, b'a', 1, b'b'].repeat(200))).collect();
    let rows: [(&str, Vec<u8>); 7] = [
        ("B-34 a window grows by nothing", [open.clone(), h2(8, 0, 0, &[0; 4])].concat()),
        ("B-35 a head without an end", [h2(1, 0, 1, &head), flood].concat()),
        ("B-37 a window overflows", [open.clone(), h2(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])].concat()),
        (
            "B-37 a stream's number again",
            [open.clone(), h2(3, 0, 1, &[0, 0, 0, 8]), h2(1, 5, 1, &head)].concat(),
        ),
        ("B-37 an even number", h2(1, 4, 2, &head)),
        ("B-34 data on no stream", h2(0, 0, 0, b"x")),
        ("a frame that is too long", h2(0, 0, 1, &vec![0; 20 << 10])),
    ];
    for (row, frames) in rows {
        let mut wire = Wire::connect(rig.grpc).await;
        // The other side may have enough before all is sent.
        wire.try_send([&start[..], &frames].concat()).await;
        assert!(wire.drained().await, "{row}");
        assert!(beside.publishes().await, "beside {row}");
        assert!(Raw::connect(rig.grpc).await.publishes().await, "after {row}");
    }
}

#[tokio::test]
async fn calls_that_are_reset_at_once_end_the_connection() {
    let rig = Rig::start().await;
    let start = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &h2(4, 0, 0, &[])].concat();
    let head = [0x83, 0x86, 0x84, 0x01, 0x01, b'h'];
    let burst = |n: u32| [h2(1, 4, n, &head), h2(3, 0, n, &[0, 0, 0, 8])].concat();
    let flood: Vec<u8> = (0..20_000).flat_map(|n| burst(2 * n + 1)).collect();
    let mut wire = Wire::connect(rig.grpc).await;
    wire.try_send([start, flood].concat()).await;
    assert!(wire.drained().await);
    assert!(Raw::connect(rig.grpc).await.publishes().await);
}
