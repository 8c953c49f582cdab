//! Files that are not as they should be, and files that cannot be made: what is lost is said, what is not is kept.

use std::os::unix::fs::MetadataExt;

use super::{
    super::{
        codec::Draft,
        frame::Chunks,
        manifest::Manifest,
        segment::{Name, Segment},
    },
    *,
};

const PART: Part = Part { topic: 1, partition: 0 };

fn keyed(key: &str, value: &str) -> Record {
    Record { key: Some(Bytes::copy_from_slice(key.as_bytes())), ..record(value) }
}

fn sealed(log: &Embedded) -> Vec<Arc<Segment>> {
    log.core().log().unwrap().sealed.clone()
}

fn active(log: &Embedded) -> Arc<Segment> {
    Arc::clone(&log.core().log().unwrap().active)
}

fn active_end(log: &Embedded) -> u32 {
    let entries = active(log).entries(PART, |_| false, usize::MAX).unwrap();
    entries.last().map_or(0, |last| last.at + last.len)
}

async fn append(log: &Embedded, value: &str) -> Result<Position, WriteError> {
    log.append("t", Place::Partition(0), record(value)).await
}

async fn values(log: &Embedded) -> Vec<Record> {
    let slice = log.read(&at(), 0, usize::MAX, usize::MAX).await.unwrap();
    slice.records.into_iter().map(|stored| stored.record).collect()
}

async fn tidy(log: &Embedded, tidy: request::Tidy) -> Result<(), Error> {
    log.core().ask(|reply| Request::Tidy { tidy, reply }).await.unwrap()
}

/// Waits until the log takes writes again.
async fn healed(log: &Embedded, value: &str) -> Position {
    let again = async {
        loop {
            match append(log, value).await {
                Ok(position) => return position,
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.expect("it never came back")
}

/// Has the files opened again.
async fn reopened(log: &Embedded) {
    log.core().planted.syncs.plant(1);
    assert!(matches!(append(log, "unknown").await, Err(WriteError::Unknown(_))));
    healed(log, "healed").await;
}

/// What the cleaner would make of a segment of which everything is kept.
fn copied(log: &Embedded, old: &Segment) -> Arc<Segment> {
    let name = Name { version: old.name.version + 1, ..old.name };
    let new = Segment::create(&log.core().dir, name, segment::HEADER).unwrap();
    let mut chunks = Chunks::new();
    for entry in old.entries(PART, |_| false, usize::MAX).unwrap() {
        for raw in codec::records(entry.base, &old.body(PART, &entry).unwrap()).map(Result::unwrap) {
            frame::add(chunks.entry(PART).or_default(), raw.offset, raw.timestamp, Draft::copied(&raw));
        }
    }
    let mut bytes = Vec::new();
    let entries = frame::encode(&mut bytes, new.salt, segment::HEADER, &[], &chunks);
    new.file.write_all_at(&bytes, segment::HEADER).unwrap();
    new.add(entries);
    new.seal(segment::HEADER + bytes.len() as u64).unwrap();
    Arc::new(new)
}

/// A log with one sealed segment, and what the cleaner has made of that.
async fn rewritten() -> (tempfile::TempDir, Embedded, Arc<Segment>, Arc<Segment>) {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    append(&log, "sealed").await.unwrap();
    tidy(&log, request::Tidy::Roll).await.unwrap();
    let old = sealed(&log).remove(0);
    let new = copied(&log, &old);
    (dir, log, old, new)
}

/// The files were opened again while the cleaner wrote: what it wrote is gone, so it must not take the place of anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_a_reopen_overtook_changes_nothing() {
    let (dir, log, old, new) = rewritten().await;
    reopened(&log).await;
    let swapped = tidy(&log, request::Tidy::Swap { old: vec![old], new: Some(new) }).await;
    assert!(matches!(swapped, Err(Error::Unavailable(_))), "{swapped:?}");
    append(&log, "goes on").await.expect("a swap that is refused stops nobody");
    drop(log);
    assert_eq!(opened(dir.path()).unwrap(), ["sealed", "healed", "goes on"].map(record));
}

/// Segments that another swap has replaced already, or that were never there.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_of_what_is_not_there_any_more_is_refused_and_leaves_no_file() {
    let (_dir, log, old, new) = rewritten().await;
    tidy(&log, request::Tidy::Swap { old: vec![Arc::clone(&old)], new: Some(Arc::clone(&new)) })
        .await
        .unwrap();
    assert!(!old.path.exists() && new.path.exists());
    let late = copied(&log, &new);
    assert!(tidy(&log, request::Tidy::Swap { old: vec![old], new: Some(Arc::clone(&late)) }).await.is_err());
    assert!(!late.path.exists(), "nobody would ever remove it");
    append(&log, "goes on").await.expect("a swap that is refused stops nobody");
    assert_eq!(values(&log).await, ["sealed", "goes on"].map(record));
}

/// What a publisher sent lies where an index' end would, and would have it begin anywhere.
#[tokio::test]
async fn an_event_cannot_pass_for_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    append(&log, "a").await.unwrap();
    let mut end = index::MAGIC.to_vec();
    end.extend([0xff; 24]);
    let forged = Record { value: Some(end.into()), ..Record::default() };
    log.append("t", Place::Partition(0), forged.clone()).await.unwrap();
    let segment = active(&log);
    let last = *segment.entries(PART, |_| false, 9).unwrap().last().unwrap();
    let (path, frames_end) = (segment.path.clone(), u64::from(last.at + last.len));
    drop((log, segment));
    // As it is after a kill between the frame and the file's new length.
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(frames_end).unwrap();
    assert_eq!(opened(dir.path()).unwrap(), [record("a"), forged]);
}

