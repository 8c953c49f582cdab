//! How data lies inside of JSON: as a value, as a string, or as base64. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::{MAX_DEPTH, envelope};
use crate::{
    Event,
    attributes::media::{self, Media},
    invalid::{Invalid, Reason},
};

/// How one event's data is written.
pub(super) enum Form<'a> {
    /// `data` as the JSON value that the bytes are.
    Json(&'a RawValue),
    /// `data` as a string of the bytes.
    Text(&'a str),
    /// `data_base64`.
    Base64(String),
}

/// The form that is easiest to read among those that give exactly these bytes back.
pub(super) fn form(event: &Event) -> Option<Form<'_>> {
    let data = event.data.as_deref().filter(|data| !data.is_empty())?;
    let media = event.datacontenttype.as_deref().and_then(media::parse).filter(Media::is_utf8);
    let readable = match media {
        Some(media) if media.is_json() => raw(data).map(Form::Json),
        Some(media) if media.is_text() => std::str::from_utf8(data).ok().map(Form::Text),
        // Without a content type a reader would take a value for JSON and say so.
        _ => None,
    };
    Some(readable.unwrap_or_else(|| Form::Base64(STANDARD.encode(data))))
}

/// The bytes as one JSON value, if they are that, have no space around it, and can lie one level deeper.
fn raw(data: &[u8]) -> Option<&RawValue> {
    let text = std::str::from_utf8(data).ok()?;
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    (raw.get().len() == text.len() && envelope::depth(text) < MAX_DEPTH).then_some(raw)
}

/// The bytes of a `data` member. JSON stays the very bytes that it was within the body.
pub(super) fn from_member(body: &Bytes, raw: &RawValue, media: Option<Media<'_>>) -> Result<Bytes, Invalid> {
    if !media.is_none_or(|media| media.is_utf8()) {
        let detail = "data inside of JSON is UTF-8, which the charset contradicts; send it as data_base64";
        return Err(Invalid::new(Reason::UnsupportedMediaType, "datacontenttype", detail));
    }
    if media.is_none_or(|media| media.is_json()) {
        return Ok(body.slice_ref(raw.get().as_bytes()));
    }
    string(body, "data", raw).map(Bytes::from)
}

/// The bytes of a `data_base64` member.
pub(super) fn from_base64(body: &Bytes, raw: &RawValue) -> Result<Bytes, Invalid> {
    let text = string(body, "data_base64", raw)?;
    STANDARD.decode(text).map(Bytes::from).map_err(|problem| {
        let detail = format!("data_base64 must be padded base64 of the standard alphabet: {problem}");
        Invalid::new(Reason::InvalidBase64, "data_base64", detail)
    })
}

fn string(body: &Bytes, member: &str, raw: &RawValue) -> Result<String, Invalid> {
    if !raw.get().starts_with('"') {
        let detail = format!("{member} must be a string unless the datacontenttype declares JSON");
        return Err(Invalid::new(Reason::InvalidAttributeType, member, detail));
    }
    envelope::string(body, raw)
}
