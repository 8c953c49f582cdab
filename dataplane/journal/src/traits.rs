//! The two traits that every log implements. No I/O.

use std::future::{Future, ready};

use evhub_event::Record;

use crate::{
    BrokerSettings, CommitError, Committed, Error, Place, Polled, Position, Slice, TopicPartition,
    TopicSettings, TransactError, Transaction, WriteError,
};

/// The log.
pub trait Journal: Clone + Send + Sync + 'static {
    /// A member of a group.
    type Tail: Tail<Member = Self::Member>;
    /// In whose name a transaction commits offsets.
    type Member: Clone + Send + Sync + 'static;
    /// Who writes transactions.
    type Producer: Producer<Member = Self::Member>;

    /// Makes sure that a topic exists with these settings. Partitions may grow; fewer than there are is an error. The
    /// largest record may grow too; a smaller one than before changes nothing. Retention is what was asked last. A topic that
    /// is somebody else's is an error unless it may be adopted.
    fn ensure(&self, topic: &str, settings: TopicSettings) -> impl Future<Output = Result<(), Error>> + Send;

    /// The same for a topic of which brokers are told more. What they refuse of that is an error, and then the topic is as it
    /// was. A log without brokers has no use for it.
    fn ensure_with(
        &self,
        topic: &str,
        settings: TopicSettings,
        _brokers: &BrokerSettings,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        self.ensure(topic, settings)
    }

    /// Whether a topic could have so many partitions, as far as the log tells without making any.
    fn may_grow(&self, _topic: &str, _partitions: u32) -> impl Future<Output = Result<(), Error>> + Send {
        ready(Ok(()))
    }

    /// Deletes a topic with all that it holds, and returns when it is gone; one that is not there is gone. A log that only forgets
    /// what is old refuses.
    fn remove(&self, topic: &str) -> impl Future<Output = Result<(), Error>> + Send {
        let problem = "stays until its records are as old as its retention says".to_owned();
        ready(Err(Error::Settings { topic: topic.to_owned(), problem }))
    }

    /// How many partitions a topic has, as far as is known here; `None` when no such topic is. Others may have made it, or made
    /// it larger, a moment ago.
    fn partitions(&self, topic: &str) -> Option<u32>;

    /// The same, asked of the log itself: whatever depends on there being no such topic has to know it for sure.
    fn look_up(&self, topic: &str) -> impl Future<Output = Result<Option<u32>, Error>> + Send;

    /// What tells this topic from one of the same name that was deleted before it was made; 0 where none ever is.
    fn identity(&self, _topic: &str) -> impl Future<Output = Result<u64, Error>> + Send {
        ready(Ok(0))
    }

    /// How many writes wait for the log, and how many bytes they are; `None` where the log does not tell.
    fn waiting(&self) -> Option<(usize, usize)> {
        None
    }

    /// Appends one record. `Ok` means that it is durable at that position. What goes [`Place::Behind`] a link is never taken
    /// once one of its chain before it was rejected, or has an unknown ending.
    fn append(
        &self,
        topic: &str,
        place: Place,
        record: Record,
    ) -> impl Future<Output = Result<Position, WriteError>> + Send + 'static;

    /// Becomes the producer of this transactional id. Whoever was before is fenced: when this returns, each of its
    /// transactions is decided, and it decides no other.
    fn producer(&self, id: &str) -> impl Future<Output = Result<Self::Producer, Error>> + Send;

    /// Reads from an offset on, at most so many records and about so many bytes. An offset before the partition's start is
    /// [`Error::OutOfRange`]; one beyond the end reads nothing.
    fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> impl Future<Output = Result<Slice, Error>> + Send;

    /// The partition's start: the first offset that retention has left.
    fn start(&self, at: &TopicPartition) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Gives up what lies before an offset, which becomes the partition's start unless it begins later already. Beyond the end
    /// is the end.
    fn trim(&self, at: &TopicPartition, before: u64) -> impl Future<Output = Result<(), Error>> + Send;

    /// The partition's end: the offset that the next append would get at the least.
    fn end(&self, at: &TopicPartition) -> impl Future<Output = Result<u64, Error>> + Send;

    /// The first offset whose record the log took at or after this instant (milliseconds since the Unix epoch), or the
    /// partition's end when there is none.
    fn offset_at(&self, at: &TopicPartition, instant: i64)
    -> impl Future<Output = Result<u64, Error>> + Send;

    /// Joins a group as a member that reads these topics, all of which have the same number of partitions.
    fn join(&self, group: &str, topics: &[String]) -> impl Future<Output = Result<Self::Tail, Error>> + Send;

    /// What a group has committed for these partitions; a partition without a commit is left out.
    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<Vec<Committed>, Error>> + Send;
}

/// One member of a group. Only the task that polls may commit: a commit carries the generation that the member belongs
/// to at that moment, so a commit made beside a rebalance would speak in another owner's name.
pub trait Tail: Send + 'static {
    /// See [`Journal::Member`].
    type Member;

    /// This member as of now, for a transaction that commits offsets in its name.
    fn member(&self) -> Self::Member;

    /// Waits for the next thing to know. Cancel-safe. What a partition was to read next may be gone: that is
    /// [`Error::OutOfRange`], until it is sought elsewhere.
    fn poll(&mut self) -> impl Future<Output = Result<Polled, Error>> + Send;

    /// Starts reading a partition of ours at an offset. Nothing is read of a partition before.
    fn seek(&mut self, at: &TopicPartition, offset: u64);

    /// Stops or resumes handing out records of a partition; what stays unread costs nothing.
    fn pause(&mut self, at: &TopicPartition, paused: bool);

    /// Commits offsets of several partitions, all or none, in this member's name and generation as of this call.
    fn commit(
        &mut self,
        offsets: Vec<Committed>,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + 'static;

    /// Whether this member may still be one, as far as it can tell without asking: it has not stood still for longer than its group
    /// waits for a member. When not, [`Polled::Lost`](crate::Polled::Lost) follows.
    fn may_own(&self) -> bool {
        true
    }

    /// Says that these revoked partitions are drained: others may have them.
    fn release(&mut self, partitions: &[u32]);

    /// Leaves the group.
    fn leave(self) -> impl Future<Output = ()> + Send;
}

/// The producer of a transactional id.
pub trait Producer: Send + 'static {
    /// See [`Journal::Member`].
    type Member;

    /// Writes everything or nothing; `Ok` gives the records' positions, in their order, when all is durable. It is visible
    /// then, or a moment later, and partition by partition where the log has several brokers.
    /// After any error this producer writes nothing more: only a new one knows how its transactions ended.
    fn commit(
        &mut self,
        transaction: Transaction<Self::Member>,
    ) -> impl Future<Output = Result<Vec<Position>, TransactError>> + Send;
}