/// No bit of a sealed segment's index can hide an event: its lines are written anew from the frames.
#[tokio::test]
async fn a_damaged_line_of_an_index_hides_nothing_and_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    for i in 0..3 {
        append(&log, &format!("{i}")).await.unwrap();
    }
    tidy(&log, request::Tidy::Roll).await.unwrap();
    let segment = sealed(&log).remove(0);
    let whole = fs::read(&segment.path).unwrap();
    let lines = segment.sealed_at().unwrap() as usize..whole.len() - (index::SUMMARY + index::TRAILER);
    for at in lines.clone() {
        for bit in [0x01, 0x80] {
            segment.file.write_all_at(&[whole[at] ^ bit], at as u64).unwrap();
            assert_eq!(values(&log).await, ["0", "1", "2"].map(record), "byte {at} bit {bit}");
            assert!(fs::read(&segment.path).unwrap() == whole, "byte {at} bit {bit} is mended");
        }
    }
    // What cannot be mended because a frame is not whole either is said.
    segment.file.write_all_at(&[!whole[segment::HEADER as usize]], segment::HEADER).unwrap();
    segment.file.write_all_at(&[!whole[lines.start]], lines.start as u64).unwrap();
    assert!(matches!(log.read(&at(), 0, 9, 1 << 20).await, Err(Error::Damaged(_))));
}

/// What it is about, the newest segments, and what the log holds then if it opens.
type Case<'a> = (&'a str, &'a [&'a [u8]], Option<&'a [&'a str]>);

/// The newest segments as a kill leaves them between the steps of going on to the next one, and then damaged.
#[tokio::test(flavor = "multi_thread")]
async fn segments_that_no_manifest_lists_are_judged_by_what_follows_them() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    for value in ["a", "b"] {
        append(&log, value).await.unwrap();
    }
    let old_manifest = fs::read(log.core().dir.join("manifest")).unwrap();
    let unsealed = fs::read(active(&log).path.clone()).unwrap();
    tidy(&log, request::Tidy::Roll).await.unwrap();
    let first = sealed(&log).remove(0);
    let frames_end = first.sealed_at().unwrap() as usize;
    let (sealed, empty) = (fs::read(&first.path).unwrap(), fs::read(&active(&log).path).unwrap());
    append(&log, "c").await.unwrap();
    let next = fs::read(&active(&log).path).unwrap();
    let third = Segment::create(&log.core().dir, Name { id: 3, version: 0 }, 0).unwrap();
    let third = fs::read(third.path).unwrap();
    drop(log);

    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0x10;
        bytes
    };
    let (cut, torn) = (sealed[..frames_end].to_vec(), flipped(&unsealed, frames_end - 1));
    let not_begun = vec![0; 10];
    let (ab, abc) = (&["a", "b"][..], &["a", "b", "c"][..]);
    let cases: [Case<'_>; 12] = [
        ("as it was", &[&sealed, &next], Some(abc)),
        ("the next was made, this one not sealed", &[&unsealed, &empty], Some(ab)),
        ("the next was not even made, this one not sealed", &[&unsealed, &not_begun], Some(ab)),
        ("sealed, the next made", &[&sealed, &empty], Some(ab)),
        ("sealed, the next not even made", &[&sealed, &not_begun], Some(ab)),
        ("sealed, and no next", &[&sealed], Some(ab)),
        ("a torn last batch, the next made", &[&torn, &empty], Some(&["a"])),
        ("a sealed one's last batch is damaged", &[&flipped(&sealed, frames_end - 1), &empty], None),
        ("and it is the newest", &[&flipped(&sealed, frames_end - 1)], None),
        ("no index, but batches follow", &[&cut, &next], None),
        ("a damaged last batch and no index, but batches follow", &[&torn, &next], None),
        ("one in the middle is missing", &[&sealed, &[], &third], None),
    ];
    for (case, files, expected) in cases {
        fs::remove_dir_all(dir.path().join("log")).unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        fs::write(dir.path().join("log/manifest"), &old_manifest).unwrap();
        for (id, bytes) in (1..).zip(files).filter(|(_, bytes)| !bytes.is_empty()) {
            fs::write(dir.path().join("log").join(Name { id, version: 0 }.to_string()), bytes).unwrap();
        }
        match (opened(dir.path()), expected) {
            (Ok(found), Some(expected)) => {
                assert_eq!(found, expected.iter().map(|value| record(value)).collect::<Vec<_>>(), "{case}");
                // And once more, after what opening tidied up.
                assert_eq!(opened(dir.path()).unwrap(), found, "{case}");
            }
            (Err(OpenError::Unreadable { .. }), None) => {}
            (found, _) => panic!("{case}: {found:?}"),
        }
    }
}

