//! An event in the CloudEvents protobuf format. Pure.

use std::collections::BTreeMap;

use evhub_event::Event;
use evhub_proto::cloudevents::{
    CloudEvent,
    cloud_event::{CloudEventAttributeValue, Data, cloud_event_attribute_value::Attr},
};
use jiff::Timestamp;

/// The message. Its data is bytes whatever they are, so that they arrive as they came.
pub fn encode(event: &Event) -> CloudEvent {
    let mut attributes = BTreeMap::new();
    let mut put = |name: &str, attr| {
        attributes.insert(name.to_owned(), CloudEventAttributeValue { attr: Some(attr) });
    };
    let text = |value: &String| Attr::CeString(value.clone());
    if let Some(time) = &event.time {
        put("time", instant(time).map_or_else(|| text(time), Attr::CeTimestamp));
    }
    if let Some(schema) = &event.dataschema {
        put("dataschema", Attr::CeUri(schema.clone()));
    }
    for (name, value) in [("subject", &event.subject), ("datacontenttype", &event.datacontenttype)] {
        if let Some(value) = value {
            put(name, text(value));
        }
    }
    for (name, value) in &event.extensions {
        put(name, text(value));
    }
    CloudEvent {
        id: event.id.clone(),
        source: event.source.clone(),
        spec_version: "1.0".to_owned(),
        r#type: event.kind.clone(),
        attributes,
        data: event.data.clone().map(Data::BinaryData),
    }
}

/// An RFC 3339 instant as protobuf has it.
pub(super) fn instant(text: &str) -> Option<prost_types::Timestamp> {
    let time: Timestamp = text.parse().ok()?;
    // An instant before 1970 counts its nanoseconds forwards here and backwards there.
    let nanos = time.subsec_nanosecond();
    let (seconds, nanos) =
        if nanos < 0 { (time.as_second() - 1, nanos + 1_000_000_000) } else { (time.as_second(), nanos) };
    Some(prost_types::Timestamp { seconds, nanos })
}
