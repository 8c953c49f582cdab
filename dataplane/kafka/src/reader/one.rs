//! A consumer without a group that reads one partition at a time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use evhub_journal::{Error, Slice, Stored, TopicPartition};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{AT_ONCE, consumer};
use crate::{Connection, context::Context, native, record};

/// With fewer records before it than the client fetches ahead, a reader does not stay at its place.
const REST: u64 = 1_000;

/// How soon a broker that is behind is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// It, and what it has read.
pub(super) struct Reader {
    connection: Arc<Connection>,
    consumer: BaseConsumer<Context>,
    /// Which partition it reads, and from where on it has handed out nothing.
    pub(super) at: Option<(TopicPartition, u64)>,
    /// Read, and not handed out.
    peeked: Option<Stored>,
    /// When it last read.
    pub(super) last: Instant,
}

impl Reader {
    /// One that goes on there if there is one, else any that is idle, else a new one.
    pub(super) fn take(
        idle: &Mutex<Vec<Self>>,
        connection: &Arc<Connection>,
        at: &TopicPartition,
        from: u64,
    ) -> Result<Self, Error> {
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|reader| Arc::ptr_eq(&reader.connection, connection));
        let goes_on =
            |reader: &Self| reader.at.as_ref().is_some_and(|(there, next)| there == at && *next == from);
        let goes_on = idle.iter().position(goes_on);
        let free = || idle.iter().position(|reader| reader.at.is_none());
        match goes_on.or_else(free).or((idle.len() >= AT_ONCE).then_some(0)) {
            Some(index) => Ok(idle.remove(index)),
            None => Ok(Self {
                consumer: consumer(connection)?,
                connection: Arc::clone(connection),
                at: None,
                peeked: None,
                last: Instant::now(),
            }),
        }
    }

    fn begin(&mut self, at: &TopicPartition, from: u64) -> Result<(), KafkaError> {
        self.peeked = None;
        self.at = Some((at.clone(), from));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&at.topic, at.partition as i32, Offset::Offset(from as i64))?;
        self.consumer.assign(&list)
    }

    pub(super) fn rest(&mut self) -> Result<(), KafkaError> {
        self.at = None;
        self.peeked = None;
        self.consumer.unassign()
    }

    /// Reads what lies before `end`, which was the partition's end a moment ago.
    pub(super) fn read(
        &mut self,
        at: &TopicPartition,
        from: u64,
        end: u64,
        (max_records, max_bytes): (usize, usize),
        until: Instant,
    ) -> Result<Slice, KafkaError> {
        if self.at.as_ref() != Some(&(at.clone(), from)) {
            self.begin(at, from)?;
        }
        // Whether the last of our records is in sight of whoever is read from since it was begun there.
        let mut in_sight = false;
        let (mut records, mut bytes, mut next) = (Vec::new(), 0, from);
        loop {
            match self.next(until)? {
                Some(stored) => {
                    next = next.max(stored.offset);
                    let size = stored.record.size();
                    if records.len() >= max_records || (!records.is_empty() && bytes + size > max_bytes) {
                        self.peeked = Some(stored);
                        break;
                    }
                    next = stored.offset + 1;
                    bytes += size;
                    records.push(stored);
                }
                None if in_sight || next >= end => {
                    next = next.max(end);
                    break;
                }
                // What is left is no record, but the end of a transaction, or that end was told to whoever read before us, or by
                // a broker that led the partition until a moment ago. The client never goes back to one that led earlier: what
                // is read from now on comes from one that is not behind, once there was one.
                None => {
                    let seen = native::high_watermark(self.consumer.client(), at);
                    in_sight = seen.is_some_and(|seen| seen >= end);
                    if !in_sight {
                        if Instant::now() > until {
                            return Err(KafkaError::MessageConsumption(Code::OffsetNotAvailable));
                        }
                        std::thread::sleep(AGAIN);
                    }
                    self.begin(at, next)?;
                }
            }
        }
        self.at = Some((at.clone(), next));
        self.last = Instant::now();
        if self.peeked.is_none() || end.saturating_sub(next) < REST {
            // The client would come to the end, and ask there for more again and again.
            self.rest()?;
        }
        Ok(Slice { records, next, end: end.max(next) })
    }

    /// The next record; `None` at the end.
    fn next(&mut self, until: Instant) -> Result<Option<Stored>, KafkaError> {
        if let Some(stored) = self.peeked.take() {
            return Ok(Some(stored));
        }
        loop {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let is_ours = self.at.as_ref().is_some_and(|(at, _)| {
                        at.topic == message.topic() && at.partition == message.partition() as u32
                    });
                    if is_ours {
                        return Ok(Some(record::stored(&message)));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(
                    problem @ KafkaError::MessageConsumption(Code::AutoOffsetReset | Code::OffsetOutOfRange),
                )) => {
                    return Err(problem);
                }
                Some(Err(_)) | None if Instant::now() < until => {}
                Some(Err(problem)) => return Err(problem),
                None => return Err(KafkaError::MessageConsumption(Code::OperationTimedOut)),
            }
        }
    }
}
