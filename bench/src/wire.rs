//! An HTTP/1.1 client that costs as little as it can: requests written beforehand, answers looked at only as far as they
//! must be. Does I/O.

use std::{io::Write as _, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The data of every measured event, in bytes.
pub const DATA: usize = 1024;

/// One connection, with one request at a time.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: BytesMut,
}

/// A binary CloudEvent as an HTTP request. Its id and key are replaced in place.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    id: usize,
    key: usize,
}

impl Template {
    /// A request to publish to `shop/orders`.
    pub fn new(address: SocketAddr) -> Self {
        let mut bytes = format!(
            "POST /namespaces/shop/producers/orders HTTP/1.1\r\nhost: {address}\r\nce-specversion: 1.0\r\nce-type: \
             shop.order.paid\r\nce-source: /bench\r\ncontent-type: application/octet-stream\r\ncontent-length: \
             {DATA}\r\nce-id: "
        )
        .into_bytes();
        let id = bytes.len();
        bytes.extend_from_slice(b"0000000000000000\r\nce-partitionkey: ");
        let key = bytes.len();
        bytes.extend_from_slice(b"0000\r\n\r\n");
        bytes.extend(data());
        Self { bytes, id, key }
    }

    /// The request of the event with this number, and one of a thousand keys.
    pub fn of(&mut self, number: u64) -> &[u8] {
        let key = number % 1000;
        // Both have their places, whose lengths they keep.
        let _ = write!(&mut self.bytes[self.id..], "{number:016x}");
        let _ = write!(&mut self.bytes[self.key..], "{key:04}");
        &self.bytes
    }
}

/// As many bytes as an event has, of no structure, the same each time.
pub fn data() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(DATA).collect()
}

impl Wire {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(4096) })
    }

    /// Sends a request and takes its answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        loop {
            if let Some((status, head, length)) = answer(&self.buffer)? {
                self.buffer.advance(head);
                return Ok(Answer { status, body: self.buffer.split_to(length) });
            }
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection ended");
        }
    }
}

/// The status of a whole answer, and the lengths of its head and body.
fn answer(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head])?;
    let status = text.get(9..12).context("an answer has a status")?.parse()?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let (head, length) = (head + 4, length.map_or(Ok(0), str::parse)?);
    Ok((bytes.len() >= head + length).then_some((status, head, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_whole() {
        let text = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nokHTTP/1.1";
        assert_eq!(answer(text).unwrap(), Some((202, text.len() - 10, 2)));
        for length in 0..text.len() - 8 {
            assert_eq!(answer(&text[..length]).unwrap(), None, "{length}");
        }
    }

    #[test]
    fn a_template_keeps_its_length() {
        let mut template = Template::new(([127, 0, 0, 1], 80).into());
        let length = template.of(0).len();
        let text = String::from_utf8_lossy(template.of(0x12_3456)).into_owned();
        assert!(
            text.contains("ce-id: 0000000000123456\r\n") && text.contains("ce-partitionkey: 0046\r\n"),
            "{text}"
        );
        assert_eq!(template.of(u64::MAX).len(), length);
    }
}
