//! What a target answers to EvHub's dispatch over gRPC. An input is a code, and the answer's message or the status's sentence
//! and details.

use std::time::Duration;

use bytes::Bytes;
use evhub_dispatch::{
    outcome::Answer,
    sender::{
        evhub::{PASS_BACK, understand_message},
        understand_status,
    },
};
use evhub_proto::evhub_processor::DispatchRsp;
use prost::Message as _;
use tonic::{Code, Status};

use super::parts::Parts;

pub(crate) fn run(data: &[u8]) {
    let mut parts = Parts(data);
    match Code::from(i32::from(parts.byte() % 18)) {
        Code::Ok => message(parts.rest()),
        code => status(code, &mut parts),
    }
}

fn message(bytes: &[u8]) {
    let Ok(message) = DispatchRsp::decode(bytes) else { return };
    let code = message.ret.as_ref().map_or(0, |ret| ret.code);
    let reply = understand_message(message);
    shown(&reply.answer);
    assert_eq!(matches!(reply.answer, Answer::Accepted), code == 0, "{code}");
    assert_eq!(matches!(reply.answer, Answer::Cancelled), code == 30_000, "{code}");
    assert!(reply.pass_back.is_none_or(|bytes| bytes.len() <= PASS_BACK));
}

fn status(code: Code, parts: &mut Parts<'_>) {
    let text = parts.text();
    let answer = understand_status(&Status::with_details(code, text, Bytes::copy_from_slice(parts.rest())));
    shown(&answer);
    let Answer::Grpc { retry_after, .. } = answer else { unreachable!("a status is one") };
    let may_say = matches!(code, Code::ResourceExhausted | Code::Unavailable);
    assert!(retry_after.is_none_or(|wait| may_say && wait <= Duration::from_secs(i64::MAX as u64 + 1)));
}

fn shown(answer: &Answer) {
    let text = answer.text();
    assert!(text.len() < 2048 && !text.contains(char::is_control), "it can be shown: {text:?}");
}
