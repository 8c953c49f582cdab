//! The cases of the contract. Each gets a fresh log.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use evhub_event::{Header, Record};
use evhub_journal::{
    Chain, CommitError, Committed, Error, Journal, MAX_METADATA, Place, Polled, Position, Producer, Refusal,
    Stored, Tail, TopicPartition, TopicSettings, TransactError, Transaction, WriteError, murmur2,
};

/// Where a log is, with what the traits do not offer.
pub(crate) trait Site {
    type Log: Journal;

    /// Whether one process is the whole log: then what is acknowledged is visible, and what was appended is there to be read.
    /// Brokers make a transaction visible a moment after its end, each partition for itself, and are asked one after the other.
    const WHOLE: bool;

    /// The log: cleaned often, and with little patience for members that do not give up.
    fn log(&self) -> Self::Log;

    /// Has retention and compaction look at everything, or gives them the time to.
    async fn clean(&self);
}

/// How long a case may take: so long says that it hangs, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

const MIB: usize = 1 << 20;

fn settings(partitions: u32) -> TopicSettings {
    TopicSettings { partitions, max_record_bytes: MIB, ..TopicSettings::default() }
}

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}

fn record(value: impl AsRef<[u8]>) -> Record {
    Record { key: None, value: Some(Bytes::copy_from_slice(value.as_ref())), headers: vec![] }
}

fn keyed(key: &str, value: &str) -> Record {
    Record { key: Some(Bytes::copy_from_slice(key.as_bytes())), ..record(value) }
}

fn commit_of(at: TopicPartition, offset: u64, metadata: &str) -> Committed {
    Committed { partition: at, offset, metadata: metadata.into() }
}

fn values(records: &[Stored]) -> Vec<String> {
    let text = |stored: &Stored| String::from_utf8(stored.record.value.clone().unwrap().into()).unwrap();
    records.iter().map(text).collect()
}

async fn append<J: Journal>(log: &J, topic: &str, partition: u32, value: &str) -> u64 {
    log.append(topic, Place::Partition(partition), record(value)).await.unwrap().offset
}

/// Polls until the end of one partition, and gives back the records seen.
async fn drain<T: Tail>(tail: &mut T) -> Vec<Stored> {
    let mut seen = Vec::new();
    loop {
        match tail.poll().await.unwrap() {
            Polled::Records(_, records) => seen.extend(records),
            Polled::End(..) => return seen,
            other => panic!("neither records nor an end: {other:?}"),
        }
    }
}

#[track_caller]
fn assigned(polled: &Polled) -> (u64, Vec<u32>) {
    let Polled::Assigned { generation, partitions } = polled else { panic!("not assigned: {polled:?}") };
    (*generation, partitions.clone())
}

async fn joined<J: Journal>(log: &J, group: &str, topics: &[&str]) -> (J::Tail, u64) {
    let topics: Vec<String> = topics.iter().map(ToString::to_string).collect();
    let mut tail = log.join(group, &topics).await.unwrap();
    let (generation, _) = assigned(&tail.poll().await.unwrap());
    (tail, generation)
}

pub(crate) async fn an_append_reads_back_at_its_position<J: Journal>(log: J) {
    log.ensure("t", settings(3)).await.unwrap();
    let sent = Record { key: Some("k".into()), ..record(b"body \x00\xff") };
    let position = log.append("t", Place::Partition(2), sent.clone()).await.unwrap();
    assert_eq!(position.partition, 2);
    let slice = log.read(&at("t", 2), position.offset, 10, MIB).await.unwrap();
    assert_eq!(slice.records.len(), 1);
    assert_eq!((slice.records[0].offset, &slice.records[0].record), (position.offset, &sent));
    assert!(slice.next > position.offset && slice.end >= slice.next);
    assert_eq!(log.end(&at("t", 2)).await.unwrap(), slice.end);
    assert!(log.read(&at("t", 0), 0, 10, MIB).await.unwrap().records.is_empty());
}

pub(crate) async fn appends_are_in_the_order_of_their_calls<J: Journal>(log: J) {
    log.ensure("t", settings(1)).await.unwrap();
    let waiting: Vec<_> =
        (0..200).map(|i| log.append("t", Place::Partition(0), record(i.to_string()))).collect();
    let mut offsets = Vec::new();
    for append in waiting {
        offsets.push(append.await.unwrap().offset);
    }
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    let slice = log.read(&at("t", 0), 0, 1_000, MIB).await.unwrap();
    assert_eq!(values(&slice.records), (0..200).map(|i| i.to_string()).collect::<Vec<_>>());
}

pub(crate) async fn keys_decide_the_partition_as_java_does<J: Journal>(log: J) {
    log.ensure("t", settings(12)).await.unwrap();
    for key in ["21", "foobar", "abc", "order-7"] {
        let position = log.append("t", Place::ByKey, keyed(key, "x")).await.unwrap();
        assert_eq!(position.partition, murmur2::partition(key.as_bytes(), 12), "{key}");
    }
    // toPositive(-973932308) % 12, worked out by hand.
    assert_eq!(log.append("t", Place::ByKey, keyed("21", "x")).await.unwrap().partition, 1_173_551_340 % 12);
}

pub(crate) async fn records_without_a_key_spread<J: Journal>(log: J) {
    log.ensure("t", settings(4)).await.unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..64 {
        seen.insert(log.append("t", Place::ByKey, record("x")).await.unwrap().partition);
    }
    assert!(seen.len() > 1, "{seen:?}");
}

