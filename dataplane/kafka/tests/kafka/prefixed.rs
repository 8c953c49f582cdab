//! A log whose names all begin so, and whose users do not see it: many tests share one cluster.

use std::future::Future;

use evhub_event::Record;
use evhub_journal::{
    CommitError, Committed, Error, Journal, Place, Polled, Position, Producer, Refusal, Slice, Tail,
    TopicPartition, TopicSettings, TransactError, Transaction, WriteError,
};

#[derive(Clone)]
pub(crate) struct Prefixed<J> {
    log: J,
    prefix: String,
}

pub(crate) struct PrefixedTail<T>(T, String);
pub(crate) struct PrefixedProducer<P>(P, String);

impl<J> Prefixed<J> {
    pub(crate) fn new(log: J, prefix: String) -> Self {
        Self { log, prefix }
    }

    fn add(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn to(&self, at: &TopicPartition) -> TopicPartition {
        to(&self.prefix, at)
    }
}

fn to(prefix: &str, at: &TopicPartition) -> TopicPartition {
    TopicPartition { topic: format!("{prefix}{}", at.topic), partition: at.partition }
}

fn strip(prefix: &str, name: String) -> String {
    name.strip_prefix(prefix).map(ToOwned::to_owned).unwrap_or(name)
}

fn from(prefix: &str, at: TopicPartition) -> TopicPartition {
    TopicPartition { topic: strip(prefix, at.topic), partition: at.partition }
}

fn commits(prefix: &str, offsets: Vec<Committed>) -> Vec<Committed> {
    offsets.into_iter().map(|it| Committed { partition: to(prefix, &it.partition), ..it }).collect()
}

fn refusal(prefix: &str, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::UnknownTopic(topic) => Refusal::UnknownTopic(strip(prefix, topic)),
        Refusal::UnknownPartition(topic, number) => Refusal::UnknownPartition(strip(prefix, topic), number),
        Refusal::NoKey(topic) => Refusal::NoKey(strip(prefix, topic)),
        other => other,
    }
}

fn error(prefix: &str, error: Error) -> Error {
    match error {
        Error::UnknownTopic(topic) => Error::UnknownTopic(strip(prefix, topic)),
        Error::UnknownPartition(topic, number) => Error::UnknownPartition(strip(prefix, topic), number),
        Error::Settings { topic, problem } => Error::Settings { topic: strip(prefix, topic), problem },
        other => other,
    }
}

impl<J: Journal> Journal for Prefixed<J> {
    type Tail = PrefixedTail<J::Tail>;
    type Member = J::Member;
    type Producer = PrefixedProducer<J::Producer>;

    async fn ensure(&self, topic: &str, settings: TopicSettings) -> Result<(), Error> {
        self.log.ensure(&self.add(topic), settings).await.map_err(|it| error(&self.prefix, it))
    }

    fn partitions(&self, topic: &str) -> Option<u32> {
        self.log.partitions(&self.add(topic))
    }

    async fn look_up(&self, topic: &str) -> Result<Option<u32>, Error> {
        self.log.look_up(&self.add(topic)).await.map_err(|it| error(&self.prefix, it))
    }

    fn append(
        &self,
        topic: &str,
        place: Place,
        record: Record,
    ) -> impl Future<Output = Result<Position, WriteError>> + Send + 'static {
        // The future must not borrow the name; a test's names are few.
        let name: &'static str = self.add(topic).leak();
        let (prefix, append) = (self.prefix.clone(), self.log.append(name, place, record));
        async move {
            append.await.map_err(|it| match it {
                WriteError::Rejected(it) => WriteError::Rejected(refusal(&prefix, it)),
                unknown @ WriteError::Unknown(_) => unknown,
            })
        }
    }

    async fn producer(&self, id: &str) -> Result<Self::Producer, Error> {
        Ok(PrefixedProducer(self.log.producer(&self.add(id)).await?, self.prefix.clone()))
    }

    async fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        records: usize,
        bytes: usize,
    ) -> Result<Slice, Error> {
        self.log.read(&self.to(at), from, records, bytes).await.map_err(|it| error(&self.prefix, it))
    }

    async fn trim(&self, at: &TopicPartition, before: u64) -> Result<(), Error> {
        self.log.trim(&self.to(at), before).await.map_err(|it| error(&self.prefix, it))
    }

    async fn start(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.log.start(&self.to(at)).await.map_err(|it| error(&self.prefix, it))
    }

    async fn end(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.log.end(&self.to(at)).await.map_err(|it| error(&self.prefix, it))
    }

    async fn offset_at(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        self.log.offset_at(&self.to(at), instant).await.map_err(|it| error(&self.prefix, it))
    }

    async fn join(&self, group: &str, topics: &[String]) -> Result<Self::Tail, Error> {
        let topics: Vec<String> = topics.iter().map(|topic| self.add(topic)).collect();
        let tail = self.log.join(&self.add(group), &topics).await;
        tail.map(|tail| PrefixedTail(tail, self.prefix.clone())).map_err(|it| error(&self.prefix, it))
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Committed>, Error> {
        let asked: Vec<_> = partitions.iter().map(|at| self.to(at)).collect();
        let found = self.log.committed(&self.add(group), &asked).await?;
        let strip = |it: Committed| Committed { partition: from(&self.prefix, it.partition), ..it };
        Ok(found.into_iter().map(strip).collect())
    }
}

impl<T: Tail> Tail for PrefixedTail<T> {
    type Member = T::Member;

    fn member(&self) -> T::Member {
        self.0.member()
    }

    async fn poll(&mut self) -> Result<Polled, Error> {
        Ok(match self.0.poll().await.map_err(|it| error(&self.1, it))? {
            Polled::Records(at, records) => Polled::Records(from(&self.1, at), records),
            Polled::End(at, offset) => Polled::End(from(&self.1, at), offset),
            other => other,
        })
    }

    fn seek(&mut self, at: &TopicPartition, offset: u64) {
        self.0.seek(&to(&self.1, at), offset);
    }

    fn pause(&mut self, at: &TopicPartition, paused: bool) {
        self.0.pause(&to(&self.1, at), paused);
    }

    fn commit(
        &mut self,
        offsets: Vec<Committed>,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + 'static {
        self.0.commit(commits(&self.1, offsets))
    }

    fn release(&mut self, partitions: &[u32]) {
        self.0.release(partitions);
    }

    async fn leave(self) {
        self.0.leave().await;
    }
}

impl<P: Producer<Member: Send + Sync>> Producer for PrefixedProducer<P> {
    type Member = P::Member;

    async fn commit(&mut self, transaction: Transaction<P::Member>) -> Result<Vec<Position>, TransactError> {
        let prefix = &self.1;
        let records = transaction.records.into_iter();
        let records =
            records.map(|(topic, place, record)| (format!("{prefix}{topic}"), place, record)).collect();
        let offsets = transaction.offsets.map(|(member, offsets)| (member, commits(prefix, offsets)));
        self.0.commit(Transaction { records, offsets }).await.map_err(|it| match it {
            TransactError::Rejected(it) => TransactError::Rejected(refusal(prefix, it)),
            other => other,
        })
    }
}
