//! The truth after a run, as an independent reader finds it: the log, the dead letters, and what is left to do.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use tokio::time::sleep;

use crate::{
    event::name,
    history::{Rec, fingerprint},
    recorder::Recorder,
    wire,
};

/// How much is read at once; small enough that paging is tried.
const PAGE: usize = 200;

/// A page of a list. Items stay as they came: a number taken apart may not be the number that was published.
#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next: Option<Value>,
}

/// A record of a log.
#[derive(Deserialize)]
struct Item {
    partition: u32,
    offset: u64,
    key: Option<String>,
    event: BTreeMap<String, Box<RawValue>>,
}

/// A reader of a hub's `api` listener.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The listener's port.
    pub api: u16,
    /// Where to write down what is found.
    pub recorder: &'a Recorder,
}

/// What a Processor says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether it listens.
    pub ready: bool,
    /// Offsets not committed.
    pub lag: u64,
    /// Deliveries parked.
    pub parked: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// Dead letters.
    pub dead: u64,
    /// Which generation of it runs.
    pub generation: i64,
    /// Whether its author, or an exhausted event, has suspended it.
    pub suspended: bool,
}

impl Status {
    /// Everything that is not resolved.
    pub fn pending(&self) -> u64 {
        self.lag + self.parked + self.in_flight
    }
}

impl Reader<'_> {
    /// Reads a Producer's partitions to their ends.
    pub async fn log(&self, producer: &str, partitions: u32) -> Result<()> {
        for partition in 0..partitions {
            let path = format!("{}/events?partition={partition}", resource("producers", producer)?);
            for item in self.all(&path, "from").await? {
                let rec = record(producer, &item).with_context(|| format!("read {item}"))?;
                self.recorder.push(rec);
            }
            self.recorder.push(Rec::Scanned { producer: producer.to_owned(), partition });
        }
        Ok(())
    }

    /// Reads a Processor's dead letters, each whole.
    pub async fn dead(&self, processor: &str) -> Result<()> {
        let path = format!("{}/dead", resource("processors", processor)?);
        let mut ids = HashSet::new();
        for item in self.all(&path, "after").await? {
            let item: Value = serde_json::from_str(item.get()).context("a dead letter of another shape")?;
            let id = text(&item, "id")?;
            ensure!(ids.insert(id.to_owned()), "the dead letter {id} is listed twice");
            let whole: Value = self.get(&format!("{path}/{id}")).await?;
            let rec = letter(processor, &whole).with_context(|| format!("read {whole}"))?;
            self.recorder.push(rec);
        }
        Ok(())
    }

    /// What a Processor says of itself.
    pub async fn status(&self, processor: &str) -> Result<Status> {
        let body: Value = self.get(&resource("processors", processor)?).await?;
        let number = |name: &str| body.get(name).and_then(Value::as_u64);
        Ok(Status {
            ready: body.get("ready").and_then(Value::as_bool).context("a status without ready")?,
            // Unknown while no offset is committed, which is the opposite of nothing to do.
            lag: number("lag").unwrap_or(u64::MAX / 4),
            parked: number("parked").context("a status without parked")?,
            in_flight: number("inFlight").context("a status without inFlight")?,
            dead: number("deadLettered").unwrap_or(0),
            generation: body.get("generation").and_then(Value::as_i64).unwrap_or_default(),
            suspended: body
                .get("suspended")
                .and_then(Value::as_bool)
                .context("a status without suspended")?,
        })
    }

    /// What a Processor says of itself, written down when it is ready.
    pub async fn ready(&self, processor: &str) -> Result<Option<Status>> {
        let status = self.status(processor).await?;
        let Status { ready, generation, suspended, .. } = status;
        if ready {
            self.recorder.push(Rec::Running { processor: processor.to_owned(), generation, suspended });
        }
        Ok(Some(status).filter(|status| status.ready))
    }

    /// Whether a Processor is not there.
    pub async fn is_gone(&self, processor: &str) -> Result<bool> {
        let path = resource("processors", processor)?;
        let answer = wire::get(self.api, &path, Duration::from_secs(10)).await.context("ask for it")?;
        Ok(answer.status() == Some(404))
    }

    /// Lets a Processor go on that an exhausted event has suspended.
    pub async fn resume(&self, processor: &str) -> Result<()> {
        let path = format!("{}/resume", resource("processors", processor)?);
        self.post(&path, "").await.map(drop)
    }

    /// Has all dead letters of a Processor delivered again; says how many.
    pub async fn redrive(&self, processor: &str) -> Result<u64> {
        let path = format!("{}/replays", resource("processors", processor)?);
        let answer = self.post(&path, r#"{"from": "Dead"}"#).await?;
        number(&answer.json().context("an answer that is no JSON")?, "matched")
    }

    async fn post(&self, path: &str, body: &str) -> Result<wire::Message> {
        let request = wire::request("POST", path, &[("content-type", "application/json")], body.as_bytes());
        let mut connection = wire::Connection::open(self.api).await.context("connect to the api")?;
        let answer = connection.exchange(&request).await.with_context(|| format!("post {path}"))?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(answer.status().is_some_and(|s| s < 300), "{path}: {} {text}", answer.first);
        Ok(answer)
    }

    /// Waits until a status is as wished; the last one seen when the time is over.
    pub async fn until(
        &self,
        processor: &str,
        patience: Duration,
        wished: impl Fn(&Status) -> bool,
    ) -> Result<Result<Status, Status>> {
        let since = Instant::now();
        loop {
            let status = self.status(processor).await?;
            if wished(&status) {
                return Ok(Ok(status));
            }
            if since.elapsed() > patience {
                return Ok(Err(status));
            }
            sleep(Duration::from_millis(25)).await;
        }
    }

    /// All items of a paged list.
    async fn all(&self, path: &str, cursor: &str) -> Result<Vec<Box<RawValue>>> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mark = if path.contains('?') { '&' } else { '?' };
            let at = next.map(|next| format!("&{cursor}={next}")).unwrap_or_default();
            let page: Page = self.get(&format!("{path}{mark}limit={PAGE}{at}")).await?;
            items.extend(page.items);
            next = match page.next {
                None => return Ok(items),
                Some(Value::String(next)) => Some(next),
                Some(other) => Some(other.to_string()),
            };
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = wire::get(self.api, path, Duration::from_secs(10))
            .await
            .with_context(|| format!("get {path}"))?;
        ensure!(
            answer.status() == Some(200),
            "{path}: {} {}",
            answer.first,
            String::from_utf8_lossy(&answer.body)
        );
        serde_json::from_slice(&answer.body).with_context(|| format!("{path} is of another shape"))
    }
}

