//! A log that takes everything at once and keeps nothing: what a surface does before and after it is counted, and the log is
//! not. No I/O.

use std::{
    future::{Future, pending, ready},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use evhub_event::Record;
use evhub_journal::{
    CommitError, Committed, Error, Journal, Place, Polled, Position, Producer, Refusal, Slice, Tail,
    TopicPartition, TopicSettings, TransactError, Transaction, WriteError,
};

/// It only counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<AtomicU64>);

/// A member that hears nothing, and a producer that writes nothing.
#[derive(Debug)]
pub(super) struct Silent;

impl Journal for Log {
    type Tail = Silent;
    type Member = ();
    type Producer = Silent;

    fn ensure(&self, _: &str, _: TopicSettings) -> impl Future<Output = Result<(), Error>> + Send {
        ready(Ok(()))
    }

    fn partitions(&self, _: &str) -> Option<u32> {
        Some(1)
    }

    fn append(
        &self,
        _: &str,
        _: Place,
        record: Record,
    ) -> impl Future<Output = Result<Position, WriteError>> + Send + 'static {
        drop(std::hint::black_box(record));
        ready(Ok(Position { partition: 0, offset: self.0.fetch_add(1, Relaxed) }))
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
