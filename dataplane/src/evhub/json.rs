//! EvHub's JSON: what Go writes for its messages, and canonical protobuf JSON too. Pure.
//!
//! Names are compared without case and underscores, so that `event_id`, `eventID` and `eventId` are one. Enumerations are
//! numbers or names; spans and instants are objects of `seconds` and `nanos`, or strings; bytes are base64. What is null
//! is absent, and what is not known is ignored, as Go does: it is skipped, and costs no memory however much it is.

use std::{collections::BTreeMap, fmt};

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use evhub_proto::{
    evhub_comm::{
        CrontabPulser, Endpoint, Event, EventComm, EventDelayProcessTrigger, EventDelayTrigger,
        EventIdempotent, EventOption, EventPulserType, EventRepeatEndType, EventRepeatTrigger, EventSource,
        EventTag, EventTrigger, EventTriggerType, ProtocolType, RegularPulser, RepeatEnd, Result as Ret, Tx,
        TxCallback, TxStatus,
    },
    evhub_producer::{
        CommitReq, CommitRsp, PrepareReq, PrepareRsp, ReportReq, ReportRsp, RollbackReq, RollbackRsp,
    },
    evhub_transaction::CallbackRsp,
};
use jiff::{SignedDuration, Timestamp};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Fault, MAX_LIST};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: [GeneralPurpose; 2] =
    [GeneralPurpose::new(&STANDARD, LENIENT), GeneralPurpose::new(&URL_SAFE, LENIENT)];

/// An answer: zero values are left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    ret: Option<RetJson>,
    #[serde(skip_serializing_if = "String::is_empty")]
    event_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx: Option<TxJson>,
}

#[derive(Debug, Serialize)]
struct TxJson {
    event_id: String,
    status: i32,
}

#[derive(Debug, Serialize)]
struct RetJson {
    code: i32,
    msg: String,
}

/// What any of the messages calls a field, without case and underscores.
const KNOWN: [&str; 45] = [
    "address",
    "appid",
    "begintime",
    "callbackinterval",
    "code",
    "createtime",
    "crontab",
    "crontabpulser",
    "data",
    "delayprocesstriggerlist",
    "delaytime",
    "delaytrigger",
    "endpoint",
    "endtime",
    "endtype",
    "event",
    "eventcomm",
    "eventid",
    "eventsource",
    "eventtag",
    "idempotent",
    "idempotenttime",
    "interval",
    "key",
    "msg",
    "nanos",
    "option",
    "orderingkey",
    "protocoltype",
    "pulsertype",
    "qua",
    "regularpulser",
    "repeatend",
    "repeattimes",
    "repeattrigger",
    "ret",
    "seconds",
    "source",
    "taglist",
    "timeout",
    "topicid",
    "trigger",
    "triggertype",
    "txcallback",
    "txstatus",
];
/// The fields of an object that any message knows, by their names without case and underscores, still unread.
struct Fields<'a>(BTreeMap<&'static str, &'a RawValue>);

/// The entries of a list, still unread; `None` if there are too many.
struct List<'a>(Option<Vec<&'a RawValue>>);

/// Reads `POST /v1/report`.
pub(super) fn report(body: &[u8]) -> Result<ReportReq, Fault> {
    let value = parse(body)?;
    let fields = Fields::of(value, "the body")?;
    Ok(ReportReq {
        event: fields.object("event", event)?,
        trigger: fields.object("trigger", trigger)?,
        option: fields.object("option", option)?,
    })
}

/// Reads `POST /v1/prepare`.
pub(super) fn prepare(body: &[u8]) -> Result<PrepareReq, Fault> {
    let value = parse(body)?;
    let fields = Fields::of(value, "the body")?;
    let tx_callback = fields.object("tx_callback", tx_callback)?;
    Ok(PrepareReq { event: fields.object("event", event)?, tx_callback })
}

