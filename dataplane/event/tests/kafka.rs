//! Records, ours and strangers', and what they come to.

use bytes::Bytes;
use evhub_event::{
    Event, Header, Record,
    kafka::{Poison, decode, encode},
};

const BASE: [(&str, &[u8]); 4] =
    [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"), ("ce_type", b"t")];
const JSON: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":[1]}"#;

fn record(headers: &[(&str, &[u8])], key: Option<&[u8]>, value: Option<&[u8]>) -> Record {
    let headers = headers
        .iter()
        .map(|(name, value)| Header { name: (*name).to_owned(), value: Bytes::copy_from_slice(value) });
    let bytes = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    Record { key: key.map(bytes), value: value.map(bytes), headers: headers.collect() }
}

fn with(more: &[(&str, &[u8])]) -> Record {
    record(&[&BASE, more].concat(), None, Some(b"x"))
}

fn read(record: &Record) -> Event {
    decode(record).expect("an event")
}

fn word(record: &Record) -> String {
    match decode(record).expect_err("poison") {
        poison @ Poison::Empty => poison.word().to_owned(),
        Poison::Decode(invalid) => format!("POISON_DECODE {}", invalid.reason),
    }
}

#[test]
fn an_event_is_written_in_binary_mode() {
    let event = Event {
        subject: Some("ü %41".to_owned()),
        datacontenttype: Some("text/plain".to_owned()),
        extensions: vec![("partitionkey".to_owned(), "k".to_owned())],
        ..read(&with(&[]))
    };
    let expected: Vec<(&str, &[u8])> = BASE
        .into_iter()
        .chain([
            ("ce_subject", "ü %41".as_bytes()),
            ("content-type", b"text/plain"),
            ("ce_partitionkey", b"k"),
        ])
        .collect();
    assert_eq!(encode(&event), record(&expected, Some(b"k"), Some(b"x")));
    assert_eq!(read(&encode(&event)), event);
}

#[test]
fn no_data_is_an_empty_value_and_never_a_tombstone() {
    let none = Event { data: None, ..read(&with(&[])) };
    let empty = Event { data: Some(Bytes::new()), ..none.clone() };
    for event in [&none, &empty] {
        assert_eq!(encode(event).value.as_deref(), Some(&b""[..]));
        assert_eq!(read(&encode(event)), none);
    }
    // The binding itself says null.
    assert_eq!(read(&record(&BASE, None, None)), none);
}

#[test]
fn records_without_an_event_are_poison() {
    let structured: [(&str, &[u8]); 1] = [("content-type", b"application/cloudevents+json")];
    for (expected, record) in [
        ("POISON_EMPTY", record(&[], Some(b"k"), None)),
        ("POISON_EMPTY", record(&[("other", b"1")], None, Some(b""))),
        ("POISON_EMPTY", record(&structured, None, Some(b""))),
        ("POISON_EMPTY", record(&[&BASE[..], &structured].concat(), None, None)),
        ("POISON_DECODE MISSING_ATTRIBUTE", record(&[], None, Some(b"\x00\xff junk"))),
        ("POISON_DECODE INVALID_JSON", record(&structured, None, Some(b"{"))),
        ("POISON_DECODE MISSING_ATTRIBUTE", record(&BASE[..3], None, Some(b"x"))),
        ("POISON_DECODE INVALID_HEADER", with(&[("ce_ext", b"\xff")])),
        ("POISON_DECODE INVALID_HEADER", with(&[("content-type", b"text/\xff")])),
        ("POISON_DECODE INVALID_CHARACTER", with(&[("ce_ext", b"a\r\nb")])),
        ("POISON_DECODE INVALID_ATTRIBUTE_NAME", with(&[("ce_a_b", b"1")])),
        ("POISON_DECODE INVALID_ATTRIBUTE_NAME", with(&[("ce_a\nb", b"\xff")])),
        ("POISON_DECODE EMPTY_ATTRIBUTE", with(&[("ce_partitionkey", b"")])),
        ("POISON_DECODE UNSUPPORTED_MEDIA_TYPE", with(&[("content-type", b"application/cloudevents+avro")])),
    ] {
        assert_eq!(word(&record), expected, "{record:?}");
    }
}

#[test]
fn what_strangers_add_is_tolerated() {
    let plain = read(&with(&[]));
    assert_eq!(read(&with(&[("other", b"\xff"), ("evhub-epoch", b"9"), ("CE_ID", b"2")])), plain, "ignored");
    assert_eq!(read(&with(&[("ce_id", b"2"), ("ce_type", b"\xff")])), plain, "the first counts");
    assert_eq!(
        read(&with(&[("Content-Type", b"text/plain")])).datacontenttype.as_deref(),
        Some("text/plain")
    );
    let control = read(&with(&[("ce_evhubtags", b"a")]));
    assert_eq!(control.extension("evhubtags"), Some("a"), "kept");
    let many: Vec<(&str, &[u8])> = vec![("other", b"1"); 10_000];
    assert_eq!(read(&with(&many)), plain);
}

#[test]
fn structured_records_are_read_and_their_headers_are_not() {
    let headers: [(&str, &[u8]); 2] =
        [("content-type", b"Application/CloudEvents+JSON; charset=UTF-8"), ("ce_id", b"other")];
    let event = read(&record(&headers, Some(b"k"), Some(JSON.as_bytes())));
    assert_eq!((event.id.as_str(), event.data.as_deref()), ("1", Some(&b"[1]"[..])));
    assert_eq!(event.partition_key(), Some("k"));
}

#[test]
fn a_key_becomes_the_partition_key_where_none_is_written() {
    let key = |key: &[u8], more: &[(&str, &[u8])]| {
        let record = record(&[&BASE, more].concat(), Some(key), Some(b"x"));
        read(&record).partition_key().map(str::to_owned)
    };
    assert_eq!(key(b"k", &[]).as_deref(), Some("k"));
    assert_eq!(key(b"k", &[("ce_partitionkey", b"written")]).as_deref(), Some("written"));
    for unfit in [&b""[..], b"\xff", b"a\0", &[b'a'; 4097]] {
        assert_eq!(key(unfit, &[]), None);
    }
    let names: Vec<String> = (0..60).map(|n| format!("ce_x{n}")).collect();
    let full: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"1"[..])).collect();
    assert_eq!(key(b"k", &full[1..]).as_deref(), Some("k"), "the 64th attribute");
    assert_eq!(key(b"k", &full), None, "there is no room for one more");
}
