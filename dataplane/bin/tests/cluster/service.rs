//! A service that takes everything and remembers it, and a publisher.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use super::site::PATIENCE;

const PRODUCER: &str = "/namespaces/shop/producers/orders";

/// What it received, in order: a key and a number.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) address: SocketAddr,
    received: Arc<Mutex<Vec<(String, u32)>>>,
    /// Whether it takes nothing now.
    closed: Arc<AtomicBool>,
}

/// A connection to publish over, of one that waits for each answer.
pub(super) struct Publisher(BufReader<TcpStream>);

impl Service {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let service = Self { address, received: Arc::default(), closed: Arc::default() };
        let (received, closed) = (Arc::clone(&service.received), Arc::clone(&service.closed));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (received, closed) = (Arc::clone(&received), Arc::clone(&closed));
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    while let Some(head) = head(&mut reader) {
                        let (key, number) = header(&head, "ce-id").unwrap().split_once('-').unwrap();
                        // 408 is tried again, and says nothing about how its target is.
                        let answer: &[u8] = if closed.load(Relaxed) {
                            b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"
                        } else {
                            received.lock().unwrap().push((key.to_owned(), number.parse().unwrap()));
                            b"HTTP/1.1 204 No Content\r\n\r\n"
                        };
                        if reader.get_mut().write_all(answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        service
    }

    /// Has it take nothing, or everything again.
    pub(super) fn close(&self, closed: bool) {
        self.closed.store(closed, Relaxed);
    }

    /// All that it received, repeats included.
    pub(super) fn received(&self) -> Vec<(String, u32)> {
        self.received.lock().unwrap().clone()
    }
}

impl Publisher {
    pub(super) fn connect(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Publishes one event, whose id tells its key and number; says whether it was accepted.
    pub(super) fn publish(&mut self, key: &str, number: u32) -> bool {
        self.send(key, number, "")
    }

    /// The same of one that is to come later.
    pub(super) fn publish_later(&mut self, key: &str, number: u32, delay: &str) -> bool {
        self.send(key, number, &format!("evhub-delay: {delay}\r\n"))
    }

    fn send(&mut self, key: &str, number: u32, more: &str) -> bool {
        let answer = self.post("", &event(key, number, more));
        let accepted = answer.starts_with("HTTP/1.1 202 ");
        if !accepted {
            println!("event {number} of key {key} was answered: {answer}");
        }
        accepted
    }

    /// Prepares one as a half message; where that is.
    pub(super) fn prepare(&mut self, key: &str, number: u32) -> String {
        let answer = self.post("/transactions", &event(key, number, ""));
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        let location = header(&answer, "location").unwrap();
        location.strip_prefix(PRODUCER).unwrap().to_owned()
    }

    /// Posts nothing but a head to something of the Producer; the answer's head.
    pub(super) fn post(&mut self, path: &str, headers: &str) -> String {
        let head =
            format!("POST {PRODUCER}{path} HTTP/1.1\r\nhost: hub\r\ncontent-length: 0\r\n{headers}\r\n");
        self.0.get_mut().write_all(head.as_bytes()).unwrap();
        self::head(&mut self.0).unwrap()
    }
}

fn event(key: &str, number: u32, more: &str) -> String {
    format!(
        "ce-specversion: 1.0\r\nce-id: {key}-{number}\r\nce-source: /test\r\nce-type: t\r\nce-partitionkey: {key}\r\n{more}"
    )
}

/// The head of the next message, its body read away.
pub(super) fn head(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    reader.read_exact(&mut vec![0; length]).ok()?;
    Some(head)
}

/// The value of a header.
pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let of_line = |line: &'a str| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name));
    head.lines().find_map(of_line).map(|(_, value)| value)
}
