//! What only the inside can show: files of another format, records that are not what was written, engines that fail.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;

use super::{
    codec::{LogKey, NoteKey, encode_number},
    store::{Store, Writes},
    *,
};
use crate::{Polled, Tail};

const MEMTABLE: u64 = 1 << 20;

fn settings() -> TopicSettings {
    TopicSettings { partitions: 1, max_record_bytes: 1 << 20, compacted: false, reserved: false }
}

fn at() -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: 0 }
}

fn record(value: &str) -> Record {
    Record { value: Some(Bytes::copy_from_slice(value.as_bytes())), ..Record::default() }
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), MEMTABLE).unwrap();
    let mut writes = Writes::default();
    writes.notes.insert(NoteKey::Format.encode(), encode_number(2));
    store.commit(writes).unwrap();
    drop(store);
    let error = Embedded::open(Options::new(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::Format { found: 2, .. }), "{error:?}");
    assert!(error.to_string().contains("log format 2, this version reads 1"), "{error}");
}

#[test]
fn a_half_made_folder_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    // What is left when the first start is killed: the engine's files without the marker it writes last.
    fs::create_dir_all(dir.path().join("log.new")).unwrap();
    fs::write(dir.path().join("log.new/0.jnl"), b"").unwrap();
    Embedded::open(Options::new(dir.path())).unwrap();
    assert!(!dir.path().join("log.new").exists());
}

#[tokio::test]
async fn a_record_that_is_not_what_was_written_is_never_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    log.append("t", Place::Partition(0), record("a")).await.unwrap();
    log.append("t", Place::Partition(0), record("b")).await.unwrap();
    let id = log.core().registry.topic("t").unwrap().id;
    let key = |offset| LogKey { topic: id, partition: 0, offset };
    // The second record's bytes turn up in the place of the first: whole, but not what was written there.
    let moved = codec::Draft::new(&record("b")).seal(key(1), 0);
    let writes = Writes { records: vec![(key(0), moved)], ..Writes::default() };
    log.core().commit(writes).unwrap();
    assert!(matches!(log.read(&at(), 0, 9, 1 << 20).await, Err(Error::Damaged(_))));
    assert_eq!(log.read(&at(), 1, 9, 1 << 20).await.unwrap().records.len(), 1);
    let mut tail = log.join("g", &["t".into()]).await.unwrap();
    assert!(matches!(tail.poll().await.unwrap(), Polled::Assigned { .. }));
    tail.seek(&at(), 0);
    assert!(matches!(tail.poll().await, Err(Error::Damaged(_))));
}

#[tokio::test]
async fn acknowledged_records_that_are_gone_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    log.append("t", Place::Partition(0), record("a")).await.unwrap();
    let empty = store::Image::default();
    assert!(matches!(log.core().registry.publish(&empty), Err(Error::Damaged(_))));
}

#[tokio::test]
async fn a_flood_is_shed_at_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_waiting: 4, ..Options::new(dir.path()) };
    let log = Embedded::open(options).unwrap();
    log.ensure("t", settings()).await.unwrap();
    // Far more than the writer can take up between two calls.
    let answers: Vec<_> =
        (0..10_000).map(|i: u32| log.append("t", Place::Partition(0), record(&i.to_string()))).collect();
    let (mut accepted, mut busy) = (0, 0);
    for answer in answers {
        match answer.await {
            Ok(_) => accepted += 1,
            Err(WriteError::Rejected(Refusal::Busy)) => busy += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(accepted > 0 && busy > 0, "{accepted} accepted, {busy} refused");
    assert_eq!(log.end(&at()).await.unwrap(), accepted);
}

/// A defect in the writer must not leave anybody waiting, nor look like a log that works.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_fails_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (fail, told) = std::sync::mpsc::channel();
    let log = Embedded::start(Options::new(dir.path()), move |_writer| {
        told.recv().unwrap();
        panic!("planted");
    })
    .unwrap();
    let tips = [store::Tip::default()];
    log.core().registry.publish_topic("t", codec::TopicNote { id: 1, settings: settings() }, &tips);
    let group = log.core().registry.group("g");
    let mut tail = EmbeddedTail::new(log.clone(), "g", group, 0, vec!["t".into()], Arc::default());
    log.core().registry.topic("t").unwrap().listeners.add(tail.wake());
    assert!(matches!(tail.poll().await.unwrap(), Polled::Assigned { .. }));
    let polling = tokio::spawn(async move { tail.poll().await });
    let queued = log.append("t", Place::Partition(0), record("a"));
    let making = log.ensure("u", settings());
    fail.send(()).unwrap();
    let (queued, made, (), polled) = tokio::join!(queued, making, log.ended(), polling);
    assert!(matches!(queued, Err(WriteError::Unknown(_))), "{queued:?}");
    assert!(matches!(made, Err(Error::Unavailable(_))), "{made:?}");
    assert!(matches!(polled.unwrap(), Err(Error::Unavailable(_))));
    let later = log.append("t", Place::Partition(0), record("b")).await;
    assert!(matches!(later, Err(WriteError::Rejected(Refusal::Unavailable(_)))), "{later:?}");
    assert_eq!(log.waiting(), Some((0, 0)));
}

