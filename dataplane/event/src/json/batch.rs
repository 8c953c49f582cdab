//! A batch taken apart into the texts of its events, which stay unread. Pure.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::envelope;
use crate::invalid::{Invalid, Reason};

/// The elements of an array, in order: at most one more than anybody allows is kept.
struct Elements<'a>(Vec<&'a RawValue>, usize);

/// Takes the body of a batch apart, without recursion; how deep each event is nested is counted when it is read. An empty batch, and one of more than `most` events, is refused.
pub fn split(body: &Bytes, most: usize) -> Result<Vec<Bytes>, Invalid> {
    if body.is_empty() {
        let detail = "the body is empty; it must hold events as a JSON array";
        return Err(Invalid::whole(Reason::EmptyBody, detail));
    }
    let text = envelope::text(body)?;
    let Elements(elements, count) =
        serde_json::from_str(text).map_err(|problem| envelope::broken(text, 0, &problem))?;
    match count {
        0 => Err(Invalid::whole(Reason::EmptyBatch, "the batch has no events")),
        // Beyond what is kept; `most` is never larger.
        count if count > most || count > elements.len() => {
            let detail = format!("the batch has {count} events; {most} are taken at once");
            Err(Invalid::whole(Reason::BatchTooLarge, detail))
        }
        _ => Ok(elements.into_iter().map(|raw| body.slice_ref(raw.get().as_bytes())).collect()),
    }
}

/// The most elements that are kept: what any Producer can allow.
pub const MAX_EVENTS: usize = 10_000;

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Array)
    }
}

struct Array;

impl<'de> Visitor<'de> for Array {
    type Value = Elements<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < MAX_EVENTS {
            let Some(element) = seq.next_element()? else { break };
            elements.push(element);
        }
        let mut count = elements.len();
        // The rest is read only to learn whether it is JSON at all, and counted.
        if count == MAX_EVENTS {
            while seq.next_element::<IgnoredAny>()?.is_some() {
                count += 1;
            }
        }
        Ok(Elements(elements, count))
    }
}
