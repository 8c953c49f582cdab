//! A record that a stranger wrote. An input is a key, headers by name and value, and the body.

use bytes::Bytes;
use evhub_event::{Controls, Header, Record, kafka};

use super::{parts::Parts, surface::reads_back};

pub(crate) fn run(data: &[u8]) {
    let record = record(&mut Parts(data));
    let controls = Controls::of(&record);
    let written = Record { headers: controls.headers().collect(), ..Record::default() };
    assert_eq!(Controls::of(&written), controls, "controls read back");
    if let Ok(event) = kafka::decode(&record) {
        assert_eq!(event.check(), Ok(()), "what is decoded is an event");
        reads_back(&kafka::encode(&event));
        let (headers, body) = evhub_event::http::encode(&event);
        assert_eq!(Some(body).filter(|body| !body.is_empty()), event.data);
        assert!(headers.keys().all(|name| name == "content-type" || name.as_str().starts_with("ce-")));
    }
}

/// A record of pieces.
pub(super) fn record(parts: &mut Parts<'_>) -> Record {
    let shape = parts.byte();
    let key = (shape & 1 != 0).then(|| Bytes::copy_from_slice(parts.piece()));
    let header =
        |parts: &mut Parts<'_>| Header { name: parts.text(), value: Bytes::copy_from_slice(parts.piece()) };
    let headers = (0..shape >> 2).map(|_| header(parts)).collect();
    let value = (shape & 2 != 0).then(|| Bytes::copy_from_slice(parts.rest()));
    Record { key, value, headers }
}
