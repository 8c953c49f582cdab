//! A log that takes everything, hands it on and has nothing to read: where what a surface does before and after is tried or
//! counted, and the log is not. No I/O.

use std::{
    fmt,
    future::{Future, pending, ready},
    sync::Arc,
};

use crate::{
    CommitError, Committed, Error, Journal, Place, Polled, Position, Producer, Refusal, Slice, Tail,
    TopicPartition, TopicSettings, TransactError, Transaction, WriteError,
};
use evhub_event::Record;

/// Where records go; whoever takes one says its offset.
#[derive(Clone)]
pub struct Sink(Arc<dyn Fn(Record) -> u64 + Send + Sync>);

/// A member that hears nothing, and a producer that writes nothing.
#[derive(Debug)]
pub struct Silent;

impl Sink {
    /// Hands every record to this.
    pub fn new(take: impl Fn(Record) -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

impl Journal for Sink {
    type Tail = Silent;
    type Member = ();
    type Producer = Silent;

    /// What is there is there: no topic is made, so that nobody waits for what only a real one brings.
    fn ensure(&self, _: &str, _: TopicSettings) -> impl Future<Output = Result<(), Error>> + Send {
        ready(Err(Error::Unavailable("nothing can be made in a log that keeps nothing".to_owned())))
    }

    fn partitions(&self, _: &str) -> Option<u32> {
        Some(1)
    }

    async fn look_up(&self, topic: &str) -> Result<Option<u32>, Error> {
        Ok(self.partitions(topic))
    }

    fn append(
        &self,
        _: &str,
        _: Place,
        record: Record,
    ) -> impl Future<Output = Result<Position, WriteError>> + Send + 'static {
        ready(Ok(Position { partition: 0, offset: (self.0)(record) }))
    }

    fn producer(&self, _: &str) -> impl Future<Output = Result<Silent, Error>> + Send {
        ready(Ok(Silent))
    }

    fn read(
        &self,
        _: &TopicPartition,
        from: u64,
        _: usize,
        _: usize,
    ) -> impl Future<Output = Result<Slice, Error>> + Send {
        ready(Ok(Slice { records: Vec::new(), next: from, end: from }))
    }

    fn start(&self, _: &TopicPartition) -> impl Future<Output = Result<u64, Error>> + Send {
        ready(Ok(0))
    }

    fn trim(&self, _: &TopicPartition, _: u64) -> impl Future<Output = Result<(), Error>> + Send {
        ready(Ok(()))
    }

    fn end(&self, _: &TopicPartition) -> impl Future<Output = Result<u64, Error>> + Send {
        ready(Ok(0))
    }

    fn offset_at(&self, _: &TopicPartition, _: i64) -> impl Future<Output = Result<u64, Error>> + Send {
        ready(Ok(0))
    }

    fn join(&self, _: &str, _: &[String]) -> impl Future<Output = Result<Silent, Error>> + Send {
        ready(Ok(Silent))
    }

    fn committed(
        &self,
        _: &str,
        _: &[TopicPartition],
    ) -> impl Future<Output = Result<Vec<Committed>, Error>> + Send {
        ready(Ok(Vec::new()))
    }
}

impl Producer for Silent {
    type Member = ();

    fn commit(
        &mut self,
        _: Transaction<()>,
    ) -> impl Future<Output = Result<Vec<Position>, TransactError>> + Send {
        ready(Err(TransactError::Rejected(Refusal::Busy)))
    }
}

impl Tail for Silent {
    type Member = ();

    fn member(&self) {}

    fn poll(&mut self) -> impl Future<Output = Result<Polled, Error>> + Send {
        pending()
    }

    fn seek(&mut self, _: &TopicPartition, _: u64) {}

    fn pause(&mut self, _: &TopicPartition, _: bool) {}

    fn commit(
        &mut self,
        _: Vec<Committed>,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + 'static {
        ready(Ok(()))
    }

    fn release(&mut self, _: &[u32]) {}

    fn leave(self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}