/// Reads a publisher's answer to EvHub's callback.
pub(super) fn callback(body: &[u8]) -> Result<CallbackRsp, Fault> {
    let value = parse(body)?;
    let fields = Fields::of(value, "the body")?;
    let ret = |fields: &Fields<'_>| Ok(Ret { code: fields.small("code")?, msg: fields.text("msg")? });
    Ok(CallbackRsp {
        ret: fields.object("ret", ret)?,
        tx_status: fields.named("tx_status", |name| TxStatus::from_str_name(name).map(Into::into))?,
        trigger: fields.object("trigger", trigger)?,
    })
}

/// Reads `POST /v1/commit`.
pub(super) fn commit(body: &[u8]) -> Result<CommitReq, Fault> {
    let value = parse(body)?;
    let fields = Fields::of(value, "the body")?;
    Ok(CommitReq { event_id: fields.text("event_id")?, trigger: fields.object("trigger", trigger)? })
}

/// Reads `POST /v1/rollback`.
pub(super) fn rollback(body: &[u8]) -> Result<RollbackReq, Fault> {
    let value = parse(body)?;
    Ok(RollbackReq { event_id: Fields::of(value, "the body")?.text("event_id")? })
}

fn parse(body: &[u8]) -> Result<&RawValue, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::parameter(format!("the body is not JSON: {error}")))
}

// === messages ===

fn event(fields: &Fields<'_>) -> Result<Event, Fault> {
    Ok(Event {
        app_id: fields.text("app_id")?,
        topic_id: fields.text("topic_id")?,
        event_comm: fields.object("event_comm", comm)?,
        data: fields.bytes("data")?,
    })
}

fn comm(fields: &Fields<'_>) -> Result<EventComm, Fault> {
    let source = |fields: &Fields<'_>| {
        Ok(EventSource {
            source: fields.text("source")?,
            qua: fields.text("qua")?,
            create_time: fields.instant("create_time")?,
        })
    };
    let tag = |fields: &Fields<'_>| Ok(EventTag { tag_list: fields.texts("tag_list")? });
    Ok(EventComm {
        event_source: fields.object("event_source", source)?,
        event_tag: fields.object("event_tag", tag)?,
    })
}

/// When the event is to be delivered.
fn trigger(fields: &Fields<'_>) -> Result<EventTrigger, Fault> {
    let delay = |fields: &Fields<'_>| Ok(EventDelayTrigger { delay_time: fields.span("delay_time")? });
    let keyed = |fields: &Fields<'_>| {
        Ok(EventDelayProcessTrigger { key: fields.text("key")?, delay_time: fields.span("delay_time")? })
    };
    Ok(EventTrigger {
        trigger_type: fields
            .named("trigger_type", |text| EventTriggerType::from_str_name(text).map(Into::into))?,
        delay_trigger: fields.object("delay_trigger", delay)?,
        repeat_trigger: fields.object("repeat_trigger", repeat)?,
        delay_process_trigger_list: fields.objects("delay_process_trigger_list", keyed)?,
    })
}

fn repeat(fields: &Fields<'_>) -> Result<EventRepeatTrigger, Fault> {
    let end = |fields: &Fields<'_>| {
        let times = u32::try_from(fields.number("repeat_times")?);
        Ok(RepeatEnd {
            repeat_times: times.map_err(|_| mistyped("repeat_times", "a whole number of 32 bits from 0"))?,
            end_time: fields.instant("end_time")?,
        })
    };
    let regular = |fields: &Fields<'_>| Ok(RegularPulser { interval: fields.span("interval")? });
    let crontab = |fields: &Fields<'_>| Ok(CrontabPulser { crontab: fields.text("crontab")? });
    Ok(EventRepeatTrigger {
        begin_time: fields.instant("begin_time")?,
        end_type: fields.named("end_type", |text| EventRepeatEndType::from_str_name(text).map(Into::into))?,
        repeat_end: fields.object("repeat_end", end)?,
        pulser_type: fields
            .named("pulser_type", |text| EventPulserType::from_str_name(text).map(Into::into))?,
        regular_pulser: fields.object("regular_pulser", regular)?,
        crontab_pulser: fields.object("crontab_pulser", crontab)?,
    })
}

