//! The few things that the Kafka crate cannot tell safely: a group's generation, a header's name that is no text, metadata
//! that is none, which of all topics of its name one is, single settings of a topic, whether a message that failed may be in the log, where a partition ended when it was last read, who is taken for
//! the controller, and new credentials. All `unsafe` of this crate is here.

#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_char, c_void},
    ptr, slice,
    time::Duration,
};

use bytes::Bytes;
use evhub_event::Header;
use evhub_journal::TopicPartition;
use rdkafka::{
    ClientContext,
    bindings::{
        rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new, rd_kafka_AdminOptions_set_request_timeout,
        rd_kafka_AlterConfigOpType_t, rd_kafka_ConfigResource_add_incremental_config,
        rd_kafka_ConfigResource_destroy, rd_kafka_ConfigResource_error, rd_kafka_ConfigResource_error_string,
        rd_kafka_ConfigResource_new, rd_kafka_DescribeTopics, rd_kafka_DescribeTopics_result_topics,
        rd_kafka_IncrementalAlterConfigs, rd_kafka_IncrementalAlterConfigs_result_resources,
        rd_kafka_ResourceType_t, rd_kafka_TopicCollection_destroy, rd_kafka_TopicCollection_of_topic_names,
        rd_kafka_TopicDescription_error, rd_kafka_TopicDescription_topic_id,
        rd_kafka_Uuid_least_significant_bits, rd_kafka_Uuid_most_significant_bits, rd_kafka_admin_op_t,
        rd_kafka_consumer_group_metadata, rd_kafka_consumer_group_metadata_destroy,
        rd_kafka_consumer_group_metadata_generation_id, rd_kafka_controllerid, rd_kafka_error_code,
        rd_kafka_error_destroy, rd_kafka_event_DescribeTopics_result,
        rd_kafka_event_IncrementalAlterConfigs_result, rd_kafka_event_destroy, rd_kafka_event_error,
        rd_kafka_event_t, rd_kafka_get_watermark_offsets, rd_kafka_header_get_all, rd_kafka_message_headers,
        rd_kafka_message_status, rd_kafka_msg_status_t, rd_kafka_queue_destroy, rd_kafka_queue_new,
        rd_kafka_queue_poll, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_sasl_set_credentials,
    },
    client::Client,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
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

/// The end of a partition as the broker said that was last read from, of what all in-sync replicas have.
pub(crate) fn high_watermark<C: ClientContext>(client: &Client<C>, at: &TopicPartition) -> Option<u64> {
    let topic = CString::new(at.topic.as_str()).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the handle is valid as long as `client` is borrowed, the name is copied, and both numbers outlive the call.
    let code = unsafe {
        let partition = at.partition as i32;
        rd_kafka_get_watermark_offsets(
            client.native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (code == RD_KAFKA_RESP_ERR_NO_ERROR).then(|| u64::try_from(high).ok()).flatten()
}

/// Which of all topics of its name one is. Blocks.
pub(crate) fn identity<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    patience: Duration,
) -> KafkaResult<u64> {
    let topic = CString::new(topic).map_err(KafkaError::Nul)?;
    let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    let client = client.native_ptr();
    // SAFETY: the handle is valid as long as `client` is borrowed, the name outlives its copy, and all that is made here is ours to
    // destroy, once; nothing of the event is kept.
    let told = unsafe {
        let mut names = [topic.as_ptr()];
        let names = rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let kind = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = rd_kafka_AdminOptions_new(client, kind);
        rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
        let queue = rd_kafka_queue_new(client);
        rd_kafka_DescribeTopics(client, names, options, queue);
        // It comes in any case, and says so if nobody has answered in time.
        let event = rd_kafka_queue_poll(queue, -1);
        let told = told_identity(event);
        rd_kafka_event_destroy(event);
        rd_kafka_queue_destroy(queue);
        rd_kafka_AdminOptions_destroy(options);
        rd_kafka_TopicCollection_destroy(names);
        told
    };
    told.map_err(KafkaError::AdminOp)
}

/// What an event says that answers for one topic.
///
/// # Safety
///
/// The event is null or valid.
unsafe fn told_identity(event: *mut rd_kafka_event_t) -> Result<u64, Code> {
    // SAFETY: as promised; what it lends is valid as long as it is.
    unsafe {
        let failed = rd_kafka_event_error(event);
        if failed != RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed.into());
        }
        let result = rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(Code::OperationTimedOut);
        }
        let mut count = 0;
        let topics = rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if count == 0 {
            return Err(Code::UnknownTopicOrPartition);
        }
        let failed = rd_kafka_TopicDescription_error(*topics);
        if !failed.is_null() && rd_kafka_error_code(failed) != RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(rd_kafka_error_code(failed).into());
        }
        let id = rd_kafka_TopicDescription_topic_id(*topics);
        if id.is_null() {
            return Ok(0);
        }
        Ok((rd_kafka_Uuid_most_significant_bits(id) ^ rd_kafka_Uuid_least_significant_bits(id)) as u64)
    }
}

