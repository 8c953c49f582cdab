//! What holds of every event and every input: codecs give back what they got, nothing panics, nothing leaks.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use evhub_event::{
    Event, Header, Record,
    http::{self, Plain},
    json, kafka,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

const PLAIN: Plain<'_> = Plain { source: "/s", kind: None, subject: None, key: None };

/// Text that an attribute may hold, with a liking for what codecs trip over.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        select(vec![' ', '"', '%', '\\', ';', ',', '/', '&', '€', '😀', '\u{a0}', '\u{2028}', '\u{10fffd}']),
        "[ -~]".prop_map(|text| text.chars().next().unwrap_or('a')),
        "\\PC".prop_map(|text| text.chars().next().unwrap_or('a')),
    ]
    .prop_filter("allowed", |c| !matches!(c, '\u{202d}' | '\u{202e}') && *c as u32 & 0xfffe != 0xfffe)
    .prop_filter("allowed", |c| !c.is_control() && !matches!(c, '\u{fdd0}'..='\u{fdef}'));
    vec(character, 0..24).prop_map(String::from_iter)
}

fn filled() -> impl Strategy<Value = String> {
    text().prop_filter("not empty", |text| !text.is_empty())
}

fn extensions() -> impl Strategy<Value = Vec<(String, String)>> {
    let core = ["data", "specversion", "id", "source", "type", "subject", "time", "dataschema"];
    let name = prop_oneof!["[a-z][a-z0-9]{0,20}", Just("traceparent".to_owned())]
        .prop_filter("an extension", move |name| !core.contains(&name.as_str()) && !name.starts_with("evhub"))
        .prop_filter("set elsewhere", |name| name != "partitionkey" && name != "datacontenttype");
    let extensions = proptest::collection::btree_map(name, text(), 0..5);
    (extensions, option::of(filled())).prop_map(|(extensions, key)| {
        let key = key.map(|key| ("partitionkey".to_owned(), key));
        key.into_iter().chain(extensions).collect()
    })
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    let nested = (60_usize..70).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth));
    let literal = select(vec![
        "null",
        "{}",
        " {}",
        "[1 , 2]\n",
        "-0",
        "1e999999",
        "\"\\ud800\"",
        "\"ü\"",
        "{\"a\":1,\"a\":2}",
        "\"a",
        "\u{feff}1",
    ]);
    let bytes = prop_oneof![
        vec(any::<u8>(), 1..40),
        literal.prop_map(|text| text.as_bytes().to_vec()),
        nested.prop_map(String::into_bytes),
        filled().prop_map(String::into_bytes),
    ];
    option::of(bytes.prop_map(Bytes::from))
}

prop_compose! {
    fn event()(
        id in filled(),
        source in select(vec!["/a/b", "https://x.y/z?q#f", "urn:uuid:1", "1-555", "/%20%C3%BC"]),
        kind in filled(),
        subject in option::of(filled()),
        time in option::of(select(vec!["2018-04-05T17:31:00Z", "2018-04-05t17:31:00.1234567890123+05:30"])),
        datacontenttype in option::of(select(vec![
            "application/json", "application/JSON; charset=\"UTF-8\"", "a/b+json", "text/plain",
            "text/plain;charset=latin1", "application/json;charset=utf-16", "image/png", "image/svg+xml", "a/b; c=\"d e\"",
        ])),
        dataschema in option::of(select(vec!["https://x/y", "urn:a#b"])),
        extensions in extensions(),
        data in data(),
    ) -> Event {
        let [time, datacontenttype, dataschema] = [time, datacontenttype, dataschema].map(|v| v.map(str::to_owned));
        Event { id, source: source.to_owned(), kind, subject, time, datacontenttype, dataschema, extensions, data }
    }
}

/// What a caller could build by hand, checked by nobody.
fn unchecked() -> impl Strategy<Value = Event> {
    let text = || {
        prop_oneof![
            any::<String>(),
            select(vec!["a\r\nevil: 1", "\r\n\r\n", "id", "ID", "specversion", "a b", "\0"])
                .prop_map(str::to_owned)
        ]
    };
    let optional = move || option::of(text());
    let extensions = vec((text(), text()), 0..6);
    ((text(), text(), text()), (optional(), optional(), optional(), optional()), extensions, data()).prop_map(
        |((id, source, kind), (subject, time, datacontenttype, dataschema), extensions, data)| Event {
            id,
            source,
            kind,
            subject,
            time,
            datacontenttype,
            dataschema,
            extensions,
            data,
        },
    )
}

/// The least there can be to an event.
fn least() -> Event {
    let (id, source, kind) = ("1".to_owned(), "/s".to_owned(), "t".to_owned());
    let (subject, time, datacontenttype, dataschema) = (None, None, None, None);
    Event { id, source, kind, subject, time, datacontenttype, dataschema, extensions: Vec::new(), data: None }
}

/// Headers have no order among different names, so HTTP keeps none of extensions.
fn same(event: &Event) -> Event {
    let mut event = event.clone();
    event.extensions.sort();
    event
}

fn through_http(event: &Event) -> Event {
    let (headers, body) = http::encode(event);
    http::decode(&headers, body, &PLAIN).expect("what was written can be read").0
}

fn through_json(event: &Event) -> Event {
    json::decode(&Bytes::from(json::to_string(event))).expect("what was written can be read")
}

fn through_kafka(event: &Event) -> Event {
    kafka::decode(&kafka::encode(event)).expect("what was written can be read")
}