fn resource(kind: &str, name: &str) -> Result<String> {
    let (namespace, name) = name.split_once('/').context("a name without a namespace")?;
    Ok(format!("/namespaces/{namespace}/{kind}/{name}"))
}

fn record(producer: &str, item: &RawValue) -> Result<Rec> {
    let item: Item = serde_json::from_str(item.get()).context("a record of another shape")?;
    let said = |name: &str| item.event.get(name).map(|raw| raw.get());
    let as_text = |raw: &str| serde_json::from_str::<String>(raw).ok();
    let json = said("datacontenttype").and_then(as_text).as_deref() == Some("application/json");
    let data = match (said("data"), said("data_base64").and_then(as_text)) {
        (_, Some(text)) => STANDARD.decode(text).context("decode data_base64")?,
        (None, None) => Vec::new(),
        (Some(raw), None) if json => raw.as_bytes().to_vec(),
        (Some(raw), None) => as_text(raw).context("data that is neither JSON nor text")?.into_bytes(),
    };
    let mut attributes = Vec::new();
    let named = |name: &str| !matches!(name, "data" | "data_base64");
    for (attribute, raw) in item.event.iter().filter(|(attribute, _)| named(attribute)) {
        attributes.push((attribute.as_str(), as_text(raw.get()).context("an attribute that is no text")?));
    }
    let id = said("id").and_then(as_text).context("an event without an id")?;
    let id = name(&said("source").and_then(as_text).context("an event without a source")?, &id);
    let hash = fingerprint(attributes.iter().map(|(name, value)| (*name, value.as_str())), &data);
    let Item { partition, offset, key, .. } = item;
    Ok(Rec::Log { producer: producer.to_owned(), partition, offset, id, key, hash })
}

fn letter(processor: &str, whole: &Value) -> Result<Rec> {
    let mut attributes = Vec::new();
    for header in whole.get("headers").and_then(Value::as_array).context("a dead letter without headers")? {
        let (name, value) = (text(header, "name")?, text(header, "value")?);
        match name.strip_prefix("ce_") {
            Some(name) => attributes.push((name, value)),
            None if name == "content-type" => attributes.push(("datacontenttype", value)),
            None => {}
        }
    }
    let data = whole.get("dataBase64").and_then(Value::as_str).unwrap_or_default();
    let data = STANDARD.decode(data).context("decode dataBase64")?;
    let attempts = small(whole, "attempts")?;
    let causes = whole.get("causes").and_then(Value::as_array).context("a dead letter without causes")?;
    let last = causes.last().context("a dead letter without a cause")?;
    ensure!(small(last, "attempt")? == attempts, "its last cause is not of its last attempt");
    for name in ["processorUid", "generation", "firstAttempt", "lastAttempt", "topic", "source", "type"] {
        ensure!(whole.get(name).is_some(), "a dead letter without {name}");
    }
    Ok(Rec::Dead {
        processor: processor.to_owned(),
        partition: small(whole, "partition")?,
        offset: number(whole, "offset")?,
        id: name(text(whole, "source")?, text(whole, "eventId")?),
        key: whole.get("key").and_then(Value::as_str).map(str::to_owned),
        hash: fingerprint(attributes, &data),
        attempts,
        reason: text(whole, "reason")?.to_owned(),
    })
}

fn text<'v>(value: &'v Value, name: &str) -> Result<&'v str> {
    value.get(name).and_then(Value::as_str).with_context(|| format!("no {name}"))
}

fn number(value: &Value, name: &str) -> Result<u64> {
    value.get(name).and_then(Value::as_u64).with_context(|| format!("no {name}"))
}

fn small(value: &Value, name: &str) -> Result<u32> {
    u32::try_from(number(value, name)?).with_context(|| format!("{name} is too large"))
}