/// What brokers refuse of one topic: their code, and what they say of it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) words: String,
}

/// Changes single settings of a topic, all of these or none; one without a value is from then on as the brokers' own setting
/// says. Blocks.
pub(crate) fn alter<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    changes: &BTreeMap<String, Option<String>>,
    patience: Duration,
) -> KafkaResult<Result<(), Refused>> {
    let topic = CString::new(topic).map_err(KafkaError::Nul)?;
    let mut texts = Vec::new();
    for (name, value) in changes {
        let value = value.as_deref().map(CString::new).transpose().map_err(KafkaError::Nul)?;
        texts.push((CString::new(name.as_str()).map_err(KafkaError::Nul)?, value));
    }
    let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    let client = client.native_ptr();
    // SAFETY: the handle is valid as long as `client` is borrowed, the texts outlive their copies, and all that is made here is ours
    // to destroy, once; nothing of the event is kept.
    let told = unsafe {
        let kind = rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        let mut resource = rd_kafka_ConfigResource_new(kind, topic.as_ptr());
        for (name, value) in &texts {
            let (what, value) = match value {
                Some(value) => {
                    (rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, value.as_ptr())
                }
                None => (rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, ptr::null()),
            };
            let error = rd_kafka_ConfigResource_add_incremental_config(resource, name.as_ptr(), what, value);
            if !error.is_null() {
                let code = rd_kafka_error_code(error);
                rd_kafka_error_destroy(error);
                rd_kafka_ConfigResource_destroy(resource);
                return Err(KafkaError::AdminOp(code.into()));
            }
        }
        let kind = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
        let options = rd_kafka_AdminOptions_new(client, kind);
        rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
        let queue = rd_kafka_queue_new(client);
        rd_kafka_IncrementalAlterConfigs(client, &raw mut resource, 1, options, queue);
        // It comes in any case, and says so if nobody has answered in time.
        let event = rd_kafka_queue_poll(queue, -1);
        let told = told_alteration(event);
        rd_kafka_event_destroy(event);
        rd_kafka_queue_destroy(queue);
        rd_kafka_AdminOptions_destroy(options);
        rd_kafka_ConfigResource_destroy(resource);
        told
    };
    told.map_err(KafkaError::AdminOp)
}

/// What an event says that answers for the settings of one topic.
///
/// # Safety
///
/// The event is null or valid.
unsafe fn told_alteration(event: *mut rd_kafka_event_t) -> Result<Result<(), Refused>, Code> {
    // SAFETY: as promised; what it lends is valid as long as it is.
    unsafe {
        let failed = rd_kafka_event_error(event);
        if failed != RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed.into());
        }
        let result = rd_kafka_event_IncrementalAlterConfigs_result(event);
        if result.is_null() {
            return Err(Code::OperationTimedOut);
        }
        let mut count = 0;
        let resources = rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
        if count == 0 {
            return Err(Code::UnknownTopicOrPartition);
        }
        let failed = rd_kafka_ConfigResource_error(*resources);
        if failed == RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(Ok(()));
        }
        let words = rd_kafka_ConfigResource_error_string(*resources);
        let words = if words.is_null() { "".into() } else { CStr::from_ptr(words).to_string_lossy() };
        Ok(Err(Refused { code: failed.into(), words: words.into_owned() }))
    }
}

/// The broker that a client takes for the controller; negative while it takes none for it.
pub(crate) fn controller<C: ClientContext>(client: &Client<C>) -> i32 {
    // SAFETY: the handle is valid as long as `client` is borrowed.
    unsafe { rd_kafka_controllerid(client.native_ptr(), 0) }
}

/// Whether a message that failed is certainly not in the log.
pub(crate) fn not_persisted(message: &BorrowedMessage<'_>) -> bool {
    // SAFETY: the message is valid as long as it is borrowed.
    let status = unsafe { rd_kafka_message_status(message.ptr()) };
    status == rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}

/// Has a client prove who it is by another name and password from its next connections on.
pub(crate) fn set_credentials<C: ClientContext>(client: &Client<C>, name: &str, password: &str) {
    let (Ok(name), Ok(password)) = (CString::new(name), CString::new(password)) else { return };
    // SAFETY: the handle is valid as long as `client` is borrowed, and the texts are copied; an error is ours to destroy, once.
    unsafe {
        let error = rd_kafka_sasl_set_credentials(client.native_ptr(), name.as_ptr(), password.as_ptr());
        if !error.is_null() {
            rd_kafka_error_destroy(error);
        }
    }
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
