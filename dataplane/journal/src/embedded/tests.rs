//! What only the inside can show: files of another format, bytes that are not what was written, syncs that fail.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;

use super::{frame, groups::Said, notes::Image, *};
use crate::{Polled, Producer, Tail, TransactError, Transaction};

pub(super) mod planted;
mod trouble;

fn settings() -> TopicSettings {
    TopicSettings { partitions: 1, max_record_bytes: 1 << 20, ..TopicSettings::default() }
}

fn at() -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: 0 }
}

fn record(value: &str) -> Record {
    Record { value: Some(Bytes::copy_from_slice(value.as_bytes())), ..Record::default() }
}

#[test]
fn another_format_is_refused() {
    // What the versions before this one left, and what one after it may.
    for (file, content, found) in
        [("keyspaces", &b""[..], 1), ("0.jnl", b"", 1), ("manifest", b"evhubman\0\0\0\x03", 3)]
    {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        fs::write(dir.path().join("log").join(file), content).unwrap();
        let error = Embedded::open(Options::new(dir.path())).unwrap_err();
        assert!(matches!(error, OpenError::Format { found: it, .. } if it == found), "{error:?}");
        let said = format!(
            "log format {found}, this version reads 2: run the version that wrote it, or choose another"
        );
        assert!(error.to_string().contains(&said), "{error}");
    }
}

#[test]
fn a_folder_that_lost_its_manifest_or_a_segment_is_not_taken_for_an_empty_one() {
    for lost in ["manifest", ".0.log"] {
        let dir = tempfile::tempdir().unwrap();
        let log = Embedded::open(Options::new(dir.path())).unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            log.ensure("t", settings()).await.unwrap();
            log.append("t", Place::ByKey, record("a")).await.unwrap();
            log.clean().await.unwrap();
        });
        drop(log);
        let files = fs::read_dir(dir.path().join("log")).unwrap().map(|entry| entry.unwrap().path());
        let first = files.filter(|path| path.to_string_lossy().ends_with(lost)).min().unwrap();
        fs::remove_file(first).unwrap();
        let opened = Embedded::open(Options::new(dir.path()));
        assert!(matches!(opened, Err(OpenError::Unreadable { .. })), "{lost}: {opened:?}");
    }
}

#[tokio::test]
async fn a_record_that_is_not_what_was_written_is_never_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    for value in ["a", "b"] {
        log.append("t", Place::Partition(0), record(&value.repeat(40 << 10))).await.unwrap();
    }
    let segment = Arc::clone(&log.core().log().unwrap().active);
    let part = Part { topic: 1, partition: 0 };
    let entries = segment.entries(part, |_| false, 9).unwrap();
    let bytes = segment.body(part, &entries[1]).unwrap();
    // The second record's bytes turn up in the place of the first: whole, but not what was written there.
    segment.file.write_all_at(&bytes, entries[0].at.into()).unwrap();
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
    assert!(matches!(log.core().registry.reset(&Image::default()), Err(Error::Damaged(_))));
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
    let note = notes::Note::Topic("t".into(), notes::TopicNote { id: 1, settings: settings() });
    let mut image = Image::default();
    image.apply(note.clone());
    log.core().registry.publish(&image, std::iter::empty(), &[note], vec![]);
    let joining = tokio::spawn({
        let log = log.clone();
        async move { log.join("g", &["t".into()]).await }
    });
    while log.waiting() == Some((0, 0)) {
        tokio::task::yield_now().await;
    }
    // As the writer would have answered.
    let seat = log.core().registry.seat();
    log.core().registry.tell(vec![(seat.id, Said::Assigned { generation: 1, partitions: vec![0] })]);
    let mut tail = EmbeddedTail::new(log.clone(), "g", seat, vec!["t".into()]);
    assert!(matches!(tail.poll().await.unwrap(), Polled::Assigned { .. }));
    let polling = tokio::spawn(async move { tail.poll().await });
    let queued = log.append("t", Place::Partition(0), record("a"));
    let making = log.ensure("u", settings());
    fail.send(()).unwrap();
    let (queued, made, (), polled) = tokio::join!(queued, making, log.ended(), polling);
    assert!(matches!(queued, Err(WriteError::Unknown(_))), "{queued:?}");
    assert!(matches!(made, Err(Error::Unavailable(_))), "{made:?}");
    assert!(matches!(polled.unwrap(), Err(Error::Unavailable(_))));
    assert!(matches!(joining.await.unwrap(), Err(Error::Unavailable(_))));
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