/// Too few file descriptors, or no room: the segment that is written is written on.
#[tokio::test(flavor = "multi_thread")]
async fn a_next_segment_that_cannot_be_made_only_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options { segment_bytes: 2_000, ..Options::new(dir.path()) }).unwrap();
    log.ensure("t", settings()).await.unwrap();
    let in_the_way = log.core().dir.join(Name { id: 2, version: 0 }.to_string());
    fs::create_dir(&in_the_way).unwrap();
    let mut all = Vec::new();
    while active_end(&log) < 3_000 {
        all.push(record(&"x".repeat(500)));
        log.append("t", Place::Partition(0), all[all.len() - 1].clone()).await.expect("it only comes later");
    }
    assert!(tidy(&log, request::Tidy::Roll).await.is_err());
    assert_eq!(sealed(&log).len(), 0);
    fs::remove_dir(in_the_way).unwrap();
    all.push(record("after"));
    append(&log, "after").await.unwrap();
    while sealed(&log).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(values(&log).await, all);
    drop(log);
    assert_eq!(opened(dir.path()).unwrap(), all);
}

/// It is not put off for ever: what a start must read through and what memory keeps of it is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn a_segment_does_not_grow_without_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options { segment_bytes: 2_000, ..Options::new(dir.path()) }).unwrap();
    log.ensure("t", settings()).await.unwrap();
    log.core().planted.creates.plant(u32::MAX);
    let mut accepted = 0;
    // Long enough for the files to be opened again, which alone must not let it grow on.
    let until = std::time::Instant::now() + Duration::from_millis(300);
    while std::time::Instant::now() < until {
        match append(&log, &"x".repeat(500)).await {
            Ok(_) => accepted += 1,
            Err(WriteError::Rejected(Refusal::Unavailable(_))) => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(active_end(&log) < 3 * 2_000, "it grows and grows: {accepted} events");
    log.core().planted.creates.plant(0);
    healed(&log, "healed").await;
    assert_eq!(values(&log).await.len(), accepted + 1);
    assert!(!sealed(&log).is_empty(), "it goes on in the next one");
}

/// Nor does a manifest that cannot be written stop anybody: what it does not say, the segments say.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_new_manifest_the_old_one_counts() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    let in_the_way = log.core().dir.join("manifest.new");
    fs::create_dir(&in_the_way).unwrap();
    for value in ["a", "b"] {
        append(&log, value).await.unwrap();
        tidy(&log, request::Tidy::Roll).await.unwrap();
    }
    let old = sealed(&log).remove(0);
    let new = copied(&log, &old);
    let swapped =
        tidy(&log, request::Tidy::Swap { old: vec![Arc::clone(&old)], new: Some(Arc::clone(&new)) }).await;
    assert!(matches!(swapped, Err(Error::Unavailable(_))), "{swapped:?}");
    assert!(old.path.exists() && !new.path.exists());
    append(&log, "c").await.expect("nobody is stopped");
    assert_eq!(values(&log).await, ["a", "b", "c"].map(record));
    reopened(&log).await;
    assert_eq!(sealed(&log).len(), 2);
    // The next one that can be written says it all.
    fs::remove_dir(in_the_way).unwrap();
    tidy(&log, request::Tidy::Roll).await.unwrap();
    assert_eq!(Manifest::read(&log.core().dir).unwrap().unwrap().sealed.len(), 3);
    drop(log);
    assert_eq!(opened(dir.path()).unwrap(), ["a", "b", "c", "healed"].map(record));
}

