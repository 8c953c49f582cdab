//! What EvHub's events become, and which are refused.

use evhub_proto::evhub_comm::{EventComm, EventDelayTrigger, EventIdempotent, EventSource, EventTag};

use super::*;
use crate::evhub::Code;

fn message() -> Message {
    let source = EventSource {
        source: "till/3".to_owned(),
        qua: "V1".to_owned(),
        create_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
    };
    let tags = EventTag { tag_list: vec!["paid".to_owned(), "vip".to_owned()] };
    Message {
        app_id: "shop".to_owned(),
        topic_id: "orders".to_owned(),
        event_comm: Some(EventComm { event_source: Some(source), event_tag: Some(tags) }),
        data: bytes::Bytes::from_static(b"{}"),
    }
}

fn trigger(kind: i32) -> EventTrigger {
    EventTrigger { trigger_type: kind, ..EventTrigger::default() }
}

fn delay(seconds: i64, nanos: i32) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos }
}

fn keyed(key: &str, delay_time: impl Into<Option<prost_types::Duration>>) -> EventDelayProcessTrigger {
    EventDelayProcessTrigger { key: key.to_owned(), delay_time: delay_time.into() }
}

#[test]
fn everything_has_its_place() {
    let option = EventOption { ordering_key: "customer-7".to_owned(), idempotent: None };
    let (event, controls) = read("id", message(), None, Some(option)).unwrap();
    assert_eq!(
        (event.id.as_str(), event.source.as_str(), event.kind.as_str()),
        ("id", "till/3", "evhub.orders")
    );
    assert_eq!(event.time.as_deref(), Some("1970-01-01T00:00:01Z"));
    assert_eq!((event.partition_key(), event.extension("evhubqua")), (Some("customer-7"), Some("V1")));
    assert_eq!(event.data.as_deref(), Some(&b"{}"[..]));
    assert_eq!(controls.tags, ["paid", "vip"]);
    assert!(controls.delay_keys.is_empty());
}

#[test]
fn what_is_absent_is_made_up() {
    let bare = Message { event_comm: None, data: bytes::Bytes::new(), ..message() };
    let (event, controls) = read("id", bare, None, None).unwrap();
    assert_eq!((event.source.as_str(), event.data), ("/evhub/shop/orders", None));
    assert!(event.time.is_some(), "every event is dated");
    assert!(event.extensions.is_empty() && controls == Controls::default());
}

#[test]
fn what_evhub_takes_for_a_source_or_a_tag_is_taken() {
    for (text, expected) in
        [("10.0.0.1:8080", "evhub:10.0.0.1:8080"), ("100%", "evhub:100%25"), ("", "/evhub/shop/orders")]
    {
        let mut message = message();
        let comm = message.event_comm.as_mut().unwrap();
        comm.event_source.as_mut().unwrap().source = text.to_owned();
        comm.event_tag.as_mut().unwrap().tag_list = ["", "paid", " "].map(ToOwned::to_owned).to_vec();
        let (event, controls) = read("id", message, None, None).unwrap();
        assert_eq!((event.source.as_str(), &controls.tags[..]), (expected, &["paid".to_owned()][..]));
    }
    let mut message = message();
    message.event_comm.as_mut().unwrap().event_tag.as_mut().unwrap().tag_list = vec![String::new()];
    assert!(read("id", message, None, None).unwrap().1.tags.is_empty());
}

#[test]
fn delays_by_key_are_controls() {
    let list = vec![
        keyed("reminder", delay(600, 0)),
        keyed("soon", delay(0, 1)),
        keyed("past", delay(-1, 0)),
        keyed("far", delay(34_559_999, 999_999_999)),
    ];
    let trigger = EventTrigger { delay_process_trigger_list: list, ..trigger(4) };
    let (_, controls) = read("id", message(), Some(trigger), None).unwrap();
    let delays: Vec<_> =
        controls.delay_keys.iter().map(|(key, delay)| (key.as_str(), delay.as_millis())).collect();
    assert_eq!(
        delays,
        [("reminder", 600_000), ("soon", 1), ("past", 0), ("far", 34_560_000_000)],
        "never before its time"
    );
}

