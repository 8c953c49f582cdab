//! The CloudEvents Kafka binding: an event as a record. Pure.
//!
//! Written in binary mode: attributes in `ce_` headers, the media type in `content-type`, data as the value, and the
//! `partitionkey` as the key. Read in binary and in structured JSON mode, from anybody:
//!
//! - Headers that do not begin with `ce_` are not the event's and are ignored; of several with one name the first counts.
//! - An event without data is written with an empty value, because a compacted topic would take a null one for a
//!   tombstone; both are read as no data where there are `ce_` headers. Without any, there is no event.
//! - A key without a `ce_partitionkey` becomes the event's `partitionkey`, if it is text that an attribute may hold: who
//!   wrote it wanted the records of that key in order, and targets should learn why they are. Any other key stays
//!   the record's alone, so what orders events is the record's key.
//! - Names that begin with `evhub` are refused from publishers but read from records, where they control nothing.

use bytes::{Bytes, BytesMut};

use crate::{
    Event, Header, Record,
    attributes::{self, media},
    draft::{Draft, SPECVERSION},
    invalid::{Invalid, Reason},
    json,
};

/// Heads the headers that carry attributes.
const PREFIX: &str = "ce_";
const CONTENT_TYPE: &str = "content-type";
const KEY: &str = "partitionkey";
/// Room for the headers that are no extensions', and for what the hub keeps beside them.
const ROOM: usize = 12;

/// A record that no event can be read from, whoever wrote it and however often it is tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Poison {
    /// It has neither attributes nor a value: a tombstone, or nothing at all.
    #[error("the record is empty")]
    Empty,
    /// What it has is not an event.
    #[error("read the record as an event")]
    Decode(#[source] Invalid),
}

impl Poison {
    /// The stable word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Empty => "POISON_EMPTY",
            Self::Decode(_) => "POISON_DECODE",
        }
    }
}

/// The event as a record in binary mode.
pub fn encode(event: &Event) -> Record {
    let mut headers = Vec::with_capacity(ROOM + event.extensions.len());
    headers.push(Header {
        name: "ce_specversion".to_owned(),
        value: Bytes::from_static(SPECVERSION.as_bytes()),
    });
    // The values lie in one piece of memory, made once.
    let values: usize = event.attributes().map(|(_, value)| value.len()).sum();
    let mut values = BytesMut::with_capacity(values);
    for (name, value) in event.attributes() {
        values.extend_from_slice(value.as_bytes());
        let name = match name {
            "datacontenttype" => CONTENT_TYPE.to_owned(),
            _ => [PREFIX, name].concat(),
        };
        headers.push(Header { name, value: values.split().freeze() });
    }
    let key = event.partition_key().map(|key| Bytes::copy_from_slice(key.as_bytes()));
    Record { key, value: Some(event.data.clone().unwrap_or_default()), headers }
}

/// Reads the event of a record.
pub fn decode(record: &Record) -> Result<Event, Poison> {
    let content_type = content_type(record).map_err(Poison::Decode)?;
    let structured = content_type.map_or(Ok(false), media::is_structured).map_err(Poison::Decode)?;
    let value = record.value.as_ref().filter(|value| !value.is_empty());
    let attributes = record.headers.iter().any(|header| header.name.starts_with(PREFIX));
    let event = match value {
        None if structured || !attributes => return Err(Poison::Empty),
        Some(value) if structured => json::decode(value),
        value => binary(record, content_type, value.cloned()),
    };
    event.map(|event| with_key(event, record)).map_err(Poison::Decode)
}

fn binary(record: &Record, content_type: Option<&str>, data: Option<Bytes>) -> Result<Event, Invalid> {
    let mut draft = Draft::default();
    if let Some(content_type) = content_type {
        draft.set("datacontenttype", content_type.to_owned())?;
    }
    for header in &record.headers {
        let Some(name) = header.name.strip_prefix(PREFIX) else { continue };
        if !draft.has(name) {
            attributes::check_name(name)?;
            draft.put(name, text(header)?.to_owned())?;
        }
    }
    draft.finish(data)
}

fn content_type(record: &Record) -> Result<Option<&str>, Invalid> {
    let header = record.headers.iter().find(|header| header.name.eq_ignore_ascii_case(CONTENT_TYPE));
    let text = header.map(text).transpose()?;
    Ok(text.map(str::trim).filter(|text| !text.is_empty()))
}

fn text(header: &Header) -> Result<&str, Invalid> {
    std::str::from_utf8(&header.value).map_err(|_| {
        let name = crate::invalid::quote(&header.name);
        Invalid::new(Reason::InvalidHeader, &header.name, format!("the header {name} is not UTF-8"))
    })
}

fn with_key(mut event: Event, record: &Record) -> Event {
    let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
    if let Some(key) = key
        && event.partition_key().is_none()
        && attributes::may_extend(&event, KEY, key)
    {
        event.extensions.push((KEY.to_owned(), key.to_owned()));
    }
    event
}
