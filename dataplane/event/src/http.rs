//! The CloudEvents HTTP binding: an event as a request's headers and body. Pure.
//!
//! Read: binary mode, structured mode in JSON, batches of it, and *plain* requests, which know nothing of CloudEvents.
//! Written: binary mode. Which mode a request is in, and what a publisher may not set, is decided here; each mode has its
//! own file.

use ::http::{HeaderMap, header::CONTENT_TYPE};
use bytes::Bytes;

use crate::{
    Controls, Event,
    attributes::media::{self, Format},
    controls,
    draft::SPECVERSION,
    invalid::{Invalid, Reason},
    json,
};

mod binary;
mod plain;

pub use binary::encode;
pub use plain::Plain;

/// Heads the headers that carry attributes.
const PREFIX: &str = "ce-";

/// Reads the event of a request, and what is to be done with it. A plain request gets its attributes from `plain`, which
/// the other modes ignore.
pub fn decode(headers: &HeaderMap, body: Bytes, plain: &Plain<'_>) -> Result<(Event, Controls), Invalid> {
    let aliases = aliases(headers)?;
    let content_type = content_type(headers)?;
    let attributes = headers.keys().any(|name| name.as_str().starts_with(PREFIX));
    let structured = content_type.map_or(Ok(false), media::is_structured)?;
    let mut event = match (structured, attributes) {
        (true, _) => json::decode(&body)?,
        (false, true) => binary::decode(headers, content_type, body)?,
        (false, false) => plain.event(content_type, body)?,
    };
    if structured && attributes {
        agree(&event, headers)?;
    }
    for (name, value) in aliases {
        if event.extension(name).is_some() {
            return Err(crate::attributes::duplicate(name));
        }
        event.extensions.push((name.to_owned(), value.to_owned()));
    }
    let controls = Controls::take(&mut event)?;
    Ok((event, controls))
}

/// Whether the body says that it is a batch.
pub fn is_batch(headers: &HeaderMap) -> bool {
    let format = |content_type| media::format(content_type).ok().flatten();
    content_type(headers).ok().flatten().and_then(format) == Some(Format::Batch)
}

/// Reads the events of a batch, at most so many: all of them, or what is wrong with the first bad one.
pub fn decode_batch(
    headers: &HeaderMap,
    body: &Bytes,
    most: usize,
) -> Result<Vec<(Event, Controls)>, Invalid> {
    for name in headers.keys().map(http::HeaderName::as_str) {
        if name.starts_with(PREFIX) {
            return Err(ambiguous(name));
        }
        if controls::alias(name).is_some() {
            let detail =
                format!("the header {name} is for single events; each event of a batch has its own controls");
            return Err(Invalid::new(Reason::InvalidHeader, name, detail));
        }
    }
    let one = |(index, text): (usize, Bytes)| {
        let read = json::decode(&text).and_then(|mut event| {
            let controls = Controls::take(&mut event)?;
            Ok((event, controls))
        });
        read.map_err(|invalid| invalid.within(index))
    };
    json::split(body, most)?.into_iter().enumerate().map(one).collect()
}

/// Holds the attributes that a structured event has as headers besides, which the binding allows, against its own: who reads
/// only the one must not see another event than who reads only the other.
fn agree(event: &Event, headers: &HeaderMap) -> Result<(), Invalid> {
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(PREFIX) else { continue };
        let own = match name {
            "specversion" => Some(SPECVERSION),
            _ => event.attributes().find(|(own, _)| *own == name).map(|(_, value)| value),
        };
        if own.is_none_or(|own| binary::read(name, value).ok().as_deref() != Some(own)) {
            return Err(ambiguous(header.as_str()));
        }
    }
    Ok(())
}

/// The controls that headers stand for, as extensions.
fn aliases(headers: &HeaderMap) -> Result<Vec<(&'static str, &str)>, Invalid> {
    let mut aliases = Vec::new();
    for (header, value) in headers {
        let Some(name) = controls::alias(header.as_str()) else { continue };
        let problem = |what| {
            let header = header.as_str();
            Invalid::new(Reason::InvalidHeader, header, format!("the header {header} {what}"))
        };
        if aliases.iter().any(|(known, _)| *known == name) {
            return Err(problem("is given more than once"));
        }
        aliases.push((name, value.to_str().map_err(|_| problem("may contain ASCII only"))?));
    }
    Ok(aliases)
}

fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Invalid> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let problem = |detail| Invalid::new(Reason::InvalidHeader, CONTENT_TYPE.as_str(), detail);
    if values.next().is_some() {
        return Err(problem("the header content-type is given more than once"));
    }
    let text = value.to_str().map_err(|_| problem("the header content-type may contain ASCII only"))?;
    Ok(Some(text.trim()).filter(|text| !text.is_empty()))
}

fn ambiguous(header: &str) -> Invalid {
    let shown = crate::invalid::quote(header);
    let detail = format!(
        "the content type says that the body holds the whole event, and the header {shown} says otherwise; send one or the other"
    );
    Invalid::new(Reason::AmbiguousMode, header, detail)
}
