//! How much is read for tools at once: so many requests read a page, each until its answer is sent. No I/O.
//!
//! A page is some megabytes, and an answer waits as long as its reader lets it, so that many slow readers would hold many pages.
//! Who finds no seat waits for one: a reader that takes nothing for long is cut off, and its seat is free again.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Problem, reason};

/// How many requests read a page at once.
const SEATS: usize = 8;

/// The seats; cheap to clone.
#[derive(Clone)]
pub(super) struct Readers(Arc<Semaphore>);

/// The right to read a page.
#[derive(Debug)]
pub(super) struct Seat(
    #[expect(dead_code, reason = "kept until it is dropped")] Option<OwnedSemaphorePermit>,
);

/// What was read, to be sent as JSON.
#[derive(Debug)]
pub(super) struct Read<T>(pub(super) T, pub(super) Seat);

/// An answer's bytes, with the seat of their reader.
struct Held(Vec<u8>, #[expect(dead_code, reason = "kept until it is dropped")] Seat);

impl Readers {
    /// Waits for a seat.
    pub(super) async fn seat(&self) -> Seat {
        // It is never closed; without it we would read all the same.
        Seat(Arc::clone(&self.0).acquire_owned().await.ok())
    }
}

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SEATS)))
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<T: Serialize> IntoResponse for Read<T> {
    fn into_response(self) -> Response {
        let Self(what, seat) = self;
        let Ok(json) = serde_json::to_vec(&what) else {
            return Problem::new(reason::INTERNAL, "what was read cannot be written").into_response();
        };
        let mut response = Response::new(Body::from(Bytes::from_owner(Held(json, seat))));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_seat_is_taken_until_the_answer_is_gone() {
        let readers = Readers::default();
        let seats = || readers.0.available_permits();
        let mut answers = Vec::new();
        for _ in 0..SEATS {
            answers.push(Read(["what"], readers.seat().await).into_response());
        }
        assert_eq!(seats(), 0);
        let sending = answers.pop().unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!((&sending[..], seats()), (&b"[\"what\"]"[..], 0));
        drop(sending);
        assert_eq!(seats(), 1);
        drop(answers);
        assert_eq!(seats(), SEATS);
    }
}
