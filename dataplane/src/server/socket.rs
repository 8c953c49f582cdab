//! A connection's socket, which fails when its peer keeps us waiting. Does I/O.
//!
//! hyper knows one time-out, for heads, and counts an idle connection's silence towards it. Here a peer has its own time
//! in each phase: a new or begun head, silence between requests, and taking what we write. It also tells, from how a
//! connection begins, which protocol is spoken on it.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::{Limits, deadline::Deadline, phase::Phase};

/// How long the rest of a request that nobody wants is taken and thrown away, so that its sender reads our answer rather
/// than a reset.
const LINGER: Duration = Duration::from_secs(2);

/// How much of a body is taken at once. hyper's buffer of a connection of HTTP/1.1 doubles when a read fills it, up to what a
/// head may have, and stays; with a little less than 16 KiB it ends at that.
const AT_ONCE: usize = (16 << 10) - 1;

/// How HTTP/2 begins where the peer knows that we speak it.
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What must follow in time: the head of a frame of settings.
const SETTINGS: usize = 9;

/// A socket with deadlines.
pub(crate) struct Socket {
    stream: TcpStream,
    /// What came before it was known which protocol is spoken, how much of it that was, and how much was read since.
    first: [u8; PREFACE.len()],
    came: usize,
    given: usize,
    phase: Arc<Phase>,
    limits: Limits,
    reading: Reading,
    read_deadline: Deadline,
    /// Whether a write waits for the peer; then its deadline runs.
    writing: bool,
    write_deadline: Deadline,
}

/// What the read deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// A head must be complete by then; so many requests were answered before it, and perhaps some of it has come.
    Head { answered: u64, begun: bool },
    /// A head must have begun by then.
    Idle { answered: u64 },
    /// So many bytes of the greeting must have come by then.
    Greeting { missing: usize },
    /// Nothing: the connection carries many requests at once, and is watched as a whole.
    Multiplexed,
    /// Nothing: we owe an answer.
    Serving,
    /// The answer is out and what still comes is thrown away until then.
    Lingering,
}

impl Socket {
    /// A new connection, whose first head must come in time.
    pub(crate) fn new(stream: TcpStream, phase: Arc<Phase>, limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            stream,
            first: [0; PREFACE.len()],
            came: 0,
            given: 0,
            phase,
            limits,
            reading: Reading::Head { answered: 0, begun: false },
            read_deadline: Deadline::new(now + limits.head),
            writing: false,
            write_deadline: Deadline::new(now + limits.write),
        }
    }

    /// Waits until it is clear whether HTTP/2 is spoken here.
    pub(crate) async fn greeted(&mut self) -> io::Result<bool> {
        loop {
            let (come, expected) = (self.first.get(..self.came), PREFACE.get(..self.came));
            if come != expected {
                return Ok(false);
            }
            if self.came == PREFACE.len() {
                self.reading = Reading::Greeting { missing: SETTINGS };
                return Ok(true);
            }
            if poll_fn(|cx| self.poll_greeting(cx)).await? == 0 {
                return Ok(false);
            }
        }
    }

    fn poll_greeting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { stream, first, came, .. } = self;
        let mut buffer = ReadBuf::new(first.get_mut(*came..).unwrap_or_default());
        if let Poll::Ready(result) = Pin::new(stream).poll_read(cx, &mut buffer) {
            let count = buffer.filled().len();
            *came += count;
            self.arrange(count);
            return Poll::Ready(result.map(|()| count));
        }
        self.read_deadline.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Brings the read deadline in line with where the connection stands, when so many bytes have just come.
    fn arrange(&mut self, came: usize) {
        match self.reading {
            Reading::Greeting { missing } if missing > came => {
                self.reading = Reading::Greeting { missing: missing - came };
            }
            Reading::Greeting { .. } | Reading::Multiplexed => self.reading = Reading::Multiplexed,
            _ => self.arrange_requests(came > 0),
        }
    }

    fn arrange_requests(&mut self, came: bool) {
        let answered = self.phase.answered();
        let now = Instant::now();
        let (reading, deadline) = match self.reading {
            _ if self.phase.is_serving() => (Reading::Serving, None),
            Reading::Head { answered: before, begun } if before == answered => {
                self.reading = Reading::Head { answered, begun: begun || came };
                return;
            }
            Reading::Idle { answered: before } if before == answered && !came => return,
            _ if came => (Reading::Head { answered, begun: true }, Some(now + self.limits.head)),
            _ => (Reading::Idle { answered }, Some(now + self.limits.idle)),
        };
        self.reading = reading;
        if let Some(deadline) = deadline {
            self.read_deadline.set(deadline);
        }
    }

    /// Reads what has come; of a body not more than is taken at once.
    fn poll_some(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = Pin::new(&mut self.stream);
        if self.reading == Reading::Multiplexed || !self.phase.is_serving() {
            return stream.poll_read(cx, buffer);
        }
        let most = AT_ONCE.min(buffer.remaining());
        let mut some = ReadBuf::new(buffer.initialize_unfilled_to(most));
        let result = ready!(stream.poll_read(cx, &mut some));
        let count = some.filled().len();
        buffer.advance(count);
        Poll::Ready(result)
    }

    /// Passes on a write's result, and fails one that has waited too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.writing = false;
            return result;
        }
        if !self.writing {
            self.writing = true;
            let deadline = Instant::now() + self.limits.write;
            self.write_deadline.set(deadline);
        }
        self.write_deadline.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether the peer may be in the middle of sending: a body that was given up, or a head that we do not want.
    fn leaves_unread(&self) -> bool {
        let head = Reading::Head { answered: self.phase.answered(), begun: true };
        self.phase.has_unread() || self.reading == head
    }

    /// Throws away what still comes, until the peer ends or time is up.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 8 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    if self.read_deadline.has_passed() {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.read_deadline.poll(cx),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(rest) = this.first.get(this.given..this.came).filter(|rest| !rest.is_empty()) {
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(rest.get(..count).unwrap_or_default());
            this.given += count;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        if let Poll::Ready(result) = this.poll_some(cx, buffer) {
            this.arrange(buffer.filled().len() - before);
            return Poll::Ready(result);
        }
        this.arrange(0);
        if matches!(this.reading, Reading::Serving | Reading::Multiplexed) {
            return Poll::Pending;
        }
        this.read_deadline.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.reading != Reading::Lingering {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.leaves_unread() {
                return Poll::Ready(Ok(()));
            }
            this.reading = Reading::Lingering;
            this.read_deadline.set(Instant::now() + LINGER);
        }
        this.poll_linger(cx).map(Ok)
    }
}