pub(crate) async fn tombstones_and_headers_read_back<J: Journal>(log: J) {
    log.ensure("t", settings(1)).await.unwrap();
    let header = |name: &str, value: &'static [u8]| Header { name: name.into(), value: value.into() };
    let headers = vec![header("a", b"1"), header("a", b""), header("ü", b"\x00\xff")];
    let sent = [
        Record { key: Some("k".into()), value: None, headers: vec![] },
        Record { key: Some("".into()), value: Some("".into()), headers },
        Record { key: None, value: Some("v".into()), headers: vec![] },
    ];
    for record in &sent {
        log.append("t", Place::Partition(0), record.clone()).await.unwrap();
    }
    let read = log.read(&at("t", 0), 0, 10, MIB).await.unwrap().records;
    assert_eq!(read.into_iter().map(|stored| stored.record).collect::<Vec<_>>(), sent);
}

pub(crate) async fn what_cannot_be_appended_is_rejected<J: Journal>(log: J) {
    log.ensure("t", TopicSettings { max_record_bytes: 100, ..settings(2) }).await.unwrap();
    let refusal = |result: Result<Position, WriteError>| match result {
        Err(WriteError::Rejected(refusal)) => refusal,
        other => panic!("not rejected: {other:?}"),
    };
    let unknown = log.append("nope", Place::ByKey, record("x")).await;
    assert_eq!(refusal(unknown), Refusal::UnknownTopic("nope".into()));
    let partition = log.append("t", Place::Partition(2), record("x")).await;
    assert_eq!(refusal(partition), Refusal::UnknownPartition("t".into(), 2));
    let large = Record { key: Some("k".into()), ..record([0; 100]) };
    assert_eq!(
        refusal(log.append("t", Place::ByKey, large).await),
        Refusal::TooLarge { size: 101, limit: 100 }
    );
    log.append("t", Place::Partition(0), record([0; 100])).await.unwrap();
    assert_eq!(log.read(&at("t", 0), 0, 10, MIB).await.unwrap().records.len(), 1);
    assert!(log.read(&at("t", 1), 0, 10, MIB).await.unwrap().records.is_empty());
    assert!(matches!(log.read(&at("nope", 0), 0, 1, 1).await, Err(Error::UnknownTopic(_))));
    assert!(matches!(log.read(&at("t", 2), 0, 1, 1).await, Err(Error::UnknownPartition(_, 2))));
    assert!(matches!(log.end(&at("nope", 0)).await, Err(Error::UnknownTopic(_))));
    assert!(matches!(log.join("g", &["nope".into()]).await, Err(Error::UnknownTopic(_))));
}

pub(crate) async fn nothing_passes_what_was_not_taken_of_its_chain<S: Site>(site: S) {
    let log = site.log();
    log.ensure("t", TopicSettings { max_record_bytes: 100, ..settings(2) }).await.unwrap();
    let (mut chain, mut other) = (Chain::default(), Chain::default());
    let large = "x".repeat(100);
    let sent = ["a", "b", &large, "c", "d"].map(|value| {
        let place = Place::Behind(chain.link());
        log.append("t", place, keyed("k", value))
    });
    let beside = log.append("t", Place::Behind(other.link()), keyed("k", "beside")).await;
    let after = log.append("t", Place::Behind(chain.link()), keyed("k", "after")).await;
    let [a, b, large, c, d] = sent;
    let (a, b) = (a.await.unwrap(), b.await.unwrap());
    assert!(a.partition == b.partition && a.offset < b.offset && beside.is_ok());
    assert!(matches!(large.await, Err(WriteError::Rejected(Refusal::TooLarge { .. }))));
    for behind in [c.await, d.await, after] {
        assert!(matches!(behind, Err(WriteError::Rejected(Refusal::Behind))), "{behind:?}");
    }
    let records = log.read(&at("t", a.partition), 0, 10, MIB).await.unwrap().records;
    let mut kept = values(&records);
    if !S::WHOLE {
        // Another chain waits for nothing of this one.
        kept.sort_unstable();
    }
    assert_eq!(kept, ["a", "b", "beside"]);
}

pub(crate) async fn topics_grow_and_never_shrink<J: Journal>(log: J) {
    assert_eq!(log.partitions("t"), None);
    log.ensure("t", settings(2)).await.unwrap();
    log.ensure("t", settings(2)).await.unwrap();
    assert_eq!(log.partitions("t"), Some(2));
    append(&log, "t", 1, "before").await;
    log.ensure("t", settings(5)).await.unwrap();
    assert_eq!(log.partitions("t"), Some(5));
    append(&log, "t", 4, "after").await;
    assert_eq!(values(&log.read(&at("t", 1), 0, 9, MIB).await.unwrap().records), ["before"]);
    assert_eq!(values(&log.read(&at("t", 4), 0, 9, MIB).await.unwrap().records), ["after"]);
    assert!(matches!(log.ensure("t", settings(4)).await, Err(Error::Settings { .. })));
    let compacted = TopicSettings { compacted: true, ..settings(5) };
    assert!(matches!(log.ensure("t", compacted).await, Err(Error::Settings { .. })));
    assert!(matches!(log.ensure("none", settings(0)).await, Err(Error::Settings { .. })));
    assert_eq!(log.partitions("t"), Some(5));
}