/// Nobody knows whether what a failed sync covered is durable; what comes after is.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_is_unknown_and_the_log_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    log.append("t", Place::Partition(0), record("before")).await.unwrap();
    let mut tail = log.join("g", &["t".into()]).await.unwrap();
    assert!(matches!(tail.poll().await.unwrap(), Polled::Assigned { .. }));
    let mut producer = log.producer("p").await.unwrap();
    for round in 0..3 {
        log.core().planted.syncs.plant(1);
        if round < 2 {
            let unknown = log.append("t", Place::Partition(0), record("unknown")).await;
            assert!(matches!(unknown, Err(WriteError::Unknown(_))), "{unknown:?}");
        } else {
            let records = vec![("t".into(), Place::Partition(0), record("unknown"))];
            let unknown = producer.commit(Transaction { records, offsets: None }).await;
            assert!(matches!(unknown, Err(TransactError::Unknown(_))), "{unknown:?}");
        }
        assert_eq!(
            log.read(&at(), 0, 1, 1).await.unwrap().records[0].record,
            record("before"),
            "reading goes on"
        );
        let healed = async {
            loop {
                match log.append("t", Place::Partition(0), record("healed")).await {
                    Ok(position) => return position,
                    Err(WriteError::Rejected(Refusal::Unavailable(_))) => {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), healed).await.expect("it never came back");
    }
    let values = |slice: Slice| slice.records.into_iter().map(|stored| stored.record).collect::<Vec<_>>();
    let expected: Vec<_> = ["before", "healed", "healed", "healed"].map(record).into();
    assert_eq!(values(log.read(&at(), 0, 99, 1 << 20).await.unwrap()), expected);
    // The member was not concerned.
    tail.commit(vec![]).await.unwrap();
    drop((log, tail, producer));
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    assert_eq!(values(log.read(&at(), 0, 99, 1 << 20).await.unwrap()), expected);
}

/// A generation that may not be durable is nobody's: its members join anew, and get one that is newer.
#[tokio::test(flavor = "multi_thread")]
async fn a_join_whose_sync_fails_has_everybody_join_anew() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    log.core().planted.syncs.plant(1);
    assert!(matches!(log.join("g", &["t".into()]).await, Err(Error::Unavailable(_))));
    let joined = async {
        loop {
            match log.join("g", &["t".into()]).await {
                Ok(tail) => return tail,
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    let mut tail = tokio::time::timeout(Duration::from_secs(30), joined).await.expect("it never came back");
    assert!(matches!(tail.poll().await.unwrap(), Polled::Assigned { partitions, .. } if partitions == [0]));
    tail.commit(vec![]).await.unwrap();
}

/// A log with three frames, as a kill leaves it; and where each frame begins and ends.
async fn three_frames(dir: &Path) -> (PathBuf, Vec<u8>, [u64; 4]) {
    let log = Embedded::open(Options { segment_bytes: 64 << 10, ..Options::new(dir) }).unwrap();
    log.ensure("t", settings()).await.unwrap();
    let segment = Arc::clone(&log.core().log().unwrap().active);
    let part = Part { topic: 1, partition: 0 };
    let mut ends = [0; 4];
    for index in 0..3 {
        log.append("t", Place::Partition(0), record(&format!("{index}"))).await.unwrap();
        let entries = segment.entries(part, |_| false, 9).unwrap();
        let last = entries.last().unwrap();
        ends[index + 1] = u64::from(last.at + last.len);
        ends[index] = ends[index].max(u64::from(last.at) - 24 - 48);
    }
    // While it is open, so that nothing is tidied up.
    let bytes = fs::read(&segment.path).unwrap();
    (segment.path.clone(), bytes, ends)
}

fn opened(dir: &Path) -> Result<Vec<Record>, OpenError> {
    let log = Embedded::open(Options { segment_bytes: 64 << 10, ..Options::new(dir) })?;
    let slice = log.read_now(&at(), 0, 999, 1 << 20).unwrap();
    Ok(slice.records.into_iter().map(|stored| stored.record).collect())
}

/// Whatever is left of the last frame, the log opens with those before it; whatever is wrong with one before, it does not
/// open as if nothing were.
#[tokio::test]
async fn a_torn_tail_is_cut_off_at_every_byte_and_a_damaged_middle_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, whole, ends) = three_frames(dir.path()).await;
    let all: Vec<_> = ["0", "1", "2"].map(record).into();
    fs::write(&path, &whole).unwrap();
    assert_eq!(opened(dir.path()).unwrap(), all);
    for at in ends[2]..ends[3] {
        let at = at as usize;
        for kind in ["cut", "flipped", "hole"] {
            let mut bytes = whole.clone();
            match kind {
                "cut" => bytes.truncate(at),
                "flipped" => bytes[at] ^= 0x10,
                _ => bytes[at.max(ends[2] as usize)..ends[3] as usize].fill(0),
            }
            if bytes == whole {
                continue;
            }
            fs::write(&path, &bytes).unwrap();
            assert_eq!(opened(dir.path()).unwrap(), all[..2], "{kind} at {at}");
        }
    }
    for at in ends[0]..ends[2] {
        let mut bytes = whole.clone();
        bytes[at as usize] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let error = opened(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::Unreadable { .. }), "at {at}: {error:?}");
        assert!(chain(&error).contains("restore the folder from a copy"), "{}", chain(&error));
    }
    // After all that was refused, what was whole still is.
    fs::write(&path, &whole).unwrap();
    assert_eq!(opened(dir.path()).unwrap(), all);
}