#[tokio::test]
async fn reads_one_after_the_other_let_others_work() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    log.append("t", Place::Partition(0), record("a")).await.unwrap();
    let other = tokio::spawn(async {});
    log.read(&at(), 0, 1, 1).await.unwrap();
    assert!(other.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_everything() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    let mut tail = log.join("g", &["t".into()]).await.unwrap();
    let mut late = log.join("h", &["t".into()]).await.unwrap();
    assert!(matches!(tail.poll().await.unwrap(), Polled::Assigned { .. }));
    let waiting = tokio::spawn(async move { tail.poll().await });
    let queued = log.append("t", Place::Partition(0), record("queued before"));
    let closing = log.clone();
    tokio::task::spawn_blocking(move || closing.close()).await.unwrap();
    queued.await.expect("what waits is still written");
    assert!(matches!(waiting.await.unwrap(), Err(Error::Unavailable(_))));
    let refused = log.append("t", Place::Partition(0), record("x")).await;
    assert!(matches!(refused, Err(WriteError::Rejected(Refusal::Unavailable(_)))), "{refused:?}");
    assert!(matches!(late.commit(vec![]).await, Err(CommitError::Rejected(_))));
    assert!(matches!(log.join("g", &["t".into()]).await, Err(Error::Unavailable(_))));
    assert!(matches!(log.read(&at(), 0, 1, 1).await, Err(Error::Unavailable(_))));
    let again = Embedded::open(Options::new(dir.path()));
    assert!(matches!(again, Err(OpenError::InUse { .. })), "handles still hold the folder");
    drop((log, late));
    let again = Embedded::open(Options::new(dir.path())).unwrap();
    assert_eq!(again.end(&at()).await.unwrap(), 1);
}

/// The engine gives up in the background: a panic in one of its threads, or a flush that fails.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_failed_in_the_background_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options { reserve_bytes: 0, ..Options::new(dir.path()) }).unwrap();
    log.ensure("t", settings()).await.unwrap();
    let tables = fs::read_dir(dir.path().join("log/keyspaces")).unwrap();
    let folders: Vec<_> = tables.map(|entry| entry.unwrap().path()).collect();
    for folder in &folders {
        // Where the engine would put what it flushes: it cannot.
        for inner in ["tables", "blobs"] {
            let inner = folder.join(inner);
            if inner.exists() {
                fs::rename(&inner, inner.with_extension("away")).unwrap();
            }
        }
    }
    let value = "x".repeat(64 << 10);
    let mut acknowledged = Vec::new();
    let mut failed = 0;
    for i in 0..200 {
        match log.append("t", Place::Partition(0), record(&format!("{i} {value}"))).await {
            Ok(position) => acknowledged.push((i, position.offset)),
            Err(_) => failed += 1,
        }
    }
    assert!(failed > 0, "the engine never failed");
    for folder in &folders {
        for inner in ["tables", "blobs"] {
            let inner = folder.join(inner);
            if inner.with_extension("away").exists() {
                let _ = fs::remove_dir_all(&inner);
                fs::rename(inner.with_extension("away"), &inner).unwrap();
            }
        }
    }
    let healed = async {
        loop {
            match log.append("t", Place::Partition(0), record("healed")).await {
                Ok(position) => return position,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), healed).await.expect("it never came back");
    for (i, offset) in acknowledged {
        let slice = log.read(&at(), offset, 1, 1).await.unwrap();
        assert_eq!(slice.records[0].record, record(&format!("{i} {value}")));
    }
}

/// The folder of a log with these records as a power cut would leave it: copied while it is open, so that nothing is
/// tidied up, and with a hole in the bytes where `mark` first lies.
async fn power_cut(dir: &Path, records: &[Record], mark: &[u8]) -> PathBuf {
    let log = Embedded::open(Options::new(dir.join("a"))).unwrap();
    log.ensure("t", settings()).await.unwrap();
    for record in records {
        log.append("t", Place::Partition(0), record.clone()).await.unwrap();
    }
    let copied = Command::new("cp").arg("-r").arg(dir.join("a")).arg(dir.join("b")).status();
    assert!(copied.unwrap().success());
    let path = dir.join("b/log/0.jnl");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap();
    bytes[at + 8_192..at + 12_288].fill(0);
    fs::write(&path, bytes).unwrap();
    dir.join("b")
}

/// A power cut may leave the last, never acknowledged batch with a hole: its later blocks reached the disk, an earlier
/// one did not.
#[tokio::test]
async fn a_torn_last_batch_does_not_keep_the_log_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let records = [record("whole"), record(&"torn".repeat(10_000))];
    let cut = power_cut(dir.path(), &records, b"torntorn").await;
    for after in 1..4 {
        let log = Embedded::open(Options::new(&cut)).unwrap();
        let slice = log.read(&at(), 0, 9, 1 << 20).await.unwrap();
        assert_eq!((slice.records.len(), &slice.records[0].record), (after, &records[0]));
        log.append("t", Place::Partition(0), record("after")).await.unwrap();
    }
}

/// The same hole in a batch that has another behind it is real damage, and is not passed over in silence.
#[tokio::test]
async fn a_damaged_batch_in_the_middle_is_not_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let records = [record(&"hole".repeat(10_000)), record("acknowledged")];
    let cut = power_cut(dir.path(), &records, b"holehole").await;
    let opened = Embedded::open(Options::new(&cut));
    assert!(matches!(opened, Err(OpenError::Unreadable { .. })), "{opened:?}");
}