pub(crate) async fn the_largest_record_never_shrinks<J: Journal>(log: J) {
    let limit = |max_record_bytes| TopicSettings { max_record_bytes, ..settings(1) };
    log.ensure("t", limit(1_000)).await.unwrap();
    let refused = log.append("t", Place::Partition(0), record([0; 1_001])).await;
    assert!(matches!(refused, Err(WriteError::Rejected(Refusal::TooLarge { .. }))), "{refused:?}");
    log.ensure("t", limit(2_000)).await.unwrap();
    log.append("t", Place::Partition(0), record([0; 2_000])).await.unwrap();
    log.ensure("t", limit(1_000)).await.unwrap();
    log.append("t", Place::Partition(0), record([0; 2_000])).await.unwrap();
    log.ensure("t", TopicSettings { partitions: 2, ..limit(1_000) }).await.unwrap();
    log.append("t", Place::Partition(1), record([0; 2_000])).await.unwrap();
    let refused = log.append("t", Place::Partition(1), record([0; 2_001])).await;
    assert!(matches!(refused, Err(WriteError::Rejected(Refusal::TooLarge { .. }))), "{refused:?}");
}

pub(crate) async fn reads_are_bounded_and_resume<J: Journal>(log: J) {
    log.ensure("t", settings(1)).await.unwrap();
    for i in 0..50 {
        append(&log, "t", 0, &format!("{i:0100}")).await;
    }
    let part = at("t", 0);
    assert_eq!(log.read(&part, 0, 7, MIB).await.unwrap().records.len(), 7);
    let slice = log.read(&part, 0, 1_000, 350).await.unwrap();
    assert!((1..=4).contains(&slice.records.len()), "{}", slice.records.len());
    assert_eq!(log.read(&part, 0, 1_000, 1).await.unwrap().records.len(), 1, "never stuck on a large record");
    let (mut next, mut seen) = (0, 0);
    loop {
        let slice = log.read(&part, next, 7, MIB).await.unwrap();
        seen += slice.records.len();
        next = slice.next;
        if slice.records.is_empty() || next >= slice.end {
            break;
        }
    }
    assert_eq!(seen, 50);
}

pub(crate) async fn timestamps_never_fall_and_are_found<J: Journal>(log: J) {
    log.ensure("t", settings(1)).await.unwrap();
    let part = at("t", 0);
    assert_eq!(log.offset_at(&part, 0).await.unwrap(), log.end(&part).await.unwrap());
    for i in 0..100 {
        append(&log, "t", 0, &i.to_string()).await;
    }
    let slice = log.read(&part, 0, 1_000, MIB).await.unwrap();
    assert!(slice.records.is_sorted_by_key(|stored| stored.timestamp));
    for stored in &slice.records {
        let first = slice.records.iter().find(|other| other.timestamp >= stored.timestamp).unwrap();
        assert_eq!(log.offset_at(&part, stored.timestamp).await.unwrap(), first.offset);
    }
    assert_eq!(log.offset_at(&part, 0).await.unwrap(), slice.records[0].offset);
    let last = slice.records.last().unwrap().timestamp;
    assert_eq!(log.offset_at(&part, last + 1).await.unwrap(), slice.end);
}

pub(crate) async fn a_member_is_assigned_then_served_then_at_the_end<J: Journal>(log: J) {
    log.ensure("t", settings(3)).await.unwrap();
    append(&log, "t", 1, "a").await;
    append(&log, "t", 1, "b").await;
    let mut tail = log.join("g", &["t".into()]).await.unwrap();
    tail.seek(&at("t", 1), 0);
    assert_eq!(assigned(&tail.poll().await.unwrap()).1, [0, 1, 2]);
    let Polled::Records(from, records) = tail.poll().await.unwrap() else { panic!("no records") };
    assert_eq!((from, values(&records)), (at("t", 1), vec!["a".into(), "b".into()]));
    let end = log.end(&at("t", 1)).await.unwrap();
    assert!(
        matches!(tail.poll().await.unwrap(), Polled::End(from, offset) if from == at("t", 1) && offset == end)
    );
    let quiet = tokio::time::timeout(Duration::from_millis(50), tail.poll()).await;
    assert!(quiet.is_err(), "an end is told once: {quiet:?}");
}

pub(crate) async fn an_append_wakes_a_waiting_member<J: Journal>(log: J) {
    log.ensure("t", settings(2)).await.unwrap();
    let (mut tail, _) = joined(&log, "g", &["t"]).await;
    for partition in 0..2 {
        tail.seek(&at("t", partition), 0);
        assert!(matches!(tail.poll().await.unwrap(), Polled::End(..)));
    }
    // Writer and reader race a thousand times.
    let reader = tokio::spawn(async move {
        let mut seen = 0;
        while seen < 1_000 {
            if let Polled::Records(_, records) = tail.poll().await.unwrap() {
                seen += records.len();
            }
        }
    });
    for i in 0..1_000 {
        append(&log, "t", i % 2, "x").await;
    }
    reader.await.unwrap();
}

pub(crate) async fn a_poll_that_is_dropped_loses_nothing<J: Journal>(log: J) {
    log.ensure("t", settings(1)).await.unwrap();
    let (mut tail, _) = joined(&log, "g", &["t"]).await;
    tail.seek(&at("t", 0), 0);
    let mut seen = Vec::new();
    for i in 0..300 {
        let append = log.append("t", Place::Partition(0), record(i.to_string()));
        tokio::select! {
            biased;
            polled = tail.poll() => {
                if let Polled::Records(_, records) = polled.unwrap() {
                    seen.extend(values(&records));
                }
            }
            () = tokio::task::yield_now() => {}
        }
        append.await.unwrap();
    }
    while seen.len() < 300 {
        if let Polled::Records(_, records) = tail.poll().await.unwrap() {
            seen.extend(values(&records));
        }
    }
    assert_eq!(seen, (0..300).map(|i| i.to_string()).collect::<Vec<_>>());
}