/// An event may hold what looks like a frame; behind a torn one it is still none.
#[tokio::test]
async fn an_event_cannot_pass_for_a_frame() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    let mut forged = Vec::new();
    frame::encode(&mut forged, 0, 0, &[], &frame::Chunks::new());
    let body = Record { value: Some(forged.repeat(100).into()), ..Record::default() };
    log.append("t", Place::Partition(0), record("a")).await.unwrap();
    log.append("t", Place::Partition(0), body).await.unwrap();
    let segment = Arc::clone(&log.core().log().unwrap().active);
    let last = *segment.entries(Part { topic: 1, partition: 0 }, |_| false, 9).unwrap().last().unwrap();
    segment.file.write_all_at(b"x", u64::from(last.at) + 3).unwrap();
    drop((log, segment));
    assert_eq!(opened(dir.path()).unwrap(), [record("a")]);
}

/// The lines of an index that is lost are found again.
#[tokio::test]
async fn a_damaged_index_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    for i in 0..100 {
        log.append("t", Place::Partition(0), record(&format!("{i}"))).await.unwrap();
    }
    log.clean().await.unwrap();
    let sealed = log.core().log().unwrap().sealed[0].path.clone();
    drop(log);
    let whole = fs::read(&sealed).unwrap();
    for cut in [1, 20, 80] {
        fs::write(&sealed, &whole[..whole.len() - cut]).unwrap();
        assert_eq!(opened(dir.path()).unwrap().len(), 100);
    }
    assert_eq!(fs::read(&sealed).unwrap(), whole);
}

/// Killed between any two steps of a pass, the log opens with what it held: the new file without the manifest that lists
/// it, and the old ones that the manifest does not list any more.
#[tokio::test]
async fn a_pass_may_end_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", TopicSettings { compacted: true, ..settings() }).await.unwrap();
    let keyed = |key: &str, value: &str| Record { key: Some(key.to_owned().into()), ..record(value) };
    for i in 0..50 {
        log.append("t", Place::Partition(0), keyed(&format!("{}", i % 5), &format!("{i}"))).await.unwrap();
    }
    log.core().ask(|reply| Request::Tidy { tidy: request::Tidy::Roll, reply }).await.unwrap().unwrap();
    let files = |dir: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let before = files(dir.path());
    log.clean().await.unwrap();
    let after = files(dir.path());
    drop(log);
    let newest: Vec<_> = (45..50).map(|i| keyed(&format!("{}", i % 5), &format!("{i}"))).collect();
    assert_eq!(opened(dir.path()).unwrap(), newest);
    let put = |files: &BTreeMap<PathBuf, Vec<u8>>| {
        let _ = fs::remove_dir_all(dir.path().join("log"));
        fs::create_dir(dir.path().join("log")).unwrap();
        for (path, bytes) in files {
            fs::write(path, bytes).unwrap();
        }
    };
    let manifest = dir.path().join("log/manifest");
    let both = || after.clone().into_iter().chain(before.clone());
    // The new files are there, whole or half written, and the old manifest counts.
    let mut early: BTreeMap<_, _> = both().collect();
    put(&early);
    assert_eq!(opened(dir.path()).unwrap().len(), 50);
    early
        .iter_mut()
        .filter(|(path, _)| !before.contains_key(*path))
        .for_each(|(_, bytes)| bytes.truncate(50));
    put(&early);
    assert_eq!(opened(dir.path()).unwrap().len(), 50);
    // The new manifest counts, and the old files are still there.
    let mut late: BTreeMap<_, _> = both().collect();
    late.insert(manifest.clone(), after[&manifest].clone());
    put(&late);
    assert_eq!(opened(dir.path()).unwrap(), newest);
}
