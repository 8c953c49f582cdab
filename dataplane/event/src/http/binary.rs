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

/// The headers of attributes that nearly every event has, made once.
static USUAL: [(&str, HeaderName); 7] = [
    ("specversion", HeaderName::from_static("ce-specversion")),
    ("id", HeaderName::from_static("ce-id")),
    ("source", HeaderName::from_static("ce-source")),
    ("type", HeaderName::from_static("ce-type")),
    ("time", HeaderName::from_static("ce-time")),
    ("subject", HeaderName::from_static("ce-subject")),
    ("partitionkey", HeaderName::from_static("ce-partitionkey")),
];
/// Room for what most deliveries have, the hub's own headers among it, so that it is made once.
const ROOM: usize = 24;

/// The event as headers and body for a target. Attributes can become `ce-` headers and `content-type`, nothing else.
pub fn encode(event: &Event) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::with_capacity(ROOM);
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
    let usual = USUAL.iter().find(|(usual, _)| *usual == name).map(|(_, header)| header.clone());
    let name = usual.unwrap_or_else(|| {
        HeaderName::try_from(format!("{PREFIX}{name}")).expect("attribute names are short and alphanumeric")
    });
    let value = Cow::from(utf8_percent_encode(value, ESCAPED));
    let value = HeaderValue::from_str(&value).expect("what is escaped is printable ASCII");
    if let Entry::Vacant(place) = headers.entry(name) {
        place.insert(value);
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
        draft.set(name, read(name, value)?)?;
    }
    if let Some(content_type) = content_type {
        draft.set("datacontenttype", content_type.to_owned())?;
    }
    draft.finish(Some(body))
}

/// A header's value as text: out of its quotes first, as older versions of the binding wrote them, then unescaped once.
fn read(name: &str, value: &HeaderValue) -> Result<String, Invalid> {
    let refused = |problem: &str| {
        let shown = quote(&String::from_utf8_lossy(value.as_bytes()));
        Invalid::new(Reason::InvalidHeader, name, format!("the header ce-{name} {problem}: {shown}"))
    };
    let text = value.to_str().map_err(|_| refused("must percent-encode what is not ASCII"))?;
    let text = unquote(text.trim()).ok_or_else(|| refused("has a quote that does not end it"))?;
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
