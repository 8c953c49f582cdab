//! The outermost JSON object, taken apart into members whose values stay unread. Pure.
//!
//! Nothing here recurses: depth is counted in one pass before anything else reads the body, and values are skipped by
//! `serde_json`'s own loop.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::MAX_DEPTH;
use crate::{
    attributes::{self, MAX_ATTRIBUTES},
    invalid::{Invalid, Reason},
};

/// The attributes, `data` and `data_base64`.
const MAX_MEMBERS: usize = MAX_ATTRIBUTES + 2;

/// The members of an object, in order.
#[derive(Default)]
pub(super) struct Members<'a> {
    pub(super) list: Vec<(String, &'a RawValue)>,
    too_many: bool,
}

/// Takes a body apart.
pub(super) fn open(body: &Bytes) -> Result<Members<'_>, Invalid> {
    if body.is_empty() {
        return Err(Invalid::whole(
            Reason::EmptyBody,
            "the body is empty; it must hold an event as a JSON object",
        ));
    }
    let text = text(body)?;
    if depth(text) > MAX_DEPTH {
        let detail = format!("the JSON is nested more than {MAX_DEPTH} levels deep");
        return Err(Invalid::whole(Reason::TooDeep, detail));
    }
    let members: Members<'_> = serde_json::from_str(text).map_err(|problem| broken(text, 0, &problem))?;
    if members.too_many { Err(attributes::too_many()) } else { Ok(members) }
}

/// The body as text.
pub(super) fn text(body: &Bytes) -> Result<&str, Invalid> {
    std::str::from_utf8(body).map_err(|problem| invalid_json(problem.valid_up_to(), "it is not UTF-8"))
}

/// The string that a value within the body is.
pub(super) fn string(body: &Bytes, raw: &RawValue) -> Result<String, Invalid> {
    serde_json::from_str(raw.get()).map_err(|problem| {
        let start = raw.get().as_ptr() as usize - body.as_ptr() as usize;
        broken(raw.get(), start, &problem)
    })
}

/// How deep arrays and objects are nested in this text; what it says of text that is no JSON does not matter.
pub(super) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Turns the line and column where reading stopped into an offset, and leaves out the words that repeat them.
pub(super) fn broken(text: &str, start: usize, problem: &serde_json::Error) -> Invalid {
    let lines: usize = text.split_inclusive('\n').take(problem.line().saturating_sub(1)).map(str::len).sum();
    let words = problem.to_string();
    let words = words.split(" at line ").next().unwrap_or_default();
    invalid_json(start + lines + problem.column().saturating_sub(1), words)
}

fn invalid_json(offset: usize, problem: &str) -> Invalid {
    let detail = format!("the JSON of the event does not read, by its byte {offset}: {problem}");
    Invalid::whole(Reason::InvalidJson, detail)
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object)
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        while members.list.len() < MAX_MEMBERS {
            let Some(member) = map.next_entry()? else { return Ok(members) };
            members.list.push(member);
        }
        // The rest is read only to learn whether it is JSON at all, and not kept.
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            members.too_many = true;
        }
        Ok(members)
    }
}
