//! Messages as they come: bytes, taken apart only when it is known that they are not too many things. Pure but for the calls,
//! which go on to whoever answers them.
//!
//! What protobuf holds in two bytes takes a hundred times that as a value, so a message must not become values before its
//! lists are counted.

use std::{iter::from_fn, marker::PhantomData};

use bytes::{Buf as _, Bytes};
use http_body_util::Full;
use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, decode_key, skip_field},
};
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::BoxFuture,
    server::{Grpc, UnaryService},
};

use super::status::{self, MESSAGE_BYTES};
use crate::problem::Problem;

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Message(Bytes);

/// Gives messages as they came, and writes answers.
pub(super) struct AsItComes<T>(PhantomData<fn(T)>);

/// A call that is one message and one answer.
struct Unary<F>(F);

/// Answers one call of one message.
pub(crate) async fn unary<F, R, T>(request: http::Request<Body>, answer: F) -> http::Response<Body>
where
    F: Fn(Request<Message>) -> R,
    R: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    T: prost::Message + 'static,
{
    grpc().unary(Unary(answer), request).await
}

/// A call's answer whose question nobody read.
pub(crate) async fn answer<T: prost::Message + Clone + 'static>(message: T) -> http::Response<Body> {
    // The head of a message of nothing: what answers calls wants to read one.
    let nothing = Body::new(Full::new(Bytes::from_static(&[0; 5])));
    let told = move |_| {
        let message = message.clone();
        async move { Ok(Response::new(message)) }
    };
    unary(http::Request::new(nothing), told).await
}

/// What reads and writes the messages of a call.
pub(super) fn grpc<T: prost::Message + 'static>() -> Grpc<AsItComes<T>> {
    Grpc::new(AsItComes(PhantomData)).apply_max_message_size_config(Some(MESSAGE_BYTES), None)
}

// === impl Message ===

impl Message {
    /// All of it. Whoever asks has counted what it holds.
    pub(crate) fn decode<T: prost::Message + Default>(&self) -> Result<T, Problem> {
        // Bytes of the message, and no copies, where its type has such.
        T::decode(self.0.clone()).map_err(|error| undecodable(&error))
    }

    /// Whether more than so many fields lie at the end of this path of field numbers. A field that comes several times counts
    /// with all that is in it: protobuf makes one of them.
    pub(crate) fn exceeds(&self, path: &[u32], most: usize) -> bool {
        count(&self.0, path, most.saturating_add(1)) > most
    }

    /// The fields of this number that hold bytes.
    pub(super) fn fields(&self, number: u32) -> impl Iterator<Item = &[u8]> {
        fields(&self.0, number)
    }
}

fn undecodable(error: &DecodeError) -> Problem {
    let text = error.to_string();
    status::undecodable(text.strip_prefix(status::UNDECODABLE).unwrap_or(&text))
}

/// How many fields lie at the end of a path; no more than so many are counted.
fn count(bytes: &[u8], path: &[u32], enough: usize) -> usize {
    match path {
        [] => 0,
        [last] => fields(bytes, *last).take(enough).count(),
        [first, rest @ ..] => {
            fields(bytes, *first).fold(0, |counted, field| counted + count(field, rest, enough - counted))
        }
    }
}

/// The fields of this number that hold bytes, as far as the message is one.
pub(super) fn fields(mut bytes: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    from_fn(move || {
        while bytes.has_remaining() {
            let (found, wire) = decode_key(&mut bytes).ok()?;
            if wire != WireType::LengthDelimited {
                skip_field(wire, found, &mut bytes, DecodeContext::default()).ok()?;
                continue;
            }
            let length = prost::decode_length_delimiter(&mut bytes).ok()?;
            let (field, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            if found == number {
                return Some(field);
            }
        }
        None
    })
}

// === impl Unary ===

impl<F, R, T> UnaryService<Message> for Unary<F>
where
    F: Fn(Request<Message>) -> R,
    R: Future<Output = Result<Response<T>, Status>> + Send + 'static,
{
    type Response = T;
    type Future = BoxFuture<Response<T>, Status>;

    fn call(&mut self, request: Request<Message>) -> Self::Future {
        Box::pin((self.0)(request))
    }
}

// === impl AsItComes ===

impl<T: prost::Message + 'static> Codec for AsItComes<T> {
    type Encode = T;
    type Decode = Message;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self {
        Self(PhantomData)
    }
}

impl<T: prost::Message + 'static> Encoder for AsItComes<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(to).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<T: prost::Message + 'static> Decoder for AsItComes<T> {
    type Item = Message;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Message>, Status> {
        Ok(Some(Message(from.copy_to_bytes(from.remaining()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that holds these bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    #[test]
    fn fields_are_counted_along_their_path_however_often_each_part_comes() {
        let tags = |count| field(1, &b"\x0a\x00".repeat(count));
        let message =
            Message([field(2, b"x"), tags(3), vec![0x20, 7], field(1, &[]), tags(2)].concat().into());
        let nothing = Message(Bytes::new());
        for (path, count) in
            [(&[1, 1][..], 5), (&[1], 3), (&[2], 1), (&[2, 1], 0), (&[4], 0), (&[1, 1, 1], 0)]
        {
            assert!(!message.exceeds(path, count) && !nothing.exceeds(path, 0), "{path:?}");
            assert_eq!(count > 0, count > 0 && message.exceeds(path, count - 1), "{path:?}");
        }
    }

    #[test]
    fn what_is_no_message_is_counted_as_far_as_it_is_one() {
        for broken in
            [&b"\x0a\x00\x0a\x05x"[..], b"\x0a\x00\x80", b"\x0a\x00\x0b", b"\x0a\x00\x0a\xff\xff\xff\xff\xff"]
        {
            let message = Message(Bytes::from_static(broken));
            assert!(message.exceeds(&[1], 0) && !message.exceeds(&[1], 1), "{broken:?}");
            assert!(message.decode::<evhub_proto::evhub_producer::ReportReq>().is_err(), "{broken:?}");
        }
    }
}
