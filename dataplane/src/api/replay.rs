//! Redrive: dead letters delivered again, to their Processor alone. Reads the dead topic, appends to the inbox.
//!
//! The answer comes when every event is durable in the inbox, so it keeps what it says; unless a rate is asked for: then it
//! comes when they are counted, and they follow. Events keep their ids, their keys and, per key, their order. A replay that
//! broke off may be repeated: what it had appended is then delivered twice.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
};

use axum::{
    Json,
    extract::{Request, State},
};
use bytes::Bytes;
use evhub_dispatch::topics;
use evhub_event::{
    Header, Record,
    invalid::quote,
    record::{ORIGIN, PROCESSOR_UID},
};
use evhub_journal::{ClusterSettings, Error, Journal, Place, TopicSettings, WriteError};
use evhub_routing::Processor;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Api,
    letters::{Letter, Look},
    replays::{Pace, Replay, Stage},
};
use crate::{
    ingest::body::{self, Bound, check_json},
    problem::{Problem, reason},
    request::{Named, Query},
};

/// Names the dead letter that a redriven record was.
const REPLAYED: &str = "evhub-replayed";
/// How many dead letters are read, and then appended, at once.
const WINDOW: usize = 256;
/// How many appends run at once: enough to share an fsync.
const ABREAST: usize = 64;
/// A list of ids is short; room for about 20,000 of them.
const ORDER: Bound = Bound { bytes: 1 << 20, reason: reason::BODY_TOO_LARGE };

/// What is to be replayed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Order {
    #[serde(rename = "from")]
    _from: Source,
    ids: Option<HashSet<String>>,
    #[serde(default)]
    dry_run: bool,
    /// At most so many events a second.
    rate: Option<NonZeroU32>,
}

#[derive(Debug, Deserialize)]
enum Source {
    Dead,
}

/// What was replayed.
#[derive(Debug, Serialize)]
pub(super) struct Replayed {
    id: String,
    matched: u64,
}

pub(super) async fn replay<J: Journal>(
    State(api): State<Api<J>>,
    Named(name): Named,
    request: Request,
) -> Result<(StatusCode, Json<Replayed>), Problem> {
    let (parts, body) = request.into_parts();
    let processor = match Query::read(&parts.uri, &[]).and_then(|_| api.processor(&name)) {
        Ok(processor) => processor,
        Err(problem) => return Err(body::discard(&parts.headers, body, problem).await),
    };
    if let Err(problem) = check_json(&parts.headers) {
        return Err(body::discard(&parts.headers, body, problem).await);
    }
    let body = body::read(&parts.headers, body, ORDER, &mut api.hub.door.enter()).await?;
    let order: Order = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("the body is no replay order: {}", quote(&error.to_string()));
        Problem::new(reason::INVALID_JSON, detail)
    })?;
    let running =
        || Problem::new(reason::REPLAY_RUNNING, "wait for the replay of this Processor that is under way");
    let right = api.letters.replay(&api.hub, &processor.dead_topic).ok_or_else(running)?;
    let id = Uuid::now_v7().to_string();
    if order.dry_run {
        let matched = count(&api, &processor, &order).await?;
        return Ok((StatusCode::ACCEPTED, Json(Replayed { id, matched })));
    }
    let pace = order.rate.map(Pace::new);
    let slow = match pace {
        Some(_) => Some(count(&api, &processor, &order).await?),
        None => None,
    };
    let replay = api.replays.begin(&processor.name, id.clone());
    replay.matches(slow.unwrap_or_default());
    // A caller that goes away does not leave half of what it ordered.
    let task = tokio::spawn(async move {
        let _right = right;
        let ended = run(&api, &processor, &order, &replay, pace).await;
        if pace.is_none() {
            replay.matches(replay.replayed());
        }
        match &ended {
            Ok(stage) => replay.end(*stage, None),
            Err(Problem { detail, .. }) => {
                let (name, id) = (&processor.name, &replay.id);
                tracing::warn!(processor = %name, replay = id, detail, "a replay broke off");
                replay.end(Stage::Failed, Some(detail.clone()));
            }
        }
        ended.map(|_| replay.replayed())
    });
    let given_up = |_| Problem::new(reason::INTERNAL, "the replay was given up").unknown();
    let matched = match slow {
        Some(matched) => matched,
        None => task.await.map_err(given_up)??,
    };
    Ok((StatusCode::ACCEPTED, Json(Replayed { id, matched })))
}

