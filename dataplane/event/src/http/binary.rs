//! Binary mode: attributes in `ce-` headers, data in the body. Pure.

use std::borrow::Cow;

use ::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_TYPE, Entry},
};
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::PREFIX;
use crate::{
    Event, attributes,
    draft::{Draft, SPECVERSION},
    invalid::{Invalid, Reason, quote},
};

/// What the binding wants escaped, beside all that is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

const SEVERAL: usize = 24;

/// The event as headers and body for a target. Attributes can become `ce-` headers and `content-type`, nothing else.
pub fn encode(event: &Event) -> (HeaderMap, Bytes) {
    // As many as usual, with those that say what an attempt is: to grow means to hash all names again.
    let mut headers = HeaderMap::with_capacity(SEVERAL);
    put(&mut headers, "specversion", SPECVERSION);
    for (name, value) in event.attributes() {
        match name {
            "datacontenttype" => {
                // A checked media type is always a header value; one that is not is nothing a target could read.
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.insert(CONTENT_TYPE, value);
                }
            }
            _ => put(&mut headers, name, value),
        }
    }
    (headers, event.data.clone().unwrap_or_default())
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    let value = Cow::from(utf8_percent_encode(value, ESCAPED));
    let value = HeaderValue::from_str(&value).expect("what is escaped is printable ASCII");
    if let Entry::Vacant(place) = headers.entry(header(name)) {
        place.insert(value);
    }
}

/// The header of an attribute. Most events have no others than these few, whose names need not be put together.
fn header(attribute: &str) -> HeaderName {
    match attribute {
        "specversion" => const { HeaderName::from_static("ce-specversion") },
        "id" => const { HeaderName::from_static("ce-id") },
        "source" => const { HeaderName::from_static("ce-source") },
        "type" => const { HeaderName::from_static("ce-type") },
        "subject" => const { HeaderName::from_static("ce-subject") },
        "time" => const { HeaderName::from_static("ce-time") },
        "partitionkey" => const { HeaderName::from_static("ce-partitionkey") },
        _ => HeaderName::try_from(format!("{PREFIX}{attribute}"))
            .expect("attribute names are short and alphanumeric"),
    }
}

/// Reads an event from `ce-` headers, its media type and its data.
pub(super) fn decode(headers: &HeaderMap, content_type: Option<&str>, body: Bytes) -> Result<Event, Invalid> {
    let mut draft = Draft::default();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(PREFIX) else { continue };
        attributes::check_name(name)?;
        if name == "datacontenttype" {
            let detail = "the header content-type says what ce-datacontenttype would; leave the latter out";
            return Err(Invalid::new(Reason::InvalidHeader, name, detail));
        }
        draft.put(name, read(name, value)?)?;
    }
    if let Some(content_type) = content_type {
        draft.set("datacontenttype", content_type.to_owned())?;
    }
    draft.finish(Some(body))
}

/// A header's value as text: out of its quotes first, as older versions of the binding wrote them, then unescaped once.
pub(super) fn read(name: &str, value: &HeaderValue) -> Result<String, Invalid> {
    let refused = |problem: &str| {
        let shown = quote(&String::from_utf8_lossy(value.as_bytes()));
        Invalid::new(Reason::InvalidHeader, name, format!("the header ce-{name} {problem}: {shown}"))
    };
    let text = value.to_str().map_err(|_| refused("must percent-encode what is not ASCII"))?;
    let text = text.trim();
    // Nearly all values are themselves.
    if !text.starts_with('"') && !text.contains('%') {
        return Ok(text.to_owned());
    }
    let text = unquote(text).ok_or_else(|| refused("has a quote that does not end it"))?;
    let text = percent_decode_str(&text).decode_utf8().map_err(|_| refused("does not decode to UTF-8"))?;
    Ok(text.into_owned())
}

/// The text inside of quotes, where there are any around the whole. `None` when the first one is not closed at the end.
fn unquote(text: &str) -> Option<Cow<'_, str>> {
    let Some(quoted) = text.strip_prefix('"') else { return Some(Cow::Borrowed(text)) };
    let mut unquoted = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return characters.as_str().is_empty().then_some(Cow::Owned(unquoted)),
            '\\' => unquoted.push(characters.next()?),
            _ => unquoted.push(character),
        }
    }
    None
}