/// Each partition is served before any is served twice, where all is there to be read; and nowhere does a long one keep the
/// others waiting until its end.
pub(crate) async fn partitions_take_turns<S: Site>(site: S) {
    let log = site.log();
    log.ensure("t", settings(3)).await.unwrap();
    let body = "x".repeat(1_000);
    let waiting: Vec<_> = (0..9_000)
        .map(|i| log.append("t", Place::Partition(i % 3), record(if S::WHOLE { "x" } else { &body })))
        .collect();
    for append in waiting {
        append.await.unwrap();
    }
    let (mut tail, _) = joined(&log, "g", &["t"]).await;
    for partition in 0..3 {
        tail.seek(&at("t", partition), 0);
    }
    let (mut polls, mut served) = (0, BTreeMap::<u32, usize>::new());
    while served.len() < 3 {
        let Polled::Records(from, records) = tail.poll().await.unwrap() else { panic!("an end comes first") };
        assert!(records.len() < 1_000, "one poll is bounded");
        *served.entry(from.partition).or_default() += records.len();
        polls += 1;
    }
    assert!(served.values().all(|seen| *seen < 3_000), "{served:?}");
    assert!(!S::WHOLE || polls == 3, "each partition is served before any is served twice");
}

pub(crate) async fn a_paused_partition_waits<J: Journal>(log: J) {
    log.ensure("t", settings(2)).await.unwrap();
    append(&log, "t", 0, "zero").await;
    append(&log, "t", 1, "one").await;
    let (mut tail, _) = joined(&log, "g", &["t"]).await;
    tail.pause(&at("t", 0), true);
    tail.seek(&at("t", 0), 0);
    tail.seek(&at("t", 1), 0);
    assert_eq!(values(&drain(&mut tail).await), ["one"]);
    let quiet = tokio::time::timeout(Duration::from_millis(50), tail.poll()).await;
    assert!(quiet.is_err(), "a paused partition is silent: {quiet:?}");
    tail.pause(&at("t", 0), false);
    assert_eq!(values(&drain(&mut tail).await), ["zero"]);
}

pub(crate) async fn a_seek_reads_again<J: Journal>(log: J) {
    log.ensure("t", settings(1)).await.unwrap();
    append(&log, "t", 0, "a").await;
    let second = append(&log, "t", 0, "b").await;
    let (mut tail, _) = joined(&log, "g", &["t"]).await;
    tail.seek(&at("t", 0), 0);
    assert_eq!(values(&drain(&mut tail).await), ["a", "b"]);
    tail.seek(&at("t", 0), second);
    assert_eq!(values(&drain(&mut tail).await), ["b"]);
}

pub(crate) async fn commits_are_found_again_and_atomic<J: Journal>(log: J) {
    for topic in ["t", "u"] {
        log.ensure(topic, settings(2)).await.unwrap();
    }
    let parts = [at("t", 0), at("t", 1), at("u", 0)];
    assert!(log.committed("g", &parts).await.unwrap().is_empty());
    let (mut tail, _) = joined(&log, "g", &["t", "u"]).await;
    let first = vec![commit_of(at("t", 0), 3, "claim ü"), commit_of(at("u", 0), 0, "")];
    tail.commit(first.clone()).await.unwrap();
    assert_eq!(log.committed("g", &parts).await.unwrap(), first);
    assert!(log.committed("other", &parts).await.unwrap().is_empty());
    let half_bad = vec![commit_of(at("t", 0), 9, "new"), commit_of(at("nope", 0), 1, "")];
    assert!(matches!(tail.commit(half_bad).await, Err(CommitError::Rejected(_))));
    assert_eq!(log.committed("g", &parts).await.unwrap(), first, "all or none");
    // Two at once for one partition: the later call wins.
    let one = tail.commit(vec![commit_of(at("t", 0), 5, "one")]);
    let two = tail.commit(vec![commit_of(at("t", 0), 6, "two")]);
    two.await.unwrap();
    one.await.unwrap();
    assert_eq!(log.committed("g", &parts[..1]).await.unwrap(), [commit_of(at("t", 0), 6, "two")]);
}

pub(crate) async fn members_share_and_commits_of_an_old_generation_are_stale<S: Site>(site: S) {
    let log = site.log();
    log.ensure("t", settings(5)).await.unwrap();
    append(&log, "t", 0, "x").await;
    let (mut old, mine) = joined(&log, "g", &["t"]).await;
    old.commit(vec![commit_of(at("t", 0), 1, "old")]).await.unwrap();
    let joining = tokio::spawn({
        let log = log.clone();
        async move { joined(&log, "g", &["t"]).await }
    });
    let Polled::Revoked(asked) = old.poll().await.unwrap() else { panic!("nothing is asked back") };
    assert!(asked.contains(&0));
    // Until it is given up, it is still its owner's.
    old.commit(vec![commit_of(at("t", 0), 2, "draining")]).await.unwrap();
    let before = old.member();
    old.release(&asked);
    let (given, left) = assigned(&old.poll().await.unwrap());
    let (mut new, newer) = joining.await.unwrap();
    assert!(newer > mine && given == newer, "one generation for both");
    // Range: the first member has the first partitions, and one more where they do not divide. Brokers count by names.
    assert!(left.len() == 3 || !S::WHOLE && left.len() == 2, "{left:?}");
    old.commit(vec![commit_of(at("t", left[0]), 3, "still a member")]).await.unwrap();
    let mut producer = log.producer("p").await.unwrap();
    let offsets = Some((before, vec![commit_of(at("t", 0), 9, "zombie")]));
    let stale = producer.commit(Transaction { records: vec![], offsets }).await;
    assert!(matches!(stale, Err(TransactError::Stale { .. })), "{stale:?}");
    // Another group's members are not disturbed, nor does one's leaving take what another has committed.
    let (_other, _) = joined(&log, "h", &["t"]).await;
    old.leave().await;
    let Polled::Revoked(asked) = new.poll().await.unwrap() else {
        panic!("nobody follows the one that left")
    };
    new.release(&asked);
    let (last, all) = assigned(&new.poll().await.unwrap());
    assert_eq!(all, [0, 1, 2, 3, 4]);
    assert!(last > newer);
    new.commit(vec![commit_of(at("t", 0), 4, "new")]).await.unwrap();
    assert_eq!(log.committed("g", &[at("t", 0)]).await.unwrap(), [commit_of(at("t", 0), 4, "new")]);
}

