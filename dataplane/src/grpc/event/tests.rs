//! Events there and back, and what is no event.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message as _;

use super::*;

/// An event as another implementation would send it: each attribute in the kind of value that the format names for it.
fn encode(event: &Event) -> CloudEvent {
    let value = |attr| CloudEventAttributeValue { attr: Some(attr) };
    let mut attributes = BTreeMap::new();
    for (name, text) in event.attributes() {
        let text = text.to_owned();
        let attr = match name {
            "id" | "source" | "type" => continue,
            "time" => {
                let time: Timestamp = text.parse().unwrap();
                let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
                Attr::CeTimestamp(prost_types::Timestamp { seconds, nanos })
            }
            "dataschema" => Attr::CeUri(text),
            _ => Attr::CeString(text),
        };
        attributes.insert(name.to_owned(), value(attr));
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

fn events() -> impl Strategy<Value = Event> {
    let text = || "[a-zA-Z0-9 ./é-]{1,20}";
    let extensions = prop::collection::btree_map("x[a-z0-9]{1,8}", text(), 0..4);
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 1..64));
    let optional = (prop::option::of(text()), prop::option::of(-62_000_000_000..250_000_000_000_i64));
    (text(), text(), optional, extensions, data).prop_map(|(id, kind, (subject, time), extensions, data)| {
        Event {
            id,
            source: "/till/3".to_owned(),
            kind,
            subject,
            time: time.map(|seconds| Timestamp::from_second(seconds).unwrap().to_string()),
            datacontenttype: Some("text/plain".to_owned()),
            dataschema: Some("https://example.org/schema".to_owned()),
            extensions: extensions.into_iter().collect(),
            data: data.map(Bytes::from),
        }
    })
}

proptest! {
    #[test]
    fn whatever_is_sent_is_read_back(event in events()) {
        let bytes = encode(&event).encode_to_vec();
        prop_assert_eq!(decode(CloudEvent::decode(&bytes[..]).unwrap()), Ok(event));
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Ok(message) = CloudEvent::decode(&bytes[..])
            && let Ok(event) = decode(message)
        {
            prop_assert_eq!(event.check(), Ok(()));
        }
    }
}

fn message() -> CloudEvent {
    CloudEvent {
        id: "1".to_owned(),
        source: "/s".to_owned(),
        spec_version: "1.0".to_owned(),
        r#type: "t".to_owned(),
        ..CloudEvent::default()
    }
}

fn with(name: &str, attr: Option<Attr>) -> CloudEvent {
    let mut message = message();
    message.attributes.insert(name.to_owned(), CloudEventAttributeValue { attr });
    message
}

#[test]
fn values_of_every_kind_become_their_canonical_strings() {
    let instant = prost_types::Timestamp { seconds: 0, nanos: 500_000_000 };
    let cases = [
        (Attr::CeBoolean(true), "true"),
        (Attr::CeInteger(-7), "-7"),
        (Attr::CeString("a b".to_owned()), "a b"),
        (Attr::CeBytes(Bytes::from_static(b"\0\xff")), "AP8="),
        (Attr::CeUri("urn:x".to_owned()), "urn:x"),
        (Attr::CeUriRef("/x".to_owned()), "/x"),
        (Attr::CeTimestamp(instant), "1970-01-01T00:00:00.5Z"),
    ];
    for (attr, expected) in cases {
        assert_eq!(decode(with("ext", Some(attr))).unwrap().extension("ext"), Some(expected));
    }
}

#[test]
fn data_of_every_kind_is_kept_as_bytes() {
    let decode = |data| decode(CloudEvent { data: Some(data), ..message() }).unwrap();
    assert_eq!(decode(Data::BinaryData(Bytes::from_static(b"\xff"))).data.as_deref(), Some(&b"\xff"[..]));
    assert_eq!(decode(Data::TextData("é".to_owned())).data.as_deref(), Some("é".as_bytes()));
    assert_eq!(decode(Data::TextData(String::new())).data, None);
    let any = prost_types::Any { type_url: "type.googleapis.com/a.B".to_owned(), value: vec![8, 1] };
    let event = decode(Data::ProtoData(any));
    assert_eq!(event.data.as_deref(), Some(&[8, 1][..]));
    assert_eq!(event.datacontenttype.as_deref(), Some("application/protobuf"));
    assert_eq!(event.dataschema.as_deref(), Some("https://type.googleapis.com/a.B"));
}

#[test]
fn what_is_no_event_is_refused_with_its_field() {
    let time = |seconds, nanos| Some(Attr::CeTimestamp(prost_types::Timestamp { seconds, nanos }));
    let string = |text: &str| Some(Attr::CeString(text.to_owned()));
    let cases = [
        (CloudEvent { id: String::new(), ..message() }, Reason::MissingAttribute, "id"),
        (CloudEvent { spec_version: String::new(), ..message() }, Reason::MissingAttribute, "specversion"),
        (
            CloudEvent { spec_version: "0.3".to_owned(), ..message() },
            Reason::UnsupportedSpecversion,
            "specversion",
        ),
        (CloudEvent { source: "a b".to_owned(), ..message() }, Reason::InvalidUri, "source"),
        (with("time", time(569_034_205_184, 0)), Reason::InvalidTime, "time"),
        (with("time", time(0, -1)), Reason::InvalidTime, "time"),
        (with("time", time(i64::MIN, 0)), Reason::InvalidTime, "time"),
        (with("time", string("now")), Reason::InvalidTime, "time"),
        (with("ext", None), Reason::InvalidAttributeType, "ext"),
        (with("Ext", string("1")), Reason::InvalidAttributeName, "Ext"),
        (with("id", string("1")), Reason::DuplicateAttribute, "id"),
        (with("partitionkey", string("")), Reason::EmptyAttribute, "partitionkey"),
    ];
    for (message, reason, field) in cases {
        let shown = format!("{message:?}");
        let invalid = decode(message).unwrap_err();
        assert_eq!((invalid.reason, invalid.field.as_deref()), (reason, Some(field)), "{shown}");
    }
}