/// How many dead letters the order names.
async fn count<J: Journal>(api: &Api<J>, processor: &Processor, order: &Order) -> Result<u64, Problem> {
    let end = api.letters.of(&api.hub, processor, &mut Look::default()).await?.topic_end();
    let (mut from, mut matched) = (0, 0);
    loop {
        let _seat = api.readers.seat().await;
        let (letters, next) = wanted(api, processor, order, from, end).await?;
        matched += letters.len() as u64;
        match next {
            Some(next) => from = next,
            None => return Ok(matched),
        }
    }
}

/// Replays what the order names, in dead-letter order, to its end or until somebody wants no more.
async fn run<J: Journal>(
    api: &Api<J>,
    processor: &Processor,
    order: &Order,
    replay: &Replay,
    pace: Option<Pace>,
) -> Result<Stage, Problem> {
    let end = api.letters.of(&api.hub, processor, &mut Look::default()).await?.topic_end();
    let mut from = 0;
    let mut ready = false;
    loop {
        let (mut letters, next) = {
            let _seat = api.readers.seat().await;
            let found = wanted(api, processor, order, from, end).await;
            found.map_err(|problem| broken_off(problem, replay.replayed()))?
        };
        while !letters.is_empty() {
            if let Some(pace) = pace {
                replay.wait(pace).await;
            }
            if replay.is_stopped() {
                return Ok(Stage::Stopped);
            }
            if !ready {
                open_inbox(api, processor).await?;
                ready = true;
            }
            let part = pace.map_or(letters.len(), Pace::part).min(letters.len());
            let rest = letters.split_off(part);
            let appended = append(api, processor, std::mem::replace(&mut letters, rest)).await;
            let appended = appended.map_err(|error| stopped(error.into(), replay.replayed()))?;
            replay.advance(appended);
        }
        match next {
            Some(next) => from = next,
            None => return Ok(Stage::Done),
        }
    }
}

/// What the order names of one window before this end, and where the next one begins.
async fn wanted<J: Journal>(
    api: &Api<J>,
    processor: &Processor,
    order: &Order,
    from: u64,
    end: u64,
) -> Result<(Vec<Letter>, Option<u64>), Problem> {
    let (letters, next) = window(api, processor, from).await?;
    let is_wanted = |letter: &Letter| {
        letter.at < end && order.ids.as_ref().is_none_or(|ids| ids.contains(&letter.story.id()))
    };
    Ok((letters.into_iter().filter(is_wanted).collect(), next.filter(|next| *next < end)))
}

async fn window<J: Journal>(
    api: &Api<J>,
    processor: &Processor,
    from: u64,
) -> Result<(Vec<Letter>, Option<u64>), Error> {
    let index = api.letters.of(&api.hub, processor, &mut Look::default()).await?;
    index.page(&api.hub.journal, &processor.dead_topic, from, WINDOW).await
}

/// Makes the inbox when it is first needed, and tells the Processor's worker.
async fn open_inbox<J: Journal>(api: &Api<J>, processor: &Processor) -> Result<(), Problem> {
    let cluster = match api.hub.journal.look_up(&processor.inbox_topic).await? {
        Some(_) => ClusterSettings::default(),
        None => ClusterSettings::copies(processor.replicas, processor.min_in_sync_replicas),
    };
    let settings = TopicSettings { cluster, ..topics::inbox(processor) };
    api.hub.journal.ensure(&processor.inbox_topic, settings).await?;
    api.hub.inboxes.made(&processor.name);
    Ok(())
}

/// Appends letters; those of one key one after the other, the rest abreast.
async fn append<J: Journal>(
    api: &Api<J>,
    processor: &Processor,
    letters: Vec<Letter>,
) -> Result<u64, WriteError> {
    let count = letters.len() as u64;
    let lanes = lanes(letters, &processor.uid).into_iter().map(|lane| async move {
        for record in lane {
            api.hub.journal.append(&processor.inbox_topic, Place::ByKey, record).await?;
        }
        Ok(())
    });
    stream::iter(lanes).buffer_unordered(ABREAST).try_collect::<()>().await?;
    Ok(count)
}