/// Opening the files again opens only what is not open already.
#[tokio::test(flavor = "multi_thread")]
async fn a_reopen_takes_over_the_files_that_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    for value in ["a", "b"] {
        append(&log, value).await.unwrap();
        tidy(&log, request::Tidy::Roll).await.unwrap();
    }
    let before = sealed(&log);
    // One of them is not the file any more that has its name.
    let bytes = fs::read(&before[1].path).unwrap();
    fs::remove_file(&before[1].path).unwrap();
    fs::write(&before[1].path, bytes).unwrap();
    reopened(&log).await;
    let after = sealed(&log);
    assert!(Arc::ptr_eq(&before[0], &after[0]));
    assert!(!Arc::ptr_eq(&before[1], &after[1]));
    assert_eq!(fs::metadata(&after[1].path).unwrap().ino(), after[1].file.metadata().unwrap().ino());
    assert_eq!(values(&log).await, ["a", "b", "healed"].map(record));
}

/// A write that fails may have written everything all the same: what is refused is gone before that is said, whatever
/// happens then.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_taken_back_first() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", settings()).await.unwrap();
    append(&log, "before").await.unwrap();
    let path = active(&log).path.clone();
    let is_there =
        |value: &str| fs::read(&path).unwrap().windows(value.len()).any(|it| it == value.as_bytes());
    log.core().planted.writes.plant(1);
    let refused = append(&log, "to be taken back").await;
    assert!(!is_there("to be taken back") && is_there("before"));
    assert!(matches!(refused, Err(WriteError::Rejected(Refusal::Unavailable(_)))), "{refused:?}");
    healed(&log, "healed").await;
    assert_eq!(values(&log).await, ["before", "healed"].map(record));

    // What cannot be taken back may come to light.
    log.core().planted.cuts.plant(1);
    log.core().planted.writes.plant(1);
    let unknown = append(&log, "not taken back").await;
    assert!(matches!(unknown, Err(WriteError::Unknown(_))), "{unknown:?}");
    healed(&log, "healed").await;
    assert_eq!(values(&log).await, ["before", "healed", "healed"].map(record));
}

/// One chunk that is damaged keeps its own records from being tidied up, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_chunk_does_not_stop_the_cleaning_of_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    let compacted = TopicSettings { compacted: true, ..settings() };
    for (topic, settings) in [("t", compacted), ("between", settings()), ("u", compacted)] {
        log.ensure(topic, settings).await.unwrap();
        for i in 0..5 {
            log.append(topic, Place::Partition(0), keyed("k", &format!("{i}"))).await.unwrap();
        }
        tidy(&log, request::Tidy::Roll).await.unwrap();
    }
    let segment = sealed(&log).remove(0);
    let entry = segment.entries(PART, |_| false, 1).unwrap().remove(0);
    segment.file.write_all_at(b"x", u64::from(entry.at) + 20).unwrap();
    let files = || fs::read_dir(dir.path().join("log")).unwrap().count();
    let before = files();
    assert!(matches!(log.clean().await, Err(Error::Damaged(_))), "it is said");
    let u = TopicPartition { topic: "u".into(), partition: 0 };
    let left = log.read(&u, 0, 99, 1 << 20).await.unwrap().records;
    assert_eq!(left.into_iter().map(|stored| stored.record).collect::<Vec<_>>(), [keyed("k", "4")]);
    assert_eq!(log.read(&at(), 1, 99, 1 << 20).await.unwrap().records.len(), 4, "what is whole is readable");
    assert_eq!(files(), before, "nothing half-made is left");
}

/// Nor does it keep a member from what else it owns.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_partition_does_not_hold_up_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    log.ensure("t", TopicSettings { partitions: 2, ..settings() }).await.unwrap();
    for partition in 0..2 {
        log.append("t", Place::Partition(partition), record("a")).await.unwrap();
    }
    let entry = active(&log).entries(PART, |_| false, 1).unwrap().remove(0);
    active(&log).file.write_all_at(b"x", u64::from(entry.at) + 3).unwrap();
    let mut tail = log.join("g", &["t".into()]).await.unwrap();
    assert!(matches!(tail.poll().await.unwrap(), Polled::Assigned { .. }));
    for partition in 0..2 {
        tail.seek(&TopicPartition { topic: "t".into(), partition }, 0);
    }
    assert!(matches!(tail.poll().await, Err(Error::Damaged(_))));
    let polled = tail.poll().await.unwrap();
    assert!(matches!(&polled, Polled::Records(at, _) if at.partition == 1), "{polled:?}");
    assert!(matches!(tail.poll().await, Err(Error::Damaged(_))), "and it is said again");
}
