//! The CloudEvents protobuf format: a message as an event. Pure.
//!
//! Attribute values become the canonical strings of the CloudEvents type system, as in every other form. Of a map's keys
//! that are sent twice, the last counts, as protobuf has it; what is not known to the format is ignored.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use evhub_event::{Event, Invalid, Reason, invalid::quote};
use evhub_proto::cloudevents::{
    CloudEvent,
    cloud_event::{CloudEventAttributeValue, Data, cloud_event_attribute_value::Attr},
};
use jiff::Timestamp;

/// The one version of the specification that is spoken here.
const SPEC_VERSION: &str = "1.0";

/// The event that a message holds, checked.
pub(crate) fn decode(message: CloudEvent) -> Result<Event, Invalid> {
    let CloudEvent { id, source, spec_version, r#type: kind, attributes, data } = message;
    if spec_version.is_empty() {
        let detail = "the attribute specversion is missing or empty; every event needs one";
        return Err(Invalid::new(Reason::MissingAttribute, "specversion", detail));
    }
    if spec_version != SPEC_VERSION {
        let detail = format!("specversion {} is not spoken here; {SPEC_VERSION} is", quote(&spec_version));
        return Err(Invalid::new(Reason::UnsupportedSpecversion, "specversion", detail));
    }
    let mut event = Event {
        id,
        source,
        kind,
        subject: None,
        time: None,
        datacontenttype: None,
        dataschema: None,
        extensions: Vec::new(),
        data: None,
    };
    for (name, value) in attributes {
        set(&mut event, name, value)?;
    }
    take_data(&mut event, data);
    event.check()?;
    Ok(event)
}

fn set(event: &mut Event, name: String, value: CloudEventAttributeValue) -> Result<(), Invalid> {
    let value = text(&name, value)?;
    match name.as_str() {
        "subject" => event.subject = Some(value),
        "time" => event.time = Some(value),
        "datacontenttype" => event.datacontenttype = Some(value),
        "dataschema" => event.dataschema = Some(value),
        // The check refuses those that have a field of their own.
        _ => event.extensions.push((name, value)),
    }
    Ok(())
}

/// The canonical string of a value.
fn text(name: &str, value: CloudEventAttributeValue) -> Result<String, Invalid> {
    match value.attr {
        Some(Attr::CeBoolean(value)) => Ok(value.to_string()),
        Some(Attr::CeInteger(value)) => Ok(value.to_string()),
        Some(Attr::CeString(value) | Attr::CeUri(value) | Attr::CeUriRef(value)) => Ok(value),
        Some(Attr::CeBytes(value)) => Ok(STANDARD.encode(value)),
        Some(Attr::CeTimestamp(value)) => instant(value).ok_or_else(|| {
            let detail = format!("the attribute {} is no instant between the years 1 and 9999", quote(name));
            Invalid::new(Reason::InvalidTime, name, detail)
        }),
        None => {
            let detail =
                format!("the attribute {} has no value, or one of a kind not known here", quote(name));
            Err(Invalid::new(Reason::InvalidAttributeType, name, detail))
        }
    }
}

/// An instant as RFC 3339 writes it; `None` for one that it cannot write.
pub(crate) fn instant(value: prost_types::Timestamp) -> Option<String> {
    // The first and the last second that the message may hold.
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let whole = (0..1_000_000_000).contains(&value.nanos) && YEARS.contains(&value.seconds);
    let instant = whole.then(|| Timestamp::new(value.seconds, value.nanos).ok()).flatten()?;
    Some(instant.to_string())
}

/// Empty data is no data, as in every form.
fn take_data(event: &mut Event, data: Option<Data>) {
    let bytes = match data {
        None => return,
        Some(Data::BinaryData(bytes)) => bytes,
        Some(Data::TextData(text)) => Bytes::from(text),
        Some(Data::ProtoData(any)) => {
            event.datacontenttype.get_or_insert_with(|| "application/protobuf".to_owned());
            if !any.type_url.is_empty() {
                event.dataschema.get_or_insert_with(|| schema(any.type_url));
            }
            Bytes::from(any.value)
        }
    };
    event.data = Some(bytes).filter(|bytes| !bytes.is_empty());
}

/// A type's URL with the scheme that is implied when it has none.
fn schema(url: String) -> String {
    if url.contains("://") { url } else { format!("https://{url}") }
}

#[cfg(test)]
mod tests;
