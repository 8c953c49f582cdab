//! A filter's expression over an event. An input is the expression, a zero byte, and the event's data.

use bytes::Bytes;
use evhub_event::Event;
use evhub_routing::Cel;

pub(crate) fn run(data: &[u8]) {
    let (source, body) = match data.iter().position(|byte| *byte == 0) {
        Some(zero) => (&data[..zero], &data[zero + 1..]),
        None => (data, &br#"{"amount":120,"items":[{"sku":"a","n":1}],"note":"x"}"#[..]),
    };
    let Some(cel) = std::str::from_utf8(source).ok().and_then(|source| source.parse::<Cel>().ok()) else {
        return;
    };
    assert_eq!(cel.source().as_bytes(), source, "it stays as it was written");
    let event = Event {
        id: "1".to_owned(),
        source: "/till".to_owned(),
        kind: "shop.order.paid".to_owned(),
        subject: Some("de/7".to_owned()),
        time: None,
        datacontenttype: Some("application/json".to_owned()),
        dataschema: None,
        extensions: vec![("partitionkey".to_owned(), "ada".to_owned())],
        data: Some(Bytes::copy_from_slice(body)),
    };
    let first = cel.holds(&event);
    // The same event twice is the same answer.
    assert_eq!(cel.holds(&event), first);
}
