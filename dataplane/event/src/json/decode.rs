//! Reading an event from its JSON form. Pure.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{data, envelope};
use crate::{
    Event,
    attributes::{self, media},
    draft::Draft,
    invalid::{Invalid, Reason},
};

/// The media type that the JSON format implies for a `data` member.
const IMPLIED: &str = "application/json";

/// Reads an event. Extensions that are numbers or booleans become their canonical strings; a JSON `data` without a
/// content type gets the one it implies, so that it says the same in every other form.
pub fn decode(body: &Bytes) -> Result<Event, Invalid> {
    let mut draft = Draft::default();
    let (mut value, mut base64) = (None, None);
    for (name, raw) in envelope::open(body)?.list {
        match name.as_str() {
            "data" => put(&mut value, &name, raw)?,
            "data_base64" => put(&mut base64, &name, raw)?,
            _ => set(&mut draft, body, &name, raw)?,
        }
    }
    let base64 = base64.filter(|raw| raw.get() != "null");
    let data = match (value, base64) {
        (None, None) => None,
        (None, Some(raw)) => Some(data::from_base64(body, raw)?),
        (Some(raw), None) => Some(data_member(&mut draft, body, raw)?),
        (Some(_), Some(_)) => {
            let detail = "data and data_base64 are both given; send one of them";
            return Err(Invalid::new(Reason::AmbiguousData, "data_base64", detail));
        }
    };
    draft.finish(data)
}

fn put<'a>(place: &mut Option<&'a RawValue>, name: &str, raw: &'a RawValue) -> Result<(), Invalid> {
    place.replace(raw).map_or(Ok(()), |_| Err(attributes::duplicate(name)))
}

fn data_member(draft: &mut Draft, body: &Bytes, raw: &RawValue) -> Result<Bytes, Invalid> {
    if draft.datacontenttype().is_none() {
        draft.set("datacontenttype", IMPLIED.to_owned())?;
    }
    // One that is no media type is reported with the other attributes, whatever the data.
    let media = draft.datacontenttype().and_then(media::parse);
    data::from_member(body, raw, media)
}

fn set(draft: &mut Draft, body: &Bytes, name: &str, raw: &RawValue) -> Result<(), Invalid> {
    attributes::check_name(name)?;
    match raw.get().as_bytes()[0] {
        b'n' => Ok(()),
        b'"' => draft.set(name, envelope::string(body, raw)?),
        b't' | b'f' if attributes::is_extension_name(name) => draft.set(name, raw.get().to_owned()),
        b'-' | b'0'..=b'9' if attributes::is_extension_name(name) => {
            draft.set(name, integer(name, raw.get())?)
        }
        _ => Err(mistyped(name)),
    }
}

/// The canonical string of an integer, which in CloudEvents has 32 bits.
fn integer(name: &str, text: &str) -> Result<String, Invalid> {
    let magnitude: f64 = text.parse().unwrap_or(f64::INFINITY);
    if text == "-0" || magnitude < f64::from(i32::MIN) || magnitude > f64::from(i32::MAX) {
        let detail =
            format!("the attribute {name} must lie between {} and {}, or be a string", i32::MIN, i32::MAX);
        return Err(Invalid::new(Reason::OutOfRange, name, detail));
    }
    text.parse::<i32>().map(|number| number.to_string()).map_err(|_| mistyped(name))
}

fn mistyped(name: &str) -> Invalid {
    let wanted =
        if attributes::is_extension_name(name) { "a string, an integer or a boolean" } else { "a string" };
    let detail = format!("the attribute {name} must be {wanted}");
    Invalid::new(Reason::InvalidAttributeType, name, detail)
}
