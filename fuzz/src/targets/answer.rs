//! What a target answers to EvHub's dispatch. An input is a status and a body.

use std::time::Duration;

use evhub_dispatch::{
    outcome::read_retry_after,
    sender::evhub::{PASS_BACK, understand},
};

use super::parts::Parts;

pub(crate) fn run(data: &[u8]) {
    let mut parts = Parts(data);
    let status = 100 + u16::from(parts.byte()) * 2;
    let retry_after = read_retry_after(&parts.text(), 1_700_000_000_000);
    let reply = understand(status, retry_after, parts.rest());
    let text = reply.answer.text();
    assert!(text.len() < 2048 && !text.contains(char::is_control), "it can be shown: {text:?}");
    assert!(reply.pass_back.is_none_or(|bytes| bytes.len() <= PASS_BACK));
    assert!(retry_after.is_none_or(|wait| wait <= Duration::from_hours(24 * 366 * 10_000)));
}
