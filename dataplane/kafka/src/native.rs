//! The few things that the Kafka crate cannot tell safely: a group's generation, a header's name that is no text, metadata
//! that is none, and whether a message that failed may be in the log. All `unsafe` of this crate is here.

#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_char, c_void},
    ptr, slice,
};

use bytes::Bytes;
use evhub_event::Header;
use rdkafka::{
    ClientContext,
    bindings::{
        rd_kafka_consumer_group_metadata, rd_kafka_consumer_group_metadata_destroy,
        rd_kafka_consumer_group_metadata_generation_id, rd_kafka_header_get_all, rd_kafka_message_headers,
        rd_kafka_message_status, rd_kafka_msg_status_t,
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
    },
    client::Client,
    message::BorrowedMessage,
    topic_partition_list::TopicPartitionList,
};

/// The generation of the group that this client is a member of; negative while it is none.
pub(crate) fn generation<C: ClientContext>(client: &Client<C>) -> i32 {
    // SAFETY: the handle is valid as long as `client` is borrowed; what is returned is ours to destroy, once.
    unsafe {
        let metadata = rd_kafka_consumer_group_metadata(client.native_ptr());
        if metadata.is_null() {
            return -1;
        }
        let generation = rd_kafka_consumer_group_metadata_generation_id(metadata);
        rd_kafka_consumer_group_metadata_destroy(metadata);
        generation
    }
}

/// Whether a message that failed is certainly not in the log.
pub(crate) fn not_persisted(message: &BorrowedMessage<'_>) -> bool {
    // SAFETY: the message is valid as long as it is borrowed.
    let status = unsafe { rd_kafka_message_status(message.ptr()) };
    status == rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}

/// A message's headers. A name that is no text is kept as well as text can.
pub(crate) fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let mut found = Vec::new();
    let mut headers = ptr::null_mut();
    // SAFETY: the message is valid as long as it is borrowed, and so is what it lends us; nothing of it is kept.
    unsafe {
        if rd_kafka_message_headers(message.ptr(), &raw mut headers) != RD_KAFKA_RESP_ERR_NO_ERROR {
            return found;
        }
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null::<c_char>(), ptr::null::<c_void>(), 0);
            let got = rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size);
            if got != RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            let value = if value.is_null() { &[] } else { slice::from_raw_parts(value.cast::<u8>(), size) };
            found.push(Header { name, value: Bytes::copy_from_slice(value) });
        }
    }
    found
}

/// The metadata of each element of a list, in the list's order; `None` where there is none, or where it is no text.
pub(crate) fn metadata(list: &TopicPartitionList) -> Vec<Option<String>> {
    // SAFETY: the list is valid as long as it is borrowed, and has that many elements.
    unsafe {
        let list = &*list.ptr();
        let count = usize::try_from(list.cnt).unwrap_or(0);
        if count == 0 {
            return Vec::new();
        }
        slice::from_raw_parts(list.elems, count)
            .iter()
            .map(|element| {
                if element.metadata.is_null() {
                    return None;
                }
                let bytes = slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size);
                std::str::from_utf8(bytes).ok().map(ToOwned::to_owned)
            })
            .collect()
    }
}
