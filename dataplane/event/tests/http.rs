//! Requests, good and bad, and what they come to: the table in `data/http.txt`, and what does not fit into one.

use bytes::Bytes;
use evhub_event::{
    Event, Header,
    http::{Plain, decode, encode},
    json,
};
use http::{HeaderMap, HeaderName, HeaderValue};

const TABLE: &str = include_str!("data/http.txt");
const BASE: &str = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;
const PLAIN: Plain<'_> =
    Plain { source: "/namespaces/shop/producers/orders", kind: None, subject: None, key: None };

struct Request {
    name: String,
    headers: HeaderMap,
    body: Bytes,
}

#[test]
fn requests_come_to_what_the_table_says() {
    let cases: Vec<&str> = TABLE.split("\n\n").skip(1).collect();
    assert!(cases.len() > 100, "the table reads as {} cases", cases.len());
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn check(case: &str) -> Result<(), String> {
    let (request, expected) = case.trim_end().rsplit_once("=> ").expect("every case has an expectation");
    let request = read(request);
    let found = match decode(&request.headers, request.body, &PLAIN) {
        Ok((mut event, controls)) => {
            if event.source == PLAIN.source {
                assert_eq!(event.id.len(), 36, "a UUID");
                "ID".clone_into(&mut event.id);
            }
            let control =
                |header: Header| format!(" {}={}", header.name, String::from_utf8_lossy(&header.value));
            json::to_string(&event) + &controls.headers().map(control).collect::<String>()
        }
        Err(invalid) => {
            assert!(
                invalid.detail.len() < 400 && !invalid.detail.contains(['\r', '\n']),
                "{}",
                invalid.detail
            );
            let field = invalid.field.filter(|field| !field.is_empty()).unwrap_or("-".to_owned());
            format!("{} {} {field}", invalid.reason.status(), invalid.reason)
        }
    };
    let expected = expand(expected);
    if found == expected {
        return Ok(());
    }
    Err(format!("{}: expected {:.400}, found {:.400}", request.name, expected, found))
}

fn read(text: &str) -> Request {
    let mut lines = text.lines();
    let name = lines.next().and_then(|line| line.strip_prefix("# ")).expect("a case has a name").to_owned();
    let (mut headers, mut body) = (HeaderMap::new(), Bytes::new());
    for line in lines {
        if line == "BINARY" {
            headers = binary();
        } else if line == "STRUCTURED" {
            headers.insert("content-type", HeaderValue::from_static("application/cloudevents+json"));
        } else if let Some(text) = line.strip_prefix("> ") {
            body = Bytes::from(expand(text));
        } else if let Some(gone) = line.strip_prefix('-') {
            headers.remove(gone).expect("only a header that is there can be taken away");
        } else if let Some(line) = line.strip_prefix('+') {
            let (name, value) = header(line);
            assert!(headers.append(name, value), "one more of a header that is there");
        } else {
            let (name, value) = header(line);
            headers.insert(name, value);
        }
    }
    Request { name, headers, body }
}

fn binary() -> HeaderMap {
    ["ce-specversion: 1.0", "ce-id: 1", "ce-source: /s", "ce-type: t"].into_iter().map(header).collect()
}

fn header(line: &str) -> (HeaderName, HeaderValue) {
    let line = expand(line);
    let (name, value) = line.split_once(':').expect("a header has a colon");
    let value = HeaderValue::from_bytes(value.trim().as_bytes()).expect("HTTP could carry it");
    (name.parse().expect("HTTP could carry it"), value)
}

/// Writes out `[BASE]` and `[40*x]`.
fn expand(text: &str) -> String {
    let text = text.replace("[BASE]", BASE);
    let (mut out, mut rest) = (String::new(), text.as_str());
    while let Some(start) = rest.find('[') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let repeat = rest[1..].split_once('*').and_then(|(count, what)| {
            let end = what.char_indices().skip(1).find(|(_, c)| *c == ']')?.0;
            Some((what[..end].repeat(count.parse().ok()?), &what[end + 1..]))
        });
        let (written, after) = repeat.unwrap_or_else(|| ("[".to_owned(), &rest[1..]));
        out.push_str(&written);
        rest = after;
    }
    out + rest
}

fn invalid_json(body: impl Into<Bytes>) -> String {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/cloudevents+json"));
    let invalid = decode(&headers, body.into(), &PLAIN).expect_err("not JSON");
    assert_eq!(invalid.reason.word(), "INVALID_JSON");
    invalid.detail
}

