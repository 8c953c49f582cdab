//! EvHub's dispatch: the request and the answer, as protobuf and in the JSON of its own stubs. Pure.
//!
//! That JSON is Go's of the protobuf structs and not protobuf's: snake case names, zero values left out, bytes as
//! base64, instants as `{"seconds":…,"nanos":…}`. Answers are read more freely than requests are written.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use evhub_event::source;
use evhub_proto::{
    evhub_comm::{Event, EventComm, EventSource, EventTag},
    evhub_processor::{DispatchReq, DispatchRsp},
};
use evhub_routing::EvhubName;
use serde_json::{Map, Value, json};

use super::{Delivery, Reply, cloudevent::instant, text::printable};
use crate::outcome::Answer;

/// The code by which a target cancels an event.
pub const CANCEL: i64 = 30_000;
/// As much as is kept of what a target gives back. A parked delivery's record must have room for it.
pub const PASS_BACK: usize = 32 << 10;

/// The request.
pub fn request(delivery: &Delivery<'_>) -> DispatchReq {
    let Delivery { event, tags, producer, pass_back, identity, occurrence, .. } = delivery;
    DispatchReq {
        event_id: event.id.clone(),
        event: Some(message(event, tags, producer)),
        retry_times: identity.attempt.saturating_sub(1),
        repeat_times: occurrence.map_or(0, |run| u32::try_from(run.saturating_sub(1)).unwrap_or(u32::MAX)),
        pass_back: pass_back.cloned().unwrap_or_default(),
    }
}

/// An event as EvHub has it.
pub fn message(event: &evhub_event::Event, tags: &[String], producer: &EvhubName) -> Event {
    let event_source = EventSource {
        source: source::text(&event.source, &producer.app_id, &producer.topic_id).into_owned(),
        qua: event.extension("evhubqua").unwrap_or_default().to_owned(),
        create_time: event.time.as_deref().and_then(instant),
    };
    let event_comm = EventComm {
        event_source: Some(event_source),
        event_tag: (!tags.is_empty()).then(|| EventTag { tag_list: tags.to_vec() }),
    };
    Event {
        app_id: producer.app_id.clone(),
        topic_id: producer.topic_id.clone(),
        event_comm: Some(event_comm),
        data: event.data.clone().unwrap_or_default(),
    }
}

/// The request as JSON.
pub fn json(request: &DispatchReq) -> Bytes {
    let DispatchReq { event_id, event, retry_times, repeat_times, pass_back } = request;
    let value = object([
        ("event_id", json!(event_id)),
        ("event", event.as_ref().map(event_json).unwrap_or_default()),
        ("retry_times", json!(retry_times)),
        ("repeat_times", json!(repeat_times)),
        ("pass_back", json!(BASE64.encode(pass_back))),
    ]);
    Bytes::from(value.to_string())
}

pub(super) fn event_json(event: &Event) -> Value {
    let Event { app_id, topic_id, event_comm, data } = event;
    let comm = event_comm.as_ref().map(|EventComm { event_source, event_tag }| {
        object([
            ("event_source", event_source.as_ref().map(source_json).unwrap_or_default()),
            (
                "event_tag",
                event_tag.as_ref().map(|tag| json!({"tag_list": tag.tag_list})).unwrap_or_default(),
            ),
        ])
    });
    object([
        ("app_id", json!(app_id)),
        ("topic_id", json!(topic_id)),
        ("event_comm", comm.unwrap_or_default()),
        ("data", json!(BASE64.encode(data))),
    ])
}

fn source_json(source: &EventSource) -> Value {
    let EventSource { source, qua, create_time } = source;
    let time = create_time
        .as_ref()
        .map(|time| object([("seconds", json!(time.seconds)), ("nanos", json!(time.nanos))]));
    object([("source", json!(source)), ("qua", json!(qua)), ("create_time", time.unwrap_or_default())])
}

/// An object without its members that are zero, empty or absent.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let given = members.into_iter().filter(|(_, value)| match value {
        Value::Null => false,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !text.is_empty(),
        _ => true,
    });
    Value::Object(given.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// What a message of an answer means: its code counts.
pub fn understand_message(answer: DispatchRsp) -> Reply {
    let DispatchRsp { ret, pass_back } = answer;
    let ret = ret.unwrap_or_default();
    let answer = match i64::from(ret.code) {
        0 => Answer::Accepted,
        CANCEL => Answer::Cancelled,
        code => Answer::Refused { code, text: printable(ret.msg.as_bytes()) },
    };
    Reply { answer, pass_back: Some(given_back(&pass_back)) }
}

/// What an answer in JSON means: a code in its body counts, whatever the status; without one the status does. One that has
/// none of EvHub's words may be another's, who knows nothing of what was given back.
pub fn understand(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Reply {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let pass_back = field(&value, "pass_back").or_else(|| field(&value, "passBack"));
    let given =
        pass_back.and_then(Value::as_str).and_then(|text| BASE64.decode(text).ok()).unwrap_or_default();
    let ret = field(&value, "ret").unwrap_or(&Value::Null);
    let is_evhubs = !ret.is_null() || pass_back.is_some();
    let Some(code) = code(ret) else {
        let text = "the target's answer has a code that is no whole number".to_owned();
        return Reply { answer: Answer::Failed(text), pass_back: Some(given_back(&given)) };
    };
    let said = field(ret, "msg").and_then(Value::as_str).unwrap_or_default();
    let answer = match code {
        CANCEL => Answer::Cancelled,
        0 if (200..300).contains(&status) => Answer::Status { status, text: String::new(), retry_after },
        0 => Answer::Status { status, text: printable(body), retry_after },
        // A status that says the same may say when to come back.
        _ if status >= 300 => Answer::Status { status, text: printable(said.as_bytes()), retry_after },
        code => Answer::Refused { code, text: printable(said.as_bytes()) },
    };
    Reply { answer, pass_back: is_evhubs.then(|| given_back(&given)) }
}

/// As much of what a target gave back as it gets again.
fn given_back(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&bytes[..bytes.len().min(PASS_BACK)])
}

/// A member of an object, by a name in any case: Go reads so, and so its servers may write.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    let found = object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value).filter(|value| !value.is_null())
}

/// The code of an answer; 0 where it says none. `None` is a code that nobody can read: not to be taken for success.
fn code(ret: &Value) -> Option<i64> {
    if !(ret.is_object() || ret.is_null()) {
        return None;
    }
    match field(ret, "code") {
        None => Some(0),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value
            .as_i64()
            .or_else(|| value.as_f64().filter(|code| code.fract() == 0.0).map(|code| code as i64)),
    }
}
