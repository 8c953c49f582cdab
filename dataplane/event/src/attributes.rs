//! The rules that names and values of attributes obey, whichever way an event came. Pure.

use crate::{
    Event,
    invalid::{Invalid, Reason, quote},
};

pub(crate) mod media;
mod time;
mod uri;

pub(crate) use self::uri::is_reference;

/// How many attributes one event may have, `specversion` included.
pub const MAX_ATTRIBUTES: usize = 64;

/// The longest attribute value, in bytes.
pub const MAX_VALUE: usize = 4096;

/// The longest attribute name, in bytes. The specification advises 20 and forbids none; three times that harms nobody.
pub const MAX_NAME: usize = 64;

/// When an event is of no use any more, as the CloudEvents extension of this name defines it.
pub const EXPIRY: &str = "expirytime";

/// Heads the names of the controls that a publisher can set on an event.
pub const RESERVED_PREFIX: &str = "evhub";

/// Whether an extension may be called so.
pub(crate) fn is_extension_name(name: &str) -> bool {
    is_name(name) && !is_core(name)
}

/// Whether this is one of the attributes that the specification itself defines.
fn is_core(name: &str) -> bool {
    matches!(
        name,
        "specversion" | "id" | "source" | "type" | "subject" | "time" | "datacontenttype" | "dataschema"
    )
}

/// Whether an event would still be valid with this extension besides.
pub(crate) fn may_extend(event: &Event, name: &str, value: &str) -> bool {
    1 + event.attributes().count() < MAX_ATTRIBUTES && check_filled(name, value).is_ok()
}

/// Whether [`check_name`] finds nothing.
fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= MAX_NAME
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && name != "data"
}

/// Holds a name against the specification's rules, and against ours for length.
pub(crate) fn check_name(name: &str) -> Result<(), Invalid> {
    if is_name(name) {
        return Ok(());
    }
    let problem = if name.is_empty() {
        "is empty"
    } else if name.len() > MAX_NAME {
        "is longer than 64 bytes"
    } else if name == "data" {
        "is the event's data, which no attribute may be called"
    } else if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        "may contain only the letters a to z and the digits 0 to 9"
    } else {
        "must begin with a letter"
    };
    let detail = format!("the attribute name {} {problem}", quote(name));
    Err(Invalid::new(Reason::InvalidAttributeName, name.escape_debug().to_string(), detail))
}

/// Holds all of an event's attributes against the rules; the order of findings is the order of the specification.
pub(crate) fn check(event: &Event) -> Result<(), Invalid> {
    check_required("id", &event.id)?;
    check_required("source", &event.source)?;
    check_required("type", &event.kind)?;
    check_text("id", &event.id)?;
    check_uri("source", &event.source, uri::is_reference)?;
    check_text("type", &event.kind)?;
    event.subject.as_deref().map_or(Ok(()), |subject| check_filled("subject", subject))?;
    event.time.as_deref().map_or(Ok(()), |time| check_time("time", time))?;
    event.datacontenttype.as_deref().map_or(Ok(()), check_content_type)?;
    event.dataschema.as_deref().map_or(Ok(()), |schema| check_uri("dataschema", schema, uri::is_absolute))?;
    check_extensions(event)
}

fn check_extensions(event: &Event) -> Result<(), Invalid> {
    // `specversion` is an attribute too, though no event stores it.
    if 1 + event.attributes().count() > MAX_ATTRIBUTES {
        return Err(too_many());
    }
    for (index, (name, value)) in event.extensions.iter().enumerate() {
        check_name(name)?;
        if is_core(name) || event.extensions[..index].iter().any(|(other, _)| other == name) {
            return Err(duplicate(name));
        }
        match name.as_str() {
            "partitionkey" => check_filled(name, value)?,
            EXPIRY => check_time(name, value)?,
            _ => check_text(name, value)?,
        }
    }
    Ok(())
}

