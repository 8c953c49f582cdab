//! EvHub's event as one of ours, as `docs/grpc.md` maps them. Pure but for the clock that dates an undated event.

use std::{sync::Arc, time::Duration};

use evhub_event::{Controls, Event, controls::MAX_DELAY, source};
use evhub_proto::evhub_comm::{
    Event as Message, EventDelayProcessTrigger, EventOption, EventTrigger, EventTriggerType,
};
use evhub_routing::{Name, Producer, Snapshot};
use jiff::Timestamp;

use super::{Code, Fault};
use crate::{
    grpc::instant,
    problem::{Problem, reason},
};

/// The Producer that an event is for.
pub(super) fn producer(running: &Snapshot, event: &Message) -> Result<Arc<Producer>, Fault> {
    let (app, topic) = (event.app_id.as_str(), event.topic_id.as_str());
    for (value, name) in [(app, "app_id"), (topic, "topic_id")] {
        if value.is_empty() {
            return Err(Fault::parameter(format!("{name} is missing")));
        }
    }
    let is_meant =
        |producer: &&Arc<Producer>| producer.evhub.app_id == app && producer.evhub.topic_id == topic;
    // Most are called as their Producer is.
    let by_name = running.producers.get(&Name::new(app, topic)).filter(is_meant);
    let found = by_name.or_else(|| running.producers.values().find(is_meant));
    found.cloned().ok_or_else(|| {
        Problem::new(reason::UNKNOWN_PRODUCER, "no Producer takes events of this app_id and topic_id here")
            .into()
    })
}

/// The event to be stored, and what is to be done with it.
pub(super) fn read(
    id: &str,
    event: Message,
    trigger: Option<EventTrigger>,
    option: Option<EventOption>,
) -> Result<(Event, Controls), Fault> {
    let delay_keys = delay_keys(trigger)?;
    let key = ordering_key(option)?;
    let Message { app_id, topic_id, event_comm, data } = event;
    let (origin, tags) = event_comm.map(|comm| (comm.event_source, comm.event_tag)).unwrap_or_default();
    let origin = origin.unwrap_or_default();
    let mut extensions = Vec::new();
    if !key.is_empty() {
        extensions.push(("partitionkey".to_owned(), key));
    }
    let controls = controls(&tags.map(|tags| tags.tag_list).unwrap_or_default(), &delay_keys)?;
    if !origin.qua.is_empty() {
        extensions.push(("evhubqua".to_owned(), origin.qua));
    }
    let time = match origin.create_time {
        None => Timestamp::now().to_string(),
        Some(time) => {
            let problem = "create_time is no instant between the years 1 and 9999";
            instant(time).ok_or_else(|| Fault::parameter(problem))?
        }
    };
    let event = Event {
        id: id.to_owned(),
        source: source::of_text(&origin.source, &app_id, &topic_id),
        kind: format!("evhub.{topic_id}"),
        subject: None,
        time: Some(time),
        datacontenttype: None,
        dataschema: None,
        extensions,
        data: Some(data).filter(|data| !data.is_empty()),
    };
    event.check()?;
    Ok((event, controls))
}

/// The controls, by the same rules as those of any event.
fn controls(tags: &[String], delay_keys: &[(String, Duration)]) -> Result<Controls, Fault> {
    if let Some(tag) = tags.iter().find(|tag| tag.contains(',')) {
        let shown = evhub_event::invalid::quote(tag);
        return Err(Fault::parameter(format!("the tag {shown} has a comma, which no tag may")));
    }
    // A tag of nothing says nothing: EvHub takes it, and no filter can name it.
    let tags: Vec<&str> = tags.iter().map(|tag| tag.trim()).filter(|tag| !tag.is_empty()).collect();
    let delays: Vec<String> =
        delay_keys.iter().map(|(key, delay)| format!("{key}={}", written(*delay))).collect();
    let given = [("evhubtags", tags.join(",")), ("evhubdelaykeys", delays.join(","))];
    let extensions = given.into_iter().filter(|(_, value)| !value.is_empty());
    let mut carrier = Event {
        id: String::new(),
        source: String::new(),
        kind: String::new(),
        subject: None,
        time: None,
        datacontenttype: None,
        dataschema: None,
        extensions: extensions.map(|(name, value)| (name.to_owned(), value)).collect(),
        data: None,
    };
    Ok(Controls::take(&mut carrier)?)
}

/// A span as the control has it, whose numbers have at most five digits.
fn written(span: Duration) -> String {
    let (seconds, millis) = (span.as_secs(), span.subsec_millis());
    format!("{}h{}m{}s{millis}ms", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// When Processors of certain keys are to get the event; everything else gets it at once.
fn delay_keys(trigger: Option<EventTrigger>) -> Result<Vec<(String, Duration)>, Fault> {
    let Some(trigger) = trigger else { return Ok(Vec::new()) };
    match EventTriggerType::try_from(trigger.trigger_type) {
        Ok(EventTriggerType::Invalid | EventTriggerType::RealTime) => Ok(Vec::new()),
        Ok(EventTriggerType::DelayProcess) => {
            trigger.delay_process_trigger_list.into_iter().map(delay_key).collect()
        }
        Ok(EventTriggerType::Delay) => {
            let delay = trigger.delay_trigger.and_then(|trigger| trigger.delay_time);
            let delay = delay.ok_or_else(|| Fault::parameter("delay_trigger.delay_time is missing"))?;
            // What should have come already comes now.
            if span(delay)?.is_zero() { Ok(Vec::new()) } else { Err(later("delayed")) }
        }
        Ok(EventTriggerType::Repeat) => Err(later("repeated")),
        Err(_) => Err(Fault::parameter(format!("there is no trigger_type {}", trigger.trigger_type))),
    }
}

fn later(what: &str) -> Fault {
    let message = format!("{what} events are not taken by this version; nothing was stored");
    Fault { code: Code::DelayProduce, message }
}

fn delay_key(trigger: EventDelayProcessTrigger) -> Result<(String, Duration), Fault> {
    let EventDelayProcessTrigger { key, delay_time } = trigger;
    if key.contains([',', '=']) {
        let shown = evhub_event::invalid::quote(&key);
        return Err(Fault::parameter(format!(
            "the key {shown} has a comma or an equals sign, which none may"
        )));
    }
    let missing = || Fault::parameter("delay_process_trigger_list has an entry without delay_time");
    Ok((key, span(delay_time.ok_or_else(missing)?)?))
}

/// A span of time in whole milliseconds; one below zero is none.
fn span(duration: prost_types::Duration) -> Result<Duration, Fault> {
    let prost_types::Duration { seconds, nanos } = duration;
    let mixed = (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0);
    if mixed || nanos.unsigned_abs() > 999_999_999 {
        return Err(Fault::parameter("a duration's seconds and nanos have one sign, and nanos nine digits"));
    }
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else {
        return Ok(Duration::ZERO);
    };
    let span = Duration::new(seconds, nanos);
    if span > MAX_DELAY {
        return Err(Fault::parameter("a delay is at most 9600 hours"));
    }
    let millis = span.as_nanos().div_ceil(1_000_000);
    Ok(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
}

fn ordering_key(option: Option<EventOption>) -> Result<String, Fault> {
    let EventOption { idempotent, ordering_key } = option.unwrap_or_default();
    if idempotent.is_some_and(|idempotent| !idempotent.key.is_empty()) {
        let message = "idempotent publishing is not taken by this version; nothing was stored";
        return Err(Fault { code: Code::System, message: message.to_owned() });
    }
    Ok(ordering_key)
}

#[cfg(test)]
mod tests;
