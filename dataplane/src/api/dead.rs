//! Dead letters as tools see them. Reads the log.

use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use evhub_dispatch::dead::{Cause, Reason};
use evhub_event::{Event, Record, kafka};
use evhub_journal::Journal;
use http::Uri;
use serde::Serialize;

use super::{
    Api, PAGE, Page, instant,
    letters::{Letter, Look},
    readers::Read,
    text_or_base64,
};
use crate::{
    problem::{Problem, reason},
    request::{Identified, Named, Query},
};

/// A dead letter in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    topic: String,
    partition: u32,
    offset: u64,
    attempts: u32,
    reason: Reason,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_attempt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt: Option<String>,
}

/// A dead letter with everything.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Whole {
    #[serde(flatten)]
    summary: Summary,
    headers: Vec<RecordHeader>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    processor_uid: String,
    generation: i64,
    causes: Vec<Failure>,
}

/// A header of the event's record; names may repeat, so they are a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordHeader {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

#[derive(Debug, Serialize)]
struct Failure {
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    text: String,
}

pub(super) async fn list<J: Journal>(
    State(api): State<Api<J>>,
    Named(name): Named,
    uri: Uri,
) -> Result<Read<Page<Summary>>, Problem> {
    let query = Query::read(&uri, &["limit", "after"])?;
    let limit = query.limit(PAGE.0, PAGE.1)?;
    let from = query.number::<u64>("after")?.unwrap_or(0);
    let processor = api.processor(&name)?;
    let seat = api.readers.seat().await;
    let index = api.letters.of(&api.hub, &processor, &mut Look::default()).await?;
    let (letters, next) = index.page(&api.hub.journal, &processor.dead_topic, from, limit).await?;
    let items = letters.iter().map(Summary::new).collect();
    Ok(Read(Page { items, next: next.map(|next| next.to_string()) }, seat))
}

pub(super) async fn show<J: Journal>(
    State(api): State<Api<J>>,
    Identified(name, id): Identified,
    uri: Uri,
) -> Result<Read<Whole>, Problem> {
    Query::read(&uri, &[])?;
    let missing =
        || Problem::new(reason::UNKNOWN_DEAD_LETTER, "this Processor has no dead letter of this id");
    let processor = api.processor(&name)?;
    let topic = &processor.dead_topic;
    let seat = api.readers.seat().await;
    let index = api.letters.of(&api.hub, &processor, &mut Look::default()).await?;
    let at = match index.find(&id) {
        Some(at) => at,
        None if index.is_whole() => return Err(missing()),
        None => return Err(counting()),
    };
    let (letters, _) = index.page(&api.hub.journal, topic, at, 1).await?;
    let letter = letters.into_iter().find(|letter| letter.at == at).ok_or_else(missing)?;
    Ok(Read(Whole::new(&letter), seat))
}

/// So many dead letters that not all are known yet; each request comes to know more.
fn counting() -> Problem {
    let detail =
        "the dead letters of this Processor are still being counted, and this one may be among the rest";
    Problem::new(reason::NOT_READY, detail).retry_after(1)
}

// === impl Summary ===

impl Summary {
    fn new(letter: &Letter) -> Self {
        let Letter { story, record, .. } = letter;
        // A record that is no event is a dead letter too, with less to say.
        let (event_id, source, kind) = match kafka::decode(record) {
            Ok(Event { id, source, kind, .. }) => (Some(id), Some(source), Some(kind)),
            Err(_) => (None, None, None),
        };
        let (key, key_base64) = text_or_base64(record.key.as_ref());
        Self {
            id: story.id(),
            event_id,
            source,
            r#type: kind,
            key,
            key_base64,
            topic: story.topic.clone(),
            partition: story.partition,
            offset: story.offset,
            attempts: story.attempts,
            reason: story.reason,
            cause: story.causes.last().map(|cause| cause.text.clone()),
            first_attempt: story.first_attempt.and_then(instant),
            last_attempt: story.last_attempt.and_then(instant),
        }
    }
}

// === impl Whole ===

impl Whole {
    fn new(letter: &Letter) -> Self {
        let Letter { story, record, .. } = letter;
        Self {
            summary: Summary::new(letter),
            headers: headers(record),
            data_base64: record.value.as_ref().map(|value| STANDARD.encode(value)),
            processor_uid: story.processor_uid.clone(),
            generation: story.generation,
            causes: story.causes.iter().map(Failure::new).collect(),
        }
    }
}

fn headers(record: &Record) -> Vec<RecordHeader> {
    let header = |header: &evhub_event::Header| {
        let (value, value_base64) = text_or_base64(Some(&header.value));
        RecordHeader { name: header.name.clone(), value, value_base64 }
    };
    record.headers.iter().map(header).collect()
}

impl Failure {
    fn new(cause: &Cause) -> Self {
        let Cause { attempt, time, status, text } = cause.clone();
        Self { attempt, time: instant(time), status, text }
    }
}
