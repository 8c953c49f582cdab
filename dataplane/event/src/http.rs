//! The CloudEvents HTTP binding: an event as a request's headers and body. Pure.
//!
//! Read: binary mode, structured mode in JSON, and *plain* requests, which know nothing of CloudEvents. Written: binary
//! mode. Which mode a request is in, and what a publisher may not set, is decided here; each mode has its own file.

use ::http::{HeaderMap, header::CONTENT_TYPE};
use bytes::Bytes;

use crate::{
    Event,
    attributes::{RESERVED_PREFIX, media},
    invalid::{Invalid, Reason},
    json,
};

mod binary;
mod plain;

pub use binary::encode;
pub use plain::Plain;

/// Heads the headers that carry attributes.
const PREFIX: &str = "ce-";

/// Headers that stand for controls which are not taken yet. Ignoring one would deliver at once what should wait.
const CONTROLS: [&str; 5] =
    ["Evhub-Delay", "Evhub-Deliver-At", "Evhub-Tags", "Evhub-Delay-Keys", "Idempotency-Key"];

/// Reads the event of a request. A plain request gets its attributes from `plain`, which the other modes ignore.
pub fn decode(headers: &HeaderMap, body: Bytes, plain: &Plain<'_>) -> Result<Event, Invalid> {
    refuse_control_headers(headers)?;
    let content_type = content_type(headers)?;
    let attribute = headers.keys().find(|name| name.as_str().starts_with(PREFIX));
    let structured = content_type.map_or(Ok(false), media::is_structured)?;
    let event = match (structured, attribute) {
        (true, Some(name)) => return Err(ambiguous(name.as_str())),
        (true, None) => json::decode(&body)?,
        (false, Some(_)) => binary::decode(headers, content_type, body)?,
        (false, None) => plain.event(content_type, body)?,
    };
    refuse_controls(&event)?;
    Ok(event)
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

fn refuse_control_headers(headers: &HeaderMap) -> Result<(), Invalid> {
    CONTROLS.iter().find(|name| headers.contains_key(**name)).map_or(Ok(()), |name| Err(reserved(name)))
}

fn refuse_controls(event: &Event) -> Result<(), Invalid> {
    let control = event.extensions.iter().find(|(name, _)| name.starts_with(RESERVED_PREFIX));
    control.map_or(Ok(()), |(name, _)| Err(reserved(name)))
}

fn reserved(name: &str) -> Invalid {
    let detail = format!("{name} is reserved for the hub and not supported by this version; leave it out");
    Invalid::new(Reason::ReservedAttribute, name, detail)
}

fn ambiguous(header: &str) -> Invalid {
    let shown = crate::invalid::quote(header);
    let detail = format!(
        "the content type says that the body holds the whole event, yet there is the header {shown}; send one or the other"
    );
    Invalid::new(Reason::AmbiguousMode, header, detail)
}
