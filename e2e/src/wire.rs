//! HTTP/1.1 by hand, as little as the harness needs: what goes over the wire must be ours to see and to spoil.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// The longest head or body that the harness reads.
const LIMIT: usize = 16 << 20;

/// A request or a response.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Its first line.
    pub first: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// A connection of a client.
#[derive(Debug)]
pub struct Connection {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Message {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A response's status.
    pub fn status(&self) -> Option<u16> {
        self.first.split(' ').nth(1)?.parse().ok()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
    }
}

/// Reads one message whole; `None` when the peer closed before its first byte.
pub async fn read<R: AsyncBufRead + Unpin>(from: &mut R) -> io::Result<Option<Message>> {
    let Some(first) = line(from).await? else { return Ok(None) };
    let mut message = Message { first, ..Message::default() };
    while let Some(text) = line(from).await?.filter(|text| !text.is_empty()) {
        let (name, value) = text.split_once(':').ok_or_else(|| invalid("a header without a colon"))?;
        message.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    message.body = body(from, &message).await?;
    Ok(Some(message))
}

/// A request, ready to send.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Sends one `GET` on a connection of its own.
pub async fn get(port: u16, path: &str, patience: Duration) -> io::Result<Message> {
    let exchange = async {
        let mut connection = Connection::open(port).await?;
        connection.exchange(&request("GET", path, &[], b"")).await
    };
    timeout(patience, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

impl Connection {
    /// Connects to a port of this machine.
    pub async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok(Self { read: BufReader::new(read), write })
    }

    /// Sends a request and reads the response.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Message> {
        self.write.write_all(request).await?;
        read(&mut self.read).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Whether the peer has closed the connection, as far as one can tell without sending.
    pub fn is_closed(&self) -> bool {
        let mut byte = [0];
        !matches!(self.read.get_ref().as_ref().try_read(&mut byte),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Text as a header may carry it, by the `CloudEvents` HTTP binding.
pub fn escape(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b'"' | b'%' | 0..=0x20 | 0x7f..=0xff => format!("%{byte:02X}"),
        _ => char::from(byte).to_string(),
    });
    escaped.collect()
}

/// The text behind [`escape`]; also of whoever escapes more than needed.
pub fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text
            .get(at + 1..at + 3)
            .filter(|_| *byte == b'%')
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(hex.unwrap_or(*byte));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

async fn body<R: AsyncBufRead + Unpin>(from: &mut R, message: &Message) -> io::Result<Vec<u8>> {
    if message.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return chunks(from).await;
    }
    let Some(length) = message.header("content-length") else { return Ok(Vec::new()) };
    let length: usize = length.parse().map_err(|_| invalid("a content length that is no number"))?;
    if length > LIMIT {
        return Err(invalid("a body over the limit"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(body)
}

async fn chunks<R: AsyncBufRead + Unpin>(from: &mut R) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(from).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
            .map_err(|_| invalid("a chunk size that is no number"))?;
        if body.len() + size > LIMIT {
            return Err(invalid("a body over the limit"));
        }
        let start = body.len();
        body.resize(start + size, 0);
        from.read_exact(&mut body[start..]).await?;
        line(from).await?;
        if size == 0 {
            return Ok(body);
        }
    }
}

/// A line without its end; `None` at the end of the stream.
async fn line<R: AsyncBufRead + Unpin>(from: &mut R) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if from.take(LIMIT as u64).read_until(b'\n', &mut bytes).await? == 0 {
        return Ok(None);
    }
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    Ok(Some(String::from_utf8_lossy(&bytes[..end]).into_owned()))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
