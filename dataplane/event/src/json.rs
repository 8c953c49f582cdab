//! The CloudEvents JSON format: a whole event as one JSON object, a batch as an array of them. Pure.
//!
//! Written so that reading gives the same event back, data byte for byte: JSON goes in as it is where it fits, text as
//! a string, and everything else as base64. JSON data is never taken apart; it is a piece of the body from start to end.

use ::serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{Event, draft::SPECVERSION};

mod batch;
mod data;
mod decode;
mod envelope;

pub use batch::{MAX_EVENTS, split};
pub use decode::decode;

/// How deep JSON may be nested: the envelope and what lies in it.
pub const MAX_DEPTH: usize = 64;

/// An event that serializes as the JSON format wants it.
#[derive(Clone, Copy, Debug)]
pub struct Structured<'a>(pub &'a Event);

/// The event as a JSON object.
#[expect(clippy::missing_panics_doc, reason = "strings always serialize into a string")]
pub fn to_string(event: &Event) -> String {
    serde_json::to_string(&Structured(event)).expect("an event is a map of strings")
}

impl Serialize for Structured<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", SPECVERSION)?;
        for (name, value) in self.0.attributes() {
            map.serialize_entry(name, value)?;
        }
        match data::form(self.0) {
            None => {}
            Some(data::Form::Json(raw)) => map.serialize_entry("data", raw)?,
            Some(data::Form::Text(text)) => map.serialize_entry("data", text)?,
            Some(data::Form::Base64(text)) => map.serialize_entry("data_base64", &text)?,
        }
        map.end()
    }
}
