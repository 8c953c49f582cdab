//! EvHub's event as one of ours, as `docs/grpc.md` maps them. Pure but for the clock that dates an undated event.

use std::{sync::Arc, time::Duration};

use evhub_event::{
    Controls, Event,
    controls::{Idempotency, MAX_DELAY, Repeat, When, idempotency_key},
    source,
};
use evhub_proto::evhub_comm::{
    Event as Message, EventDelayProcessTrigger, EventIdempotent, EventOption, EventTrigger, EventTriggerType,
};
use evhub_routing::{Name, Producer, Snapshot};
use jiff::Timestamp;

use super::{Fault, repeat};
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
    let Times { delay_keys, when, repeat } = times(trigger)?;
    let EventOption { idempotent, ordering_key: key } = option.unwrap_or_default();
    let idempotency = idempotent.map(idempotency).transpose()?.flatten();
    let Message { app_id, topic_id, event_comm, data } = event;
    let (origin, tags) = event_comm.map(|comm| (comm.event_source, comm.event_tag)).unwrap_or_default();
    let origin = origin.unwrap_or_default();
    let mut extensions = Vec::new();
    if !key.is_empty() {
        extensions.push(("partitionkey".to_owned(), key));
    }
    let controls = controls(&tags.map(|tags| tags.tag_list).unwrap_or_default(), &delay_keys)?;
    let controls = Controls { when, idempotency, repeat, ..controls };
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
pub(super) fn controls(tags: &[String], delay_keys: &[(String, Duration)]) -> Result<Controls, Fault> {
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

/// When Processors of certain keys are to get the event, and when all are, where that is not at once, or not once.
#[derive(Default)]
pub(super) struct Times {
    pub(super) delay_keys: Vec<(String, Duration)>,
    pub(super) when: Option<When>,
    pub(super) repeat: Option<Repeat>,
}

pub(super) fn times(trigger: Option<EventTrigger>) -> Result<Times, Fault> {
    let Some(trigger) = trigger else { return Ok(Times::default()) };
    match EventTriggerType::try_from(trigger.trigger_type) {
        Ok(EventTriggerType::Invalid | EventTriggerType::RealTime) => Ok(Times::default()),
        Ok(EventTriggerType::DelayProcess) => {
            let keys = trigger.delay_process_trigger_list.into_iter().map(delay_key);
            Ok(Times { delay_keys: keys.collect::<Result<_, _>>()?, ..Times::default() })
        }
        Ok(EventTriggerType::Delay) => {
            let delay = trigger.delay_trigger.and_then(|trigger| trigger.delay_time);
            let delay = span(delay.ok_or_else(|| Fault::parameter("delay_trigger.delay_time is missing"))?)?;
            // What should have come already comes now.
            Ok(Times { when: (!delay.is_zero()).then_some(When::After(delay)), ..Times::default() })
        }
        Ok(EventTriggerType::Repeat) => {
            let (when, repeat) = repeat::read(trigger)?;
            Ok(Times { when: Some(when), repeat: Some(repeat), ..Times::default() })
        }
        Err(_) => Err(Fault::parameter(format!("there is no trigger_type {}", trigger.trigger_type))),
    }
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
pub(super) fn span(duration: prost_types::Duration) -> Result<Duration, Fault> {
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
        return Err(Fault::parameter("a delay is at most 87600 hours"));
    }
    let millis = span.as_nanos().div_ceil(1_000_000);
    Ok(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
}

/// A key of nothing is none, and a time of nothing is the Producer's window.
fn idempotency(idempotent: EventIdempotent) -> Result<Option<Idempotency>, Fault> {
    let EventIdempotent { key, idempotent_time } = idempotent;
    if key.is_empty() {
        return Ok(None);
    }
    let window = idempotent_time.map(span).transpose()?.filter(|window| !window.is_zero());
    Ok(Some(Idempotency { key: idempotency_key(&key)?, window }))
}

#[cfg(test)]
mod tests;
