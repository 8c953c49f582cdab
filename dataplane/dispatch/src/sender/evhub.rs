//! EvHub's dispatch: the request and the answer in the JSON of its own stubs. Pure.
//!
//! That JSON is Go's of the protobuf structs and not protobuf's: snake case names, zero values left out, bytes as
//! base64, instants as `{"seconds":…,"nanos":…}`. Answers are read more freely than requests are written.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use evhub_event::Event;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Delivery, Reply, printable};
use crate::outcome::Answer;

/// The code by which a target cancels an event.
pub const CANCEL: i64 = 30_000;
/// As much as is kept of what a target gives back. A parked delivery's record must have room for it.
pub const PASS_BACK: usize = 32 << 10;

#[derive(Serialize)]
struct DispatchReq<'a> {
    event_id: &'a str,
    event: EvEvent<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    retry_times: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass_back: Option<String>,
}

#[derive(Serialize)]
struct EvEvent<'a> {
    app_id: &'a str,
    topic_id: &'a str,
    event_comm: EventComm<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

#[derive(Serialize)]
struct EventComm<'a> {
    event_source: EventSource<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_tag: Option<EventTag<'a>>,
}

#[derive(Serialize)]
struct EventSource<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qua: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<Value>,
}

#[derive(Serialize)]
struct EventTag<'a> {
    tag_list: &'a [String],
}

/// The request's body.
#[expect(clippy::missing_panics_doc, reason = "strings and numbers always serialize")]
pub fn request(delivery: &Delivery<'_>) -> Bytes {
    let Delivery { event, tags, producer, pass_back, identity, trace: _ } = delivery;
    let own = format!("/evhub/{}/{}", producer.app_id, producer.topic_id);
    let request = DispatchReq {
        event_id: &event.id,
        event: EvEvent {
            app_id: &producer.app_id,
            topic_id: &producer.topic_id,
            event_comm: EventComm {
                event_source: EventSource {
                    // This is what an event gets that came without one.
                    source: Some(event.source.as_str()).filter(|source| *source != own),
                    qua: event.extension("evhubqua"),
                    create_time: create_time(event),
                },
                event_tag: (!tags.is_empty()).then_some(EventTag { tag_list: tags }),
            },
            data: event.data.as_ref().map(|data| BASE64.encode(data)),
        },
        retry_times: identity.attempt - 1,
        pass_back: pass_back.map(|bytes| BASE64.encode(bytes)),
    };
    Bytes::from(serde_json::to_vec(&request).expect("strings and numbers always serialize"))
}

/// What an answer means: a code in its body counts, whatever the status; without one the status does.
pub fn understand(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Reply {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let pass_back = field(&value, "pass_back").or_else(|| field(&value, "passBack")).and_then(Value::as_str);
    let pass_back = pass_back.and_then(|text| BASE64.decode(text).ok()).filter(|bytes| !bytes.is_empty());
    let pass_back = pass_back.map(|mut bytes| {
        bytes.truncate(PASS_BACK);
        Bytes::from(bytes)
    });
    let ret = field(&value, "ret").unwrap_or(&Value::Null);
    let code = field(ret, "code").and_then(number).unwrap_or(0);
    let said = field(ret, "msg").and_then(Value::as_str);
    let answer = match code {
        CANCEL => Answer::Cancelled,
        0 if (200..300).contains(&status) => Answer::Status { status, text: String::new(), retry_after },
        0 => Answer::Status { status, text: printable(body), retry_after },
        // A status that says the same may say when to come back.
        _ if status >= 300 => {
            Answer::Status { status, text: printable(said.unwrap_or_default().as_bytes()), retry_after }
        }
        code => Answer::Refused { code, text: printable(said.unwrap_or_default().as_bytes()) },
    };
    Reply { answer, pass_back }
}

fn create_time(event: &Event) -> Option<Value> {
    let time: Timestamp = event.time.as_deref()?.parse().ok()?;
    let mut value = json!({ "seconds": time.as_second() });
    if time.subsec_nanosecond() != 0 {
        value["nanos"] = json!(time.subsec_nanosecond());
    }
    Some(value)
}

/// A member of an object, by a name in any case: Go reads so, and so its servers may write.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    let found = object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value).filter(|value| !value.is_null())
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
