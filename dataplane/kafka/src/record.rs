//! Our records as Kafka's messages, and back. Pure.

use bytes::Bytes;
use evhub_event::Record;
use evhub_journal::Stored;
use rdkafka::{
    Message,
    message::{BorrowedMessage, Header, OwnedHeaders},
};

use crate::native;

/// The record that a message holds, and where.
pub(crate) fn stored(message: &BorrowedMessage<'_>) -> Stored {
    let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    Stored {
        offset: u64::try_from(message.offset()).unwrap_or(0),
        timestamp: message.timestamp().to_millis().unwrap_or(0),
        record: Record {
            key: message.key().map(copy),
            value: message.payload().map(copy),
            headers: native::headers(message),
        },
    }
}

/// A record's headers as the client wants them.
pub(crate) fn headers(record: &Record) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(record.headers.len());
    let add = |headers: OwnedHeaders, header: &evhub_event::Header| {
        headers.insert(Header { key: &header.name, value: Some(&header.value[..]) })
    };
    Some(record.headers.iter().fold(empty, add))
}

/// What a consumer hands out counts as so many bytes.
pub(crate) fn size(message: &BorrowedMessage<'_>) -> usize {
    message.key_len() + message.payload_len()
}