pub(crate) async fn a_member_that_does_not_give_up_in_time_loses<S: Site>(site: S) {
    let log = site.log();
    log.ensure("t", settings(2)).await.unwrap();
    let (mut old, mine) = joined(&log, "g", &["t"]).await;
    old.commit(vec![commit_of(at("t", 0), 1, "old")]).await.unwrap();
    // It hears that it is asked, and does nothing about it.
    let ((mut new, newer), asked) =
        tokio::join!(joined(&log, "g", &["t"]), async { old.poll().await.unwrap() });
    assert!(matches!(asked, Polled::Revoked(_)), "{asked:?}");
    let polled = old.poll().await.unwrap();
    assert!(matches!(&polled, Polled::Lost(partitions) if partitions == &[0, 1]), "{polled:?}");
    let stale = old.commit(vec![commit_of(at("t", 0), 2, "zombie")]).await;
    // Brokers do not tell who is not a member any more how far the group is.
    let told = matches!(stale, Err(CommitError::Stale { mine: of, current }) if of == mine && (current == newer || !S::WHOLE));
    assert!(told, "{stale:?}");
    assert_eq!(log.committed("g", &[at("t", 0)]).await.unwrap(), [commit_of(at("t", 0), 1, "old")]);
    new.commit(vec![commit_of(at("t", 0), 2, "new")]).await.unwrap();
    old.seek(&at("t", 0), 0);
    let quiet = tokio::time::timeout(Duration::from_millis(50), old.poll()).await;
    assert!(quiet.is_err(), "nothing is handed to a member that lost: {quiet:?}");
}

// === transactions ===

fn transaction<M>(records: &[(&str, u32, &str)]) -> Transaction<M> {
    let one = |(topic, partition, value): &(&str, u32, &str)| {
        ((*topic).to_owned(), Place::Partition(*partition), keyed(value, value))
    };
    Transaction { records: records.iter().map(one).collect(), offsets: None }
}

