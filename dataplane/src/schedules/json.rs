//! A schedule that somebody puts, as JSON: in the shape of a Producer's `schedules[]`, read field by field, and shown. Pure.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use evhub_cron::{End, MissedRuns, Policy};
use evhub_event::{duration, invalid::quote};
use evhub_routing::{ScheduledData, ScheduledEvent, written::Written};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::problem::{Problem, reason};

/// The fields that there are; `status` is what the hub says, and is taken and passed over, so that what is shown can be put.
const FIELDS: &[&str] = &[
    "name",
    "cron",
    "every",
    "timeZone",
    "start",
    "end",
    "missedRuns",
    "jitter",
    "suspend",
    "event",
    "status",
];
const DURATION: &str = "a duration such as 500ms, 30s, 5m or 1h30m";
const INSTANT: &str = "an instant since 1970 such as 2026-01-31T08:00:00Z";
const BASE64: &str = "bytes in base64 with their padding, such as aGVsbG8=";

/// An object, and where it stands.
struct Object<'a> {
    at: &'a str,
    fields: &'a Map<String, Value>,
}

/// Reads the schedule of this name. A name in it is the same.
pub(super) fn read(name: &str, body: &[u8]) -> Result<Written, Problem> {
    let malformed = |error: serde_json::Error| {
        Problem::new(reason::INVALID_JSON, format!("the body is the schedule as a JSON object: {error}"))
    };
    let value: Value = serde_json::from_slice(body).map_err(malformed)?;
    let whole = Object::of("", &value, FIELDS)?;
    if whole.text("name")?.is_some_and(|said| said != name) {
        return Err(invalid("name", format!("must be {}, as in the path, or left out", quote(name))));
    }
    let missed = whole.object("missedRuns", &["policy", "max", "deadline"])?;
    Ok(Written {
        name: name.to_owned(),
        cron: whole.text("cron")?.map(str::to_owned),
        every: whole.span("every")?,
        time_zone: whole.text("timeZone")?.map(str::to_owned),
        start: whole.instant("start")?,
        end: whole.object("end", &["time", "count"])?.map(|end| read_end(&end)).transpose()?,
        missed_runs: missed.map(|missed| read_missed(&missed)).transpose()?.unwrap_or_default(),
        jitter: whole.span("jitter")?.unwrap_or_default(),
        suspend: whole.flag("suspend")?,
        event: match whole.object("event", &["type", "data", "dataBase64", "partitionKey", "tags"])? {
            Some(event) => read_event(&event)?,
            None => return Err(invalid("event", "is required")),
        },
    })
}

fn read_end(end: &Object<'_>) -> Result<End, Problem> {
    match (end.instant("time")?, end.number("count")?) {
        (Some(time), None) => Ok(End::Time(time)),
        (None, Some(count)) => Ok(End::Count(count)),
        _ => Err(invalid("end", "exactly one of time and count must be given")),
    }
}

fn read_missed(missed: &Object<'_>) -> Result<MissedRuns, Problem> {
    let usual = MissedRuns::default();
    let policy = match missed.text("policy")? {
        None => usual.policy,
        Some("Skip") => Policy::Skip,
        Some("Latest") => Policy::Latest,
        Some("All") => Policy::All,
        Some(other) => {
            let message = format!("unsupported value: {} (supported: Skip, Latest, All)", quote(other));
            return Err(invalid("missedRuns.policy", message));
        }
    };
    // More than fits is more than is allowed.
    let max = missed.number("max")?.map_or(usual.max, |max| u32::try_from(max).unwrap_or(u32::MAX));
    Ok(MissedRuns { policy, max, deadline: missed.span("deadline")?.unwrap_or(usual.deadline) })
}

fn read_event(event: &Object<'_>) -> Result<ScheduledEvent, Problem> {
    let kind = event.text("type")?.ok_or_else(|| invalid("event.type", "is required"))?;
    let data = match (event.get("data"), event.text("dataBase64")?) {
        (Some(_), Some(_)) => return Err(invalid("event", "only one of data and dataBase64 may be given")),
        (Some(value), None) => Some(ScheduledData::Json(value.to_string())),
        (None, Some(text)) => {
            let wrong = |_| invalid("event.dataBase64", format!("must be {BASE64} (got {})", quote(text)));
            Some(ScheduledData::Binary(STANDARD.decode(text).map_err(wrong)?))
        }
        (None, None) => None,
    };
    Ok(ScheduledEvent {
        kind: kind.to_owned(),
        data,
        partition_key: event.text("partitionKey")?.map(str::to_owned),
        tags: event.texts("tags")?,
    })
}