#[test]
fn bad_json_is_refused_with_the_byte_where_it_goes_wrong() {
    let at = |body: &str| invalid_json(body.to_owned());
    assert!(at("{\"id\":\n\n  tru}").contains("byte 13:"), "{}", at("{\"id\":\n\n  tru}"));
    assert!(at("\u{feff}{}").contains("byte 0:"));
    assert!(at("{} {}").contains("byte 3:"));
    let half = r#"{"id":"1","subject":"ab\ud800"}"#;
    let offset: usize = at(half).split("byte ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
    assert!((24..=30).contains(&offset), "{}", at(half));
    assert!(invalid_json(&b"{\"id\":\"\xff\"}"[..]).contains("byte 7: it is not UTF-8"));
}

#[test]
fn attributes_are_counted_before_they_are_kept() {
    let with = |extensions: usize| {
        let mut headers = binary();
        headers.extend((0..extensions).map(|n| header(&format!("ce-x{n}: y"))));
        decode(&headers, Bytes::new(), &PLAIN)
    };
    assert_eq!(with(60).expect("64 attributes").0.extensions.len(), 60);
    for many in [61, 1000] {
        assert_eq!(with(many).unwrap_err().reason.word(), "TOO_MANY_ATTRIBUTES");
    }
    let members: String = ",\"x\":1".repeat(200_000);
    let invalid = json::decode(&Bytes::from(format!("{{{BASE}{members}}}"))).unwrap_err();
    assert_eq!(invalid.reason.word(), "TOO_MANY_ATTRIBUTES");
    assert_eq!(
        json::decode(&Bytes::from(format!("{{{BASE}{members}"))).unwrap_err().reason.word(),
        "INVALID_JSON"
    );
}

#[test]
fn whatever_is_repeated_of_a_request_is_short() {
    let long = format!("ce-{}", "x".repeat(10_000));
    let value = "%FF".repeat(10_000);
    let structured = ("content-type", "application/cloudevents+json");
    for headers in [
        vec![(long.as_str(), "ü")],
        vec![(long.as_str(), "x"), structured],
        vec![("ce-x", value.as_str())],
        vec![("ce-specversion", value.trim_start_matches('%'))],
        vec![("content-type", value.as_str())],
    ] {
        let headers = headers.into_iter().map(|(name, value)| header(&format!("{name}:{value}"))).collect();
        let body = Bytes::from(format!("{{{BASE}}}"));
        let invalid = decode(&headers, body, &PLAIN).unwrap_err();
        assert!(
            invalid.detail.len() < 400 && invalid.field.as_ref().is_some_and(|f| f.len() <= 64),
            "{invalid:?}"
        );
    }
}

#[test]
fn a_plain_request_says_its_attributes_beside_the_body() {
    let plain = Plain { kind: Some("order.paid"), subject: Some("de/ü"), key: Some("k 1"), ..PLAIN };
    let (event, _) = decode(&HeaderMap::new(), Bytes::from_static(b"x"), &plain).unwrap();
    assert_eq!((event.kind.as_str(), event.subject.as_deref()), ("order.paid", Some("de/ü")));
    assert_eq!(event.partition_key(), Some("k 1"));
    for (plain, reason, field) in [
        (Plain { kind: Some(""), ..PLAIN }, "MISSING_ATTRIBUTE", "type"),
        (Plain { subject: Some("a\nb"), ..PLAIN }, "INVALID_CHARACTER", "subject"),
        (Plain { key: Some(""), ..PLAIN }, "EMPTY_ATTRIBUTE", "partitionkey"),
    ] {
        let invalid = decode(&HeaderMap::new(), Bytes::new(), &plain).unwrap_err();
        assert_eq!((invalid.reason.word(), invalid.field.as_deref()), (reason, Some(field)));
    }
    // Other modes say their own.
    let (event, _) = decode(&binary(), Bytes::new(), &plain).unwrap();
    assert_eq!((event.kind.as_str(), event.subject, event.extensions.len()), ("t", None, 0));
}

#[test]
fn data_stays_the_bytes_of_the_body() {
    let body = Bytes::from(format!("{{{BASE},\"data\":[1, 2]}}"));
    let data = json::decode(&body).unwrap().data.unwrap();
    assert!(body.as_ptr_range().contains(&data.as_ptr()), "not copied");
}

#[test]
fn a_target_gets_escaped_attributes_and_the_bare_content_type() {
    let event = Event {
        id: "Euro € 😀".to_owned(),
        source: "/s".to_owned(),
        kind: "a\"b%".to_owned(),
        subject: None,
        time: None,
        datacontenttype: Some("text/plain; a=\"b c\"".to_owned()),
        dataschema: None,
        extensions: vec![("ext".to_owned(), "~!\\".to_owned())],
        data: Some(Bytes::from_static(b"x")),
    };
    let (headers, body) = encode(&event);
    let mut lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "ce-ext: ~!\\",
            "ce-id: Euro%20%E2%82%AC%20%F0%9F%98%80",
            "ce-source: /s",
            "ce-specversion: 1.0",
            "ce-type: a%22b%25",
            "content-type: text/plain; a=\"b c\"",
        ]
    );
    assert_eq!(body, "x");
    assert_eq!(event.size(), 2 + 13 + 6 + 2 + 4 + 4 + 15 + 19 + 3 + 3 + 1);
}

#[test]
fn new_ids_differ_and_grow() {
    let ids: Vec<String> = (0..100).map(|_| Event::new_id()).collect();
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(&ids[0][14..15], "7");
}