fn lanes(letters: Vec<Letter>, uid: &str) -> Vec<Vec<Record>> {
    let mut keyed: HashMap<Bytes, Vec<Record>> = HashMap::new();
    let mut lanes = Vec::new();
    for letter in letters {
        let record = redriven(letter, uid);
        match record.key.clone() {
            Some(key) => keyed.entry(key).or_default().push(record),
            None => lanes.push(vec![record]),
        }
    }
    lanes.extend(keyed.into_values());
    lanes
}

fn redriven(letter: Letter, uid: &str) -> Record {
    let id = letter.story.id();
    let mut record = letter.record;
    record.headers.retain(|header| ![REPLAYED, PROCESSOR_UID].contains(&header.name.as_str()));
    let ours = [(REPLAYED, id), (PROCESSOR_UID, uid.to_owned())];
    // What is redriven again was published where it was published first.
    let origin = record.header(ORIGIN).is_none().then_some((ORIGIN, letter.story.topic));
    let ours = ours.into_iter().chain(origin);
    let header = |(name, value): (&str, String)| Header { name: name.to_owned(), value: value.into() };
    record.headers.extend(ours.map(header));
    record
}

/// A read failed: before the first append that is a plain refusal.
fn broken_off(problem: Problem, before: u64) -> Problem {
    if before == 0 { problem } else { stopped(problem, before) }
}

/// A replay that broke off: what was appended stays appended.
fn stopped(problem: Problem, before: u64) -> Problem {
    let detail =
        format!("{}; {before} dead letters, and perhaps some more, are replayed already", problem.detail);
    Problem { detail, ..problem }.unknown()
}

#[cfg(test)]
mod tests {
    use evhub_dispatch::dead::{DeadLetter, Reason};

    use super::*;

    fn letter(at: u64, key: Option<&str>) -> Letter {
        let story = DeadLetter {
            topic: "t".to_owned(),
            partition: 0,
            offset: at,
            processor_uid: "u".to_owned(),
            generation: 1,
            reason: Reason::MaxAttempts,
            attempts: 1,
            first_attempt: None,
            last_attempt: None,
            causes: Vec::new(),
        };
        let key = key.map(|key| Bytes::copy_from_slice(key.as_bytes()));
        Letter { at, story, record: Record { key, ..Record::default() } }
    }

    #[test]
    fn a_key_has_one_lane_and_no_key_has_its_own() {
        let letters = [(1, Some("a")), (2, None), (3, Some("b")), (4, Some("a")), (5, None)];
        let lanes = lanes(letters.into_iter().map(|(at, key)| letter(at, key)).collect(), "u");
        let id = |record: &Record| String::from_utf8(record.header(REPLAYED).unwrap().to_vec()).unwrap();
        let mut ids: Vec<Vec<String>> = lanes.iter().map(|lane| lane.iter().map(id).collect()).collect();
        ids.sort();
        assert_eq!(ids, [vec!["t:0:1", "t:0:4"], vec!["t:0:2"], vec!["t:0:3"], vec!["t:0:5"]]);
    }

    #[test]
    fn a_record_names_its_latest_replay_and_where_it_was_published() {
        let header = |name: &str, value| Header { name: name.to_owned(), value: Bytes::from_static(value) };
        let latest = [header(REPLAYED, b"t:0:7"), header(PROCESSOR_UID, b"u")];
        let mut first = letter(7, None);
        first.record.headers.extend([header(REPLAYED, b"old"), header(PROCESSOR_UID, b"old")]);
        assert_eq!(redriven(first, "u").headers, [&latest[..], &[header(ORIGIN, b"t")]].concat());
        let mut again = letter(7, None);
        again.record.headers.push(header(ORIGIN, b"first"));
        assert_eq!(redriven(again, "u").headers, [&[header(ORIGIN, b"first")], &latest[..]].concat());
    }
}