#[test]
fn a_delay_that_is_over_is_none() {
    for delay_time in [delay(0, 0), delay(-5, 0)] {
        let trigger = EventTrigger {
            delay_trigger: Some(EventDelayTrigger { delay_time: Some(delay_time) }),
            ..trigger(2)
        };
        let (_, controls) = read("id", message(), Some(trigger), None).unwrap();
        assert_eq!(controls.when, None);
    }
}

#[test]
fn a_delay_is_a_time_to_come_in_whole_milliseconds_and_never_early() {
    for (delay_time, millis) in [(delay(1, 0), 1_000), (delay(0, 1), 1), (delay(9, 999_999_999), 10_000)] {
        let trigger = EventTrigger {
            delay_trigger: Some(EventDelayTrigger { delay_time: Some(delay_time) }),
            ..trigger(2)
        };
        let (_, controls) = read("id", message(), Some(trigger), None).unwrap();
        assert_eq!(controls.when, Some(When::After(Duration::from_millis(millis))));
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_its_code() {
    let mixed = EventTrigger {
        delay_trigger: Some(EventDelayTrigger { delay_time: Some(delay(1, -1)) }),
        ..trigger(2)
    };
    let list = |entries: Vec<_>| EventTrigger { delay_process_trigger_list: entries, ..trigger(4) };
    let cases = [
        (trigger(3), Code::Parameter),
        (trigger(2), Code::Parameter),
        (trigger(99), Code::Parameter),
        (mixed, Code::Parameter),
        (list(vec![keyed("a", None)]), Code::Parameter),
        (list(vec![keyed("a=b", delay(1, 0))]), Code::Parameter),
        (list(vec![keyed("a", delay(1, 0)), keyed("a", delay(2, 0))]), Code::Parameter),
        (list(vec![keyed("a", delay(i64::MAX, 0))]), Code::Parameter),
    ];
    for (trigger, code) in cases {
        let shown = format!("{trigger:?}");
        assert_eq!(read("id", message(), Some(trigger), None).unwrap_err().code, code, "{shown}");
    }
    let idempotent = EventIdempotent { key: "k".repeat(257), idempotent_time: None };
    let option = EventOption { idempotent: Some(idempotent), ordering_key: String::new() };
    assert_eq!(read("id", message(), None, Some(option)).unwrap_err().code, Code::Parameter);
}

#[test]
fn a_key_is_taken_with_its_time_and_one_of_nothing_is_none() {
    let with = |key: &str, idempotent_time| {
        let idempotent = Some(EventIdempotent { key: key.to_owned(), idempotent_time });
        let option = EventOption { idempotent, ordering_key: String::new() };
        read("id", message(), None, Some(option)).unwrap().1.idempotency
    };
    let key = |window| Some(Idempotency { key: "k".to_owned(), window });
    assert_eq!(with("", None), None);
    assert_eq!(with("k", None), key(None));
    assert_eq!(with("k", Some(delay(0, 0))), key(None));
    assert_eq!(with("k", Some(delay(5, 0))), key(Some(Duration::from_secs(5))));
}

#[test]
fn what_is_no_event_is_a_wrong_parameter() {
    let with = |change: fn(&mut EventComm)| {
        let mut message = message();
        change(message.event_comm.as_mut().unwrap());
        message
    };
    let cases = [
        with(|comm| comm.event_tag.as_mut().unwrap().tag_list.push("a,b".to_owned())),
        with(|comm| comm.event_tag.as_mut().unwrap().tag_list.push("x".repeat(200))),
        with(|comm| comm.event_source.as_mut().unwrap().qua = "\0".to_owned()),
        with(|comm| comm.event_source.as_mut().unwrap().create_time.as_mut().unwrap().nanos = -1),
    ];
    for message in cases {
        let shown = format!("{message:?}");
        assert_eq!(read("id", message, None, None).unwrap_err().code, Code::Parameter, "{shown}");
    }
}