fn header() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    let name = select(vec![
        "ce-specversion",
        "ce-id",
        "ce-source",
        "ce-type",
        "ce-time",
        "ce-x",
        "ce-",
        "ce-data",
        "content-type",
        "other",
    ]);
    let value = prop_oneof![
        select(vec![
            "1.0",
            "",
            "application/cloudevents+json",
            "%",
            "%f",
            "\"",
            "\"\\",
            "%00",
            "text/plain;a=\""
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..20),
    ];
    (name, value).prop_filter_map("HTTP could carry it", |(name, value)| {
        Some((HeaderName::from_static(name), HeaderValue::from_bytes(&value).ok()?))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_codec_gives_back_what_it_got(event in event()) {
        prop_assert_eq!(event.check(), Ok(()));
        prop_assert_eq!(&through_json(&event), &event);
        prop_assert_eq!(&through_kafka(&event), &event);
        prop_assert_eq!(same(&through_http(&event)), same(&event));
    }

    #[test]
    fn every_pair_of_codecs_does_too(event in event()) {
        let codecs: [fn(&Event) -> Event; 3] = [through_http, through_json, through_kafka];
        for first in codecs {
            for second in codecs {
                prop_assert_eq!(same(&second(&first(&event))), same(&event));
            }
        }
    }

    #[test]
    fn empty_data_is_none_in_every_form(event in event()) {
        let none = Event { data: None, ..event.clone() };
        let empty = Event { data: Some(Bytes::new()), ..event };
        for codec in [through_http, through_json, through_kafka] {
            prop_assert_eq!(same(&codec(&empty)), same(&none));
        }
    }

    #[test]
    fn a_record_carries_little_more_than_the_event(event in event()) {
        let key = event.partition_key().map_or(0, str::len);
        prop_assert!(kafka::encode(&event).size() <= event.size() + key + 3 * 64 + 20);
    }

    #[test]
    fn no_event_can_create_or_alter_another_header(event in unchecked()) {
        let (headers, _) = http::encode(&event);
        prop_assert_eq!(headers.keys_len(), headers.len(), "no header twice");
        prop_assert_eq!(headers.get("ce-specversion").map(HeaderValue::as_bytes), Some(&b"1.0"[..]));
        for (name, value) in &headers {
            let attribute = name.as_str().strip_prefix("ce-");
            let alphanumeric = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
            prop_assert!(name == "content-type" || attribute.is_some_and(alphanumeric), "{}", name);
            prop_assert!(!value.as_bytes().iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{:?}", value);
            if name == "ce-id" {
                let id = percent_encoding::percent_decode(value.as_bytes()).collect::<Vec<u8>>();
                prop_assert_eq!(id, event.id.as_bytes());
            }
        }
    }

    #[test]
    fn an_unchecked_event_is_written_without_panic_and_never_read_as_another(event in unchecked()) {
        let record = kafka::encode(&event);
        let ours = |name: &str| name == "content-type" || name.starts_with("ce_");
        prop_assert!(record.headers.iter().all(|header| ours(&header.name)));
        if let Ok(read) = json::decode(&Bytes::from(json::to_string(&event))) {
            prop_assert_eq!((&read.id, &read.source, &read.kind), (&event.id, &event.source, &event.kind));
        }
    }

    #[test]
    fn no_request_panics(base in any::<bool>(), headers in vec(header(), 0..10), body in vec(any::<u8>(), 0..64)) {
        let mut map = if base { http::encode(&least()).0 } else { HeaderMap::new() };
        for (name, value) in headers {
            map.append(name, value);
        }
        match http::decode(&map, Bytes::from(body), &PLAIN) {
            Ok((event, _)) => prop_assert_eq!(same(&through_http(&event)), same(&event)),
            Err(invalid) => {
                prop_assert!(invalid.detail.len() < 400 && !invalid.detail.contains(['\r', '\n', '\0']));
            }
        }
    }

    #[test]
    fn no_json_panics(
        parts in vec(select(vec!["{", "}", "[", "]", "\"", "\\", ":", ",", "1", "-", "e", "null", "\"id\":", "\"data\":", "\"data_base64\":", "\\ud800", "ü", "\n"]), 0..40),
        cut in 0_usize..200,
    ) {
        let event = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","ext":1,"data":{"a":["\u00fc"]}}"#;
        let _ = json::decode(&Bytes::from(parts.concat()));
        let _ = json::split(&Bytes::from(parts.concat()), 3);
        let _ = json::decode(&Bytes::from(event[..event.floor_char_boundary(cut)].to_owned() + &parts.concat()));
    }

    #[test]
    fn no_record_panics(
        base in any::<bool>(),
        headers in vec((prop_oneof!["ce_[a-z]{0,4}", "\\PC{0,6}", Just("content-type".to_owned())], vec(any::<u8>(), 0..12)), 0..12),
        key in option::of(vec(any::<u8>(), 0..8)),
        value in option::of(vec(any::<u8>(), 0..40)),
    ) {
        let base = if base { kafka::encode(&least()).headers } else { Vec::new() };
        let headers = headers.into_iter().map(|(name, value)| Header { name, value: value.into() });
        let headers = base.into_iter().chain(headers).collect();
        let record = Record { key: key.map(Bytes::from), value: value.map(Bytes::from), headers };
        if let Ok(event) = kafka::decode(&record) {
            prop_assert_eq!(event.check(), Ok(()));
            prop_assert_eq!(through_kafka(&event), event);
        }
    }
}