async fn all<J: Journal>(log: &J, at: &TopicPartition) -> Vec<Stored> {
    let (mut next, mut seen) = (log.start(at).await.unwrap(), Vec::new());
    loop {
        let slice = match log.read(at, next, 1_000, MIB).await {
            Ok(slice) => slice,
            // Retention was faster.
            Err(Error::OutOfRange { start, .. }) => {
                seen.clear();
                next = start;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        seen.extend(slice.records);
        next = slice.next;
        if next >= slice.end {
            return seen;
        }
    }
}

/// What a partition shows: at once where the log is whole, and in the end otherwise. What of a transaction is there before is
/// all of it or nothing.
async fn shows<S: Site>(site: &S, at: &TopicPartition, before: &[&str], expected: &[&str]) {
    loop {
        let seen = values(&all(&site.log(), at).await);
        if seen == expected {
            return;
        }
        assert!(!S::WHOLE && seen == before, "{seen:?} and not {expected:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn a_transaction_is_there_whole_with_gaps_behind<S: Site>(site: S) {
    let log = site.log();
    log.ensure("t", settings(2)).await.unwrap();
    log.ensure("u", settings(1)).await.unwrap();
    let (tail, _) = joined(&log, "g", &["u"]).await;
    let mut producer = log.producer("p").await.unwrap();
    let before = append(&log, "t", 1, "plain").await;
    let mut work = transaction(&[("t", 1, "a"), ("u", 0, "b"), ("t", 1, "c")]);
    work.offsets = Some((tail.member(), vec![commit_of(at("u", 0), 7, "applied")]));
    let places = producer.commit(work).await.unwrap();
    assert_eq!(places.iter().map(|place| place.partition).collect::<Vec<_>>(), [1, 0, 1]);
    assert!(before < places[0].offset && places[0].offset < places[2].offset);
    shows(&site, &at("t", 1), &["plain"], &["plain", "a", "c"]).await;
    shows(&site, &at("u", 0), &[], &["b"]).await;
    let behind = append(&log, "t", 1, "behind").await;
    assert!(behind > places[2].offset + 1, "the transaction's end takes a place of its own");
    assert_eq!(values(&all(&log, &at("t", 1)).await), ["plain", "a", "c", "behind"]);
    let stored = log.read(&at("u", 0), places[1].offset, 1, MIB).await.unwrap();
    assert_eq!(
        (stored.records[0].offset, stored.next),
        (places[1].offset, log.end(&at("u", 0)).await.unwrap())
    );
    loop {
        let found = log.committed("g", &[at("u", 0)]).await.unwrap();
        if found == [commit_of(at("u", 0), 7, "applied")] {
            break;
        }
        assert!(!S::WHOLE && found.is_empty(), "{found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    producer.commit(transaction(&[("u", 0, "again")])).await.unwrap();
    shows(&site, &at("u", 0), &["b"], &["b", "again"]).await;
}

pub(crate) async fn a_fenced_producer_leaves_nothing_to_see<J: Journal>(log: J) {
    log.ensure("t", settings(2)).await.unwrap();
    let mut old = log.producer("p").await.unwrap();
    old.commit(transaction(&[("t", 0, "old")])).await.unwrap();
    let mut new = log.producer("p").await.unwrap();
    let mut other = log.producer("q").await.unwrap();
    let fenced = old.commit(transaction(&[("t", 0, "zombie"), ("t", 1, "zombie")])).await;
    assert!(matches!(fenced, Err(TransactError::Fenced)), "{fenced:?}");
    let spent = old.commit(transaction(&[("t", 0, "zombie")])).await;
    assert!(spent.is_err(), "after an error a producer writes nothing more");
    new.commit(transaction(&[("t", 0, "new")])).await.unwrap();
    other.commit(transaction(&[("t", 0, "other")])).await.unwrap();
    append(&log, "t", 1, "plain").await;
    assert_eq!(values(&all(&log, &at("t", 0)).await), ["old", "new", "other"]);
    assert_eq!(values(&all(&log, &at("t", 1)).await), ["plain"]);
    // A member reads past what is hidden, to the end.
    let (mut tail, _) = joined(&log, "g", &["t"]).await;
    tail.seek(&at("t", 1), 0);
    assert_eq!(values(&drain(&mut tail).await), ["plain"]);
}

pub(crate) async fn a_transaction_that_is_refused_leaves_nothing_to_see<J: Journal>(log: J) {
    log.ensure("t", TopicSettings { max_record_bytes: 100, ..settings(1) }).await.unwrap();
    let large = "x".repeat(100);
    for bad in [("nope", 0, "x"), ("t", 1, "x"), ("t", 0, large.as_str())] {
        let mut producer = log.producer("p").await.unwrap();
        let refused = producer.commit(transaction(&[("t", 0, "good"), bad])).await;
        assert!(matches!(refused, Err(TransactError::Rejected(_))), "{refused:?}");
    }
    assert!(all(&log, &at("t", 0)).await.is_empty());
}

/// Whoever becomes the producer finds each transaction of its predecessor whole or not at all, and no later one.
pub(crate) async fn a_new_producer_finds_what_was_decided<S: Site>(site: S) {
    let log = site.log();
    log.ensure("t", settings(2)).await.unwrap();
    for round in 0..20 {
        let mut old = log.producer("p").await.unwrap();
        let value = format!("{round}");
        let work = transaction(&[("t", 0, value.as_str()), ("t", 1, value.as_str())]);
        let racing = tokio::spawn(async move { old.commit(work).await });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let _new = log.producer("p").await.unwrap();
        let seen = [values(&all(&log, &at("t", 0)).await), values(&all(&log, &at("t", 1)).await)];
        assert_eq!(seen[0], seen[1], "all or none");
        match racing.await.unwrap() {
            Ok(_) => assert!(seen[0].contains(&value)),
            Err(TransactError::Fenced | TransactError::Rejected(_)) => assert!(!seen[0].contains(&value)),
            // A broker that is asked to commit and to end the same transaction may answer that it does not know.
            Err(TransactError::Unknown(_)) if !S::WHOLE => {}
            Err(other) => panic!("{other:?}"),
        }
        assert_eq!(values(&all(&log, &at("t", 0)).await), seen[0]);
    }
}

// === what goes away ===

/// A broker cleans up to the segment that it writes to, and begins another one with the next record.
async fn fill<S: Site>(site: &S) -> Option<u64> {
    if S::WHOLE {
        return None;
    }
    let filler = site.log().append("t", Place::Partition(0), keyed("filler", "x"));
    Some(filler.await.unwrap().offset)
}

/// In the end the tombstone of the key 3 goes too.
async fn finally_it_goes<S: Site>(site: &S, tombstone: u64) {
    let log = site.log();
    loop {
        fill(site).await;
        site.clean().await;
        if !all(&log, &at("t", 0)).await.iter().any(|stored| stored.offset == tombstone) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(all(&log, &at("t", 0)).await.iter().all(|stored| stored.record.key.as_deref() != Some(b"3")));
}

pub(crate) async fn a_compacted_topic_keeps_the_newest_of_each_key<S: Site>(site: S) {
    let log = site.log();
    let compacted = TopicSettings { compacted: true, ..settings(1) };
    log.ensure("t", compacted).await.unwrap();
    let refused = log.append("t", Place::Partition(0), record("no key")).await;
    assert!(matches!(refused, Err(WriteError::Rejected(Refusal::NoKey(_)))), "{refused:?}");
    let part = at("t", 0);
    let mut newest = BTreeMap::new();
    for i in 0..60_u64 {
        let key = format!("{}", i % 7);
        let place = log.append("t", Place::Partition(0), keyed(&key, &i.to_string())).await.unwrap();
        newest.insert(key, place.offset);
        if i % 20 == 19 {
            site.clean().await;
        }
    }
    let gone = Record { value: None, ..keyed("3", "") };
    let tombstone = log.append("t", Place::Partition(0), gone).await.unwrap().offset;
    newest.insert("3".into(), tombstone);
    let mut end = log.end(&part).await.unwrap();
    let places = |stored: &[Stored]| {
        let others = stored.iter().filter(|stored| stored.record.key.as_deref() != Some(b"filler"));
        others.map(|stored| stored.offset).collect::<BTreeSet<_>>()
    };
    let expected: BTreeSet<u64> = newest.values().copied().collect();
    // Brokers clean by their own clock, and the tombstone may go sooner than the rest is looked at.
    let but_tombstone: BTreeSet<u64> =
        expected.iter().copied().filter(|offset| *offset != tombstone).collect();
    let is_all = |seen: &[Stored]| {
        let seen = places(seen);
        seen == expected || !S::WHOLE && seen == but_tombstone
    };
    let fewer = async {
        loop {
            end = fill(&site).await.map_or(end, |filler| filler + 1);
            site.clean().await;
            let seen = all(&log, &part).await;
            // At every moment the newest of each key is there, in order, and nothing that never was.
            assert!(seen.is_sorted_by(|a, b| a.offset < b.offset));
            assert!(
                expected.is_subset(&places(&seen)) || seen.iter().all(|stored| stored.offset != tombstone)
            );
            if is_all(&seen) {
                return;
            }
        }
    };
    fewer.await;
    assert_eq!(log.end(&part).await.unwrap(), end, "offsets stay as they were");
    assert_eq!(log.start(&part).await.unwrap(), 0, "nothing is out of range");
    let slice = log.read(&part, 0, 1, MIB).await.unwrap();
    assert_eq!(slice.records[0].offset, *expected.first().unwrap(), "a read passes over what is gone");
    let (mut tail, _) = joined(&log, "g", &["t"]).await;
    tail.seek(&part, 0);
    assert!(is_all(&drain(&mut tail).await));
    finally_it_goes(&site, tombstone).await;
}

/// Follows a compacted topic while it is cleaned: a reader never sees an older value after a newer.
pub(crate) async fn a_reader_never_goes_back_in_time<S: Site>(site: S) {
    let log = site.log();
    log.ensure("t", TopicSettings { compacted: true, ..settings(1) }).await.unwrap();
    let (mut tail, _) = joined(&log, "g", &["t"]).await;
    tail.seek(&at("t", 0), 0);
    let writer = async {
        for i in 0..300_u64 {
            let key = format!("{}", i % 3);
            log.append("t", Place::Partition(0), keyed(&key, &format!("{i:04}"))).await.unwrap();
            if i % 50 == 49 {
                site.clean().await;
            }
        }
    };
    let reader = async {
        let mut seen: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        while seen.values().map(|value| &value[..]).max() != Some(b"0299") {
            if let Polled::Records(_, records) = tail.poll().await.unwrap() {
                for Stored { record, .. } in records {
                    let (key, value) = (record.key.unwrap(), record.value.unwrap());
                    assert!(seen.insert(key, value.clone()).is_none_or(|before| before < value));
                }
            }
        }
    };
    tokio::join!(writer, reader);
}

pub(crate) async fn what_is_trimmed_is_gone_and_stays_gone<J: Journal>(log: J) {
    log.ensure("t", settings(2)).await.unwrap();
    let part = at("t", 0);
    let mut offsets = Vec::new();
    for n in 0..5 {
        offsets.push(append(&log, "t", 0, &n.to_string()).await);
        append(&log, "t", 1, "other").await;
    }
    log.trim(&part, offsets[3]).await.unwrap();
    assert_eq!(log.start(&part).await.unwrap(), offsets[3]);
    let gone = log.read(&part, offsets[2], 1, MIB).await;
    assert!(matches!(gone, Err(Error::OutOfRange { .. })), "{gone:?}");
    let kept = log.read(&part, offsets[3], 10, MIB).await.unwrap().records;
    assert_eq!(values(&kept), ["3", "4"]);
    log.trim(&part, offsets[1]).await.unwrap();
    assert_eq!(log.start(&part).await.unwrap(), offsets[3], "what is gone stays gone");
    let end = log.end(&part).await.unwrap();
    log.trim(&part, end + 100).await.unwrap();
    assert_eq!(log.start(&part).await.unwrap(), end, "beyond the end is the end");
    assert!(append(&log, "t", 0, "next").await >= end);
    let nowhere = log.trim(&at("nowhere", 0), 1).await;
    assert!(matches!(nowhere, Err(Error::UnknownTopic(_))), "{nowhere:?}");
    assert_eq!(log.start(&at("t", 1)).await.unwrap(), 0, "others are left alone");
}

pub(crate) async fn retention_by_size_moves_the_start<S: Site>(site: S) {
    retained(site, TopicSettings { retention_bytes: Some(10_000), ..settings(1) }).await;
}

pub(crate) async fn retention_by_time_moves_the_start<S: Site>(site: S) {
    retained(site, TopicSettings { retention: Some(Duration::from_millis(1)), ..settings(1) }).await;
}

async fn retained<S: Site>(site: S, settings: TopicSettings) {
    let log = site.log();
    log.ensure("t", settings).await.unwrap();
    log.ensure("kept", self::settings(1)).await.unwrap();
    append(&log, "kept", 0, "kept").await;
    let (mut tail, _) = joined(&log, "g", &["t"]).await;
    tail.seek(&at("t", 0), 0);
    let part = at("t", 0);
    for i in 0..30 {
        append(&log, "t", 0, &format!("{i:01000}")).await;
        if i % 10 == 9 {
            site.clean().await;
        }
    }
    while log.start(&part).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        site.clean().await;
    }
    let end = log.end(&part).await.unwrap();
    let (start, kept, first) = loop {
        let start = log.start(&part).await.unwrap();
        let gone = log.read(&part, start - 1, 1, MIB).await;
        assert!(matches!(gone, Err(Error::OutOfRange { offset, .. }) if offset == start - 1), "{gone:?}");
        let (kept, first) = (all(&log, &part).await, log.offset_at(&part, 0).await.unwrap());
        if log.start(&part).await.unwrap() == start {
            break (start, kept, first);
        }
        assert!(!S::WHOLE, "it moves only when it is cleaned");
    };
    assert!(kept.iter().all(|stored| (start..end).contains(&stored.offset)), "from {start} to {end}");
    assert_eq!(first, kept.first().map_or(end, |stored| stored.offset));
    // A member that has fallen behind is told, and goes on where it says.
    loop {
        match tail.poll().await {
            Ok(Polled::Records(..)) => {}
            Err(Error::OutOfRange { start: from, .. }) => {
                assert!(from == start || !S::WHOLE && from > start, "{from} and not {start}");
                tail.seek(&part, from);
            }
            Ok(Polled::End(_, told)) if told == end => break,
            // An end that was one while it was still appended to.
            Ok(Polled::End(_, told)) => assert!(!S::WHOLE && told < end, "the end is told at {told}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(values(&all(&log, &at("kept", 0)).await), ["kept"], "another topic is not concerned");
    let after = append(&log, "t", 0, "after").await;
    assert!(after >= end);
    // What is kept for longer from now on is not brought back, and nothing more goes.
    log.ensure("t", self::settings(1)).await.unwrap();
    let now = log.start(&part).await.unwrap();
    site.clean().await;
    if S::WHOLE {
        assert_eq!(log.start(&part).await.unwrap(), now);
        assert_eq!(values(&all(&log, &part).await).last().map(String::as_str), Some("after"));
    }
    // Brokers learn of it one after the other, and may have taken what was appended before.
    append(&log, "t", 0, "later").await;
    site.clean().await;
    assert_eq!(values(&all(&log, &part).await).last().map(String::as_str), Some("later"));
}

pub(crate) async fn generations_grow_and_offsets_outlive_their_members<J: Journal>(log: J) {
    log.ensure("t", settings(1)).await.unwrap();
    let mut last = 0;
    for round in 0..5 {
        let (mut tail, generation) = joined(&log, "g", &["t"]).await;
        assert!(generation > last);
        last = generation;
        tail.commit(vec![commit_of(at("t", 0), round, "x")]).await.unwrap();
        tail.leave().await;
        assert_eq!(log.committed("g", &[at("t", 0)]).await.unwrap()[0].offset, round);
    }
}

pub(crate) async fn metadata_is_bounded<J: Journal>(log: J) {
    log.ensure("t", settings(1)).await.unwrap();
    let (mut tail, _) = joined(&log, "g", &["t"]).await;
    let most = "x".repeat(MAX_METADATA);
    tail.commit(vec![commit_of(at("t", 0), 1, &most)]).await.unwrap();
    let over = tail.commit(vec![commit_of(at("t", 0), 2, &(most.clone() + "x"))]).await;
    assert!(matches!(over, Err(CommitError::Rejected(_))), "{over:?}");
    assert_eq!(log.committed("g", &[at("t", 0)]).await.unwrap(), [commit_of(at("t", 0), 1, &most)]);
}

pub(crate) async fn members_see_growth<J: Journal>(log: J) {
    log.ensure("t", settings(1)).await.unwrap();
    log.ensure("u", settings(1)).await.unwrap();
    let (mut tail, generation) = joined(&log, "g", &["t", "u"]).await;
    log.ensure("t", settings(3)).await.unwrap();
    log.ensure("u", settings(3)).await.unwrap();
    let mut owned = BTreeSet::from([0]);
    let mut current = generation;
    while owned.len() < 3 {
        match tail.poll().await.unwrap() {
            Polled::Assigned { generation, partitions } => {
                current = generation;
                owned.extend(partitions);
            }
            Polled::Revoked(partitions) | Polled::Lost(partitions) => {
                tail.release(&partitions);
                owned.retain(|owned| !partitions.contains(owned));
            }
            other => panic!("nothing was sought: {other:?}"),
        }
    }
    assert!(current >= generation);
    assert!(matches!(log.join("h", &["t".into(), "v".into()]).await, Err(Error::UnknownTopic(_))));
    log.ensure("v", settings(2)).await.unwrap();
    assert!(matches!(log.join("h", &["t".into(), "v".into()]).await, Err(Error::Settings { .. })));
}

pub(crate) async fn many_publishers_all_get_their_own_place<S: Site>(site: S) {
    let log = site.log();
    log.ensure("t", settings(4)).await.unwrap();
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..32 {
        let log = log.clone();
        publishers.spawn(async move {
            let mut mine = Vec::new();
            for i in 0..50 {
                let value = format!("{publisher}/{i}");
                mine.push((log.append("t", Place::ByKey, keyed(&value, &value)).await.unwrap(), value));
            }
            mine
        });
    }
    let acknowledged: Vec<_> = publishers.join_all().await.into_iter().flatten().collect();
    let places: BTreeSet<_> =
        acknowledged.iter().map(|(position, _)| (position.partition, position.offset)).collect();
    assert_eq!(places.len(), 1_600, "no place is given twice");
    if !S::WHOLE {
        // Brokers take their time with each read, so that each partition is read as a whole.
        let mut kept = BTreeMap::new();
        for partition in 0..4 {
            for stored in all(&log, &at("t", partition)).await {
                kept.insert((partition, stored.offset), values(&[stored]).remove(0));
            }
        }
        let mine = acknowledged.iter().map(|(at, value)| ((at.partition, at.offset), value.clone()));
        assert_eq!(kept, mine.collect());
        return;
    }
    for (position, value) in acknowledged {
        let slice = log.read(&at("t", position.partition), position.offset, 1, MIB).await.unwrap();
        assert_eq!(values(&slice.records), [value]);
    }
}