fn check_required(name: &str, value: &str) -> Result<(), Invalid> {
    if value.is_empty() { Err(missing(name)) } else { Ok(()) }
}

fn check_filled(name: &str, value: &str) -> Result<(), Invalid> {
    if value.is_empty() {
        let detail = format!("the attribute {name} is empty; leave it out or give it a value");
        return Err(Invalid::new(Reason::EmptyAttribute, name, detail));
    }
    check_text(name, value)
}

/// Holds any value against the rules for text.
pub(crate) fn check_text(name: &str, value: &str) -> Result<(), Invalid> {
    if value.len() > MAX_VALUE {
        let detail = format!("the attribute {name} has {} bytes; {MAX_VALUE} are allowed", value.len());
        return Err(Invalid::new(Reason::AttributeTooLong, name, detail));
    }
    if value.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Ok(());
    }
    match value.chars().find(|&c| is_forbidden(c)) {
        None => Ok(()),
        Some(c) => {
            let detail = format!("the attribute {name} contains U+{:04X}, which no attribute may", c as u32);
            Err(Invalid::new(Reason::InvalidCharacter, name, detail))
        }
    }
}

/// What the specification forbids in strings (controls and noncharacters; a `char` is never half a surrogate pair), and
/// the two characters that make every later one read in the wrong direction, wherever an event is shown.
fn is_forbidden(c: char) -> bool {
    let noncharacter = matches!(c, '\u{fdd0}'..='\u{fdef}') || (c as u32) & 0xfffe == 0xfffe;
    c.is_control() || noncharacter || matches!(c, '\u{202d}' | '\u{202e}')
}

fn check_uri(name: &str, value: &str, is_uri: fn(&str) -> bool) -> Result<(), Invalid> {
    let detail = if value.len() > MAX_VALUE {
        format!("the attribute {name} has {} bytes; {MAX_VALUE} are allowed", value.len())
    } else if is_uri(value) {
        return Ok(());
    } else {
        let wanted = if name == "source" { "URI or a relative reference" } else { "URI with a scheme" };
        format!("the attribute {name} must be a {wanted} (RFC 3986), which {} is not", quote(value))
    };
    Err(Invalid::new(Reason::InvalidUri, name, detail))
}

pub(crate) fn check_time(name: &str, value: &str) -> Result<(), Invalid> {
    if time::is_instant(value) {
        return check_text(name, value);
    }
    let detail = format!(
        "the attribute {name} must be an RFC 3339 instant such as 2026-01-31T12:00:00Z, which {} is not",
        quote(value)
    );
    Err(Invalid::new(Reason::InvalidTime, name, detail))
}

fn check_content_type(value: &str) -> Result<(), Invalid> {
    check_text("datacontenttype", value)?;
    if media::is_cloudevents(value) {
        // Binary modes put this into `content-type`, and whoever read that would take the data for the event.
        let detail =
            "the data of an event cannot be declared as a CloudEvent itself; declare application/json";
        return Err(Invalid::new(Reason::AmbiguousMode, "datacontenttype", detail));
    }
    if media::parse(value).is_none() {
        let detail = format!(
            "the content type must be a media type such as text/plain, which {} is not",
            quote(value)
        );
        return Err(Invalid::new(Reason::InvalidMediaType, "datacontenttype", detail));
    }
    Ok(())
}

pub(crate) fn missing(name: &str) -> Invalid {
    let detail = format!("the attribute {name} is missing or empty; every event needs one");
    Invalid::new(Reason::MissingAttribute, name, detail)
}

pub(crate) fn duplicate(name: &str) -> Invalid {
    Invalid::new(Reason::DuplicateAttribute, name, format!("the attribute {name} is given more than once"))
}

pub(crate) fn too_many() -> Invalid {
    let detail = format!("the event has more than {MAX_ATTRIBUTES} attributes");
    Invalid::whole(Reason::TooManyAttributes, detail)
}