fn tx_callback(fields: &Fields<'_>) -> Result<TxCallback, Fault> {
    let endpoint = |fields: &Fields<'_>| {
        let protocol = |name: &str| ProtocolType::from_str_name(name).map(Into::into);
        Ok(Endpoint {
            protocol_type: fields.named("protocol_type", protocol)?,
            address: fields.text("address")?,
            timeout: fields.span("timeout")?,
        })
    };
    Ok(TxCallback {
        endpoint: fields.object("endpoint", endpoint)?,
        callback_interval: fields.span("callback_interval")?,
    })
}

fn option(fields: &Fields<'_>) -> Result<EventOption, Fault> {
    let idempotent = |fields: &Fields<'_>| {
        Ok(EventIdempotent { key: fields.text("key")?, idempotent_time: fields.span("idempotent_time")? })
    };
    Ok(EventOption {
        idempotent: fields.object("idempotent", idempotent)?,
        ordering_key: fields.text("orderingKey")?,
    })
}

// === impl Fields ===

/// The name under which a field is known, if it is.
fn known(name: &str) -> Option<&'static str> {
    let plain = || name.chars().filter(|c| *c != '_').flat_map(char::to_lowercase);
    KNOWN.iter().find(|known| plain().eq(known.chars())).copied()
}

fn mistyped(name: &str, wanted: &str) -> Fault {
    Fault::parameter(format!("{name} must be {wanted}"))
}

/// The string that a value is, if it is one.
fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

impl<'a> Fields<'a> {
    fn of(value: &'a RawValue, name: &str) -> Result<Self, Fault> {
        serde_json::from_str(value.get()).map_err(|_| mistyped(name, "an object"))
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(known(name)?).copied().filter(|value| value.get() != "null")
    }

