//! Reading a request's body: whole, bounded, and only as much as there is room for. Reads from the connection.

use std::error::Error;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;

use super::door::Charge;
use crate::{
    problem::{Problem, Reason, reason},
    server::TooSlow,
};

/// The longest body that is read only to keep the connection: more costs more than a new connection.
const DISCARD: usize = 64 << 10;

/// The most that a body may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// In bytes.
    pub(crate) bytes: usize,
    /// What is said of a longer one.
    pub(crate) reason: Reason,
}

/// Refuses a body that would have to be unpacked first.
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let identity = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).iter().all(identity) {
        return Ok(());
    }
    let detail = "send the body as it is: the only content encoding taken is identity";
    Err(Problem::new(reason::UNSUPPORTED_MEDIA_TYPE, detail).at("content-encoding"))
}

/// Only JSON, which no web page may send across origins unasked.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    check_encoding(headers)?;
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = "send the order as application/json";
    Err(Problem::new(reason::UNSUPPORTED_MEDIA_TYPE, detail).at("content-type"))
}

/// Reads a body to its end. What is declared too long, or finds no room, is refused before any of it is read; what turns
/// out so is cut there, and the connection with it.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    bound: Bound,
    charge: &mut Charge,
) -> Result<Bytes, Problem> {
    // What would never find room must not be told to come again.
    let bound = Bound { bytes: bound.bytes.min(charge.capacity()), ..bound };
    if let Some(declared) = declared(headers) {
        if declared > bound.bytes {
            return Err(too_large(bound));
        }
        if !charge.would_fit(declared) {
            return Err(discard(headers, body, busy()).await);
        }
    }
    let mut whole = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        if whole.len() + rest.len() + data.len() > bound.bytes {
            return Err(too_large(bound));
        }
        if !charge.grow(data.len()) {
            return Err(busy().closing());
        }
        // Most bodies come in one piece, which needs no copy.
        if whole.is_empty() && rest.is_empty() {
            whole = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut whole));
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { whole } else { rest.freeze() })
}

/// Reads and forgets a short body, so that the connection outlives the refusal; gives the connection up where the body
/// is long, or its sender waits to be asked for it.
pub(crate) async fn discard(headers: &HeaderMap, mut body: Body, problem: Problem) -> Problem {
    if headers.contains_key(header::EXPECT) || declared(headers).is_some_and(|length| length > DISCARD) {
        return problem.closing();
    }
    let mut left = DISCARD;
    while let Some(frame) = body.frame().await {
        let length = frame.map_or(usize::MAX, |frame| frame.data_ref().map_or(0, Bytes::len));
        match left.checked_sub(length) {
            Some(less) => left = less,
            None => return problem.closing(),
        }
    }
    problem
}

fn declared(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(bound: Bound) -> Problem {
    Problem::new(bound.reason, format!("the body may have at most {} bytes", bound.bytes)).closing()
}

fn busy() -> Problem {
    Problem::new(reason::BUSY, "too many bytes are on their way to the log").retry_after(1)
}

fn broken(error: &(dyn Error + 'static)) -> Problem {
    if std::iter::successors(Some(error), |error| (*error).source()).any(<dyn Error>::is::<TooSlow>) {
        return Problem::new(reason::REQUEST_TIMEOUT, "the body came too slowly").closing();
    }
    Problem::new(reason::INCOMPLETE_BODY, "the body broke off or its framing is broken").closing()
}