fn invalid(field: &str, message: impl Into<String>) -> Problem {
    let problem = Problem::new(reason::INVALID_SCHEDULE, message);
    if field.is_empty() { problem } else { problem.at(field) }
}

// === impl Object ===

impl<'a> Object<'a> {
    fn of(at: &'a str, value: &'a Value, known: &[&str]) -> Result<Self, Problem> {
        let Value::Object(fields) = value else { return Err(mistyped(at, "of type object", value)) };
        let object = Self { at, fields };
        match fields.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(object),
            Some(name) => {
                let message = format!("unknown field {}; there are {}", quote(name), known.join(", "));
                Err(invalid(&object.path(name), message))
            }
        }
    }

    fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// A null is as good as nothing.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn object(&self, name: &'a str, known: &[&str]) -> Result<Option<Self>, Problem> {
        self.get(name).map(|value| Self::of(name, value, known)).transpose()
    }

    fn read<T>(
        &self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| mistyped(&self.path(name), wanted, value))
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Problem> {
        self.read(name, "of type string", Value::as_str)
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, Problem> {
        let items = self.read(name, "of type array", Value::as_array)?.map(Vec::as_slice).unwrap_or_default();
        let text = |(index, item): (usize, &Value)| {
            let wrong = || mistyped(&format!("{}[{index}]", self.path(name)), "of type string", item);
            item.as_str().map(str::to_owned).ok_or_else(wrong)
        };
        items.iter().enumerate().map(text).collect()
    }

    fn flag(&self, name: &str) -> Result<bool, Problem> {
        Ok(self.read(name, "of type boolean", Value::as_bool)?.unwrap_or_default())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.read(name, "of type integer, and not negative", Value::as_u64)
    }

    fn span(&self, name: &str) -> Result<Option<Duration>, Problem> {
        self.read(name, DURATION, |value| duration::parse(value.as_str()?))
    }

    fn instant(&self, name: &str) -> Result<Option<i64>, Problem> {
        self.read(name, INSTANT, |value| instant(value.as_str()?))
    }
}

fn mistyped(field: &str, wanted: &str, value: &Value) -> Problem {
    let got = match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => quote(text),
        other => other.to_string(),
    };
    invalid(field, format!("must be {wanted} (got {got})"))
}

fn instant(text: &str) -> Option<i64> {
    // The parser would also take a space for the T, and lower case.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.TZ+".contains(&byte));
    let millis = text.parse::<Timestamp>().ok().filter(|_| is_plain)?.as_millisecond();
    (millis >= 0).then_some(millis)
}

// === shown ===

/// The schedule as it can be put again.
pub(super) fn show(written: &Written) -> Map<String, Value> {
    let Written { name, cron, every, time_zone, start, end, missed_runs, jitter, suspend, event } = written;
    let span = |span: &Duration| Value::from(duration::write(*span));
    let at = |millis: i64| crate::api::instant(millis).map(Value::from);
    let policy = match missed_runs.policy {
        Policy::Skip => "Skip",
        Policy::Latest => "Latest",
        Policy::All => "All",
    };
    let end = end.and_then(|end| match end {
        End::Time(time) => at(time).map(|time| json!({ "time": time })),
        End::Count(count) => Some(json!({ "count": count })),
    });
    let missed = json!({ "policy": policy, "max": missed_runs.max, "deadline": span(&missed_runs.deadline) });
    let fields = [
        ("name", Some(Value::from(name.as_str()))),
        ("cron", cron.as_deref().map(Value::from)),
        ("every", every.as_ref().map(span)),
        ("timeZone", time_zone.as_deref().map(Value::from)),
        ("start", start.and_then(at)),
        ("end", end),
        ("missedRuns", Some(missed)),
        ("jitter", (!jitter.is_zero()).then(|| span(jitter))),
        ("suspend", Some(Value::from(*suspend))),
        ("event", Some(shown_event(event))),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn shown_event(ScheduledEvent { kind, data, partition_key, tags }: &ScheduledEvent) -> Value {
    let (json, base64) = match data {
        // It was JSON when it was taken.
        Some(ScheduledData::Json(text)) => (serde_json::from_str::<Value>(text).ok(), None),
        Some(ScheduledData::Binary(bytes)) => (None, Some(Value::from(STANDARD.encode(bytes)))),
        None => (None, None),
    };
    let fields = [
        ("type", Some(Value::from(kind.as_str()))),
        ("data", json),
        ("dataBase64", base64),
        ("partitionKey", partition_key.as_deref().map(Value::from)),
        ("tags", (!tags.is_empty()).then(|| Value::from(tags.as_slice()))),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests;