    fn object<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Fields<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.get(name).map(|value| Fields::of(value, name).and_then(|fields| read(&fields))).transpose()
    }

    fn list(&self, name: &str) -> Result<Vec<&'a RawValue>, Fault> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let List(entries) = serde_json::from_str(value.get()).map_err(|_| mistyped(name, "a list"))?;
        entries.ok_or_else(|| Fault::too_long(name))
    }

    fn objects<T>(
        &self,
        name: &str,
        read: impl Fn(&Fields<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        self.list(name)?.into_iter().map(|value| read(&Fields::of(value, name)?)).collect()
    }

    fn text(&self, name: &str) -> Result<String, Fault> {
        let Some(value) = self.get(name) else { return Ok(String::new()) };
        string(value).ok_or_else(|| mistyped(name, "a string"))
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, Fault> {
        let texts = self.list(name)?.into_iter().map(string);
        texts.map(|text| text.ok_or_else(|| mistyped(name, "a list of strings"))).collect()
    }

    /// The string in this field, if there is one in it.
    fn string(&self, name: &str) -> Option<String> {
        self.get(name).and_then(string)
    }

    fn bytes(&self, name: &str) -> Result<Bytes, Fault> {
        let mut text = self.text(name)?;
        // Go passes over them, and what writes MIME's base64 makes them.
        text.retain(|c| !matches!(c, '\r' | '\n'));
        let decoded = BASE64.iter().find_map(|engine| engine.decode(&text).ok());
        decoded.map(Bytes::from).ok_or_else(|| mistyped(name, "base64"))
    }

    /// A whole number, or a string that holds one.
    fn number(&self, name: &str) -> Result<i64, Fault> {
        let number = match (self.get(name), self.string(name)) {
            (None, _) => Some(0),
            (_, Some(text)) => text.parse().ok(),
            (Some(value), None) => value.get().parse().ok(),
        };
        number.ok_or_else(|| mistyped(name, "a whole number"))
    }

    fn nanos(&self) -> Result<i32, Fault> {
        i32::try_from(self.number("nanos")?).map_err(|_| mistyped("nanos", "at most nine digits"))
    }

    /// One of an enumeration: by its number, or its name.
    fn named(&self, name: &str, known: impl Fn(&str) -> Option<i32>) -> Result<i32, Fault> {
        match self.string(name) {
            Some(text) => {
                known(&text).ok_or_else(|| mistyped(name, "the number or the name of one there is"))
            }
            _ => self.small(name),
        }
    }

    fn small(&self, name: &str) -> Result<i32, Fault> {
        i32::try_from(self.number(name)?).map_err(|_| mistyped(name, "a number of 32 bits"))
    }

    fn span(&self, name: &str) -> Result<Option<prost_types::Duration>, Fault> {
        let wrong = || mistyped(name, "a span such as {\"seconds\":3} or \"3s\"");
        match self.string(name) {
            Some(text) => {
                let digits = text.strip_suffix('s').ok_or_else(wrong)?;
                let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
                // The name of the unit is all that this notation and the other have in common.
                let span: SignedDuration = text.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
                Ok(Some(prost_types::Duration { seconds: span.as_secs(), nanos: span.subsec_nanos() }))
            }
            _ => self.object(name, |fields| {
                Ok(prost_types::Duration { seconds: fields.number("seconds")?, nanos: fields.nanos()? })
            }),
        }
    }

    fn instant(&self, name: &str) -> Result<Option<prost_types::Timestamp>, Fault> {
        match self.string(name) {
            Some(text) => {
                let wrong =
                    |_| mistyped(name, "an instant such as {\"seconds\":3} or \"1970-01-01T00:00:03Z\"");
                let time: Timestamp = text.parse().map_err(wrong)?;
                let (seconds, nanos) = (time.as_nanosecond().div_euclid(1_000_000_000), time.as_nanosecond());
                let nanos = nanos.rem_euclid(1_000_000_000);
                Ok(Some(prost_types::Timestamp { seconds: seconds as i64, nanos: nanos as i32 }))
            }
            _ => self.object(name, |fields| {
                Ok(prost_types::Timestamp { seconds: fields.number("seconds")?, nanos: fields.nanos()? })
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object)
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            match known(&name) {
                Some(name) => {
                    fields.insert(name, map.next_value()?);
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Fields(fields))
    }
}

// === impl List ===

impl<'de> Deserialize<'de> for List<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Array)
    }
}

struct Array;

impl<'de> Visitor<'de> for Array {
    type Value = List<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while entries.len() < MAX_LIST {
            let Some(entry) = list.next_element()? else { return Ok(List(Some(entries))) };
            entries.push(entry);
        }
        let more = list.next_element::<IgnoredAny>()?.is_some();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(List((!more).then_some(entries)))
    }
}

// === impl Answer ===

impl From<ReportRsp> for Answer {
    fn from(ReportRsp { ret, event_id }: ReportRsp) -> Self {
        Self { event_id, ..Self::told(ret, None) }
    }
}

impl From<PrepareRsp> for Answer {
    fn from(PrepareRsp { ret, tx }: PrepareRsp) -> Self {
        Self::told(ret, tx)
    }
}

impl From<CommitRsp> for Answer {
    fn from(CommitRsp { ret, tx }: CommitRsp) -> Self {
        Self::told(ret, tx)
    }
}

impl From<RollbackRsp> for Answer {
    fn from(RollbackRsp { ret, tx }: RollbackRsp) -> Self {
        Self::told(ret, tx)
    }
}

impl From<Fault> for Answer {
    fn from(fault: Fault) -> Self {
        Self::told(Some(fault.into()), None)
    }
}

impl Answer {
    fn told(ret: Option<Ret>, tx: Option<Tx>) -> Self {
        let ret = ret.map(|Ret { code, msg }| RetJson { code, msg });
        let tx = tx.map(|Tx { event_id, status }| TxJson { event_id, status });
        Self { ret, event_id: String::new(), tx }
    }
}

#[cfg(test)]
mod tests;
