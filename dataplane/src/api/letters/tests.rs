//! How far one look goes, and how much is remembered.

use evhub_dispatch::dead::Reason;
use evhub_journal::{Embedded, Place, TopicSettings, embedded::Options};

use super::*;

const UID: &str = "uid";

fn story(offset: u64) -> DeadLetter {
    DeadLetter {
        topic: "t".to_owned(),
        partition: 0,
        offset,
        processor_uid: UID.to_owned(),
        generation: 1,
        reason: Reason::MaxAttempts,
        attempts: 1,
        first_attempt: None,
        last_attempt: None,
        causes: Vec::new(),
    }
}

#[tokio::test]
async fn a_look_reads_so_much_and_the_next_one_goes_on() {
    const LETTERS: u64 = 40;
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    let settings = TopicSettings { partitions: 1, max_record_bytes: 1 << 20, ..TopicSettings::default() };
    log.ensure("dead", settings).await.unwrap();
    // Each third comes twice.
    for offset in (0..LETTERS).chain((0..LETTERS).step_by(3)) {
        let event = Record { value: Some(vec![0; 20 << 10].into()), ..Record::default() };
        log.append("dead", Place::Partition(0), story(offset).encode(event)).await.unwrap();
    }
    let mut index = Index::new(UID);
    let (mut found, mut after, mut looks) = (Vec::new(), Some(0), 0);
    while let Some(from) = after {
        let known = index.end;
        index.catch_up(&log, "dead", &mut Look(100 << 10), 1000).await.unwrap();
        assert!((1..=8).contains(&(index.end - known)) || index.is_whole(), "{known} to {}", index.end);
        assert_eq!(index.count().is_some(), index.is_whole());
        let (letters, next) = index.page(&log, "dead", from, 1000).await.unwrap();
        assert!(letters.iter().all(|letter| letter.at < index.end));
        found.extend(letters.into_iter().map(|letter| letter.story.offset));
        (after, looks) = (next, looks + 1);
    }
    assert_eq!(found, (0..LETTERS).collect::<Vec<_>>(), "each once");
    assert_eq!(index.count(), Some(LETTERS));
    assert!(looks > 8, "{looks} looks");
}

#[tokio::test]
async fn beyond_what_is_known_nothing_is_said_yet() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    let settings = TopicSettings { partitions: 1, max_record_bytes: 1 << 20, ..TopicSettings::default() };
    log.ensure("dead", settings).await.unwrap();
    for offset in 0..3 {
        log.append("dead", Place::Partition(0), story(offset).encode(Record::default())).await.unwrap();
    }
    let mut index = Index::new(UID);
    index.catch_up(&log, "dead", &mut Look(1), 1000).await.unwrap();
    assert!(!index.is_whole() && index.find(&story(2).id()).is_none());
    let (letters, next) = index.page(&log, "dead", 2, 10).await.unwrap();
    assert!(letters.is_empty());
    assert_eq!(next, Some(2), "it is asked for again");
    index.catch_up(&log, "dead", &mut Look(1 << 20), 1000).await.unwrap();
    let (letters, next) = index.page(&log, "dead", 2, 10).await.unwrap();
    assert_eq!((letters.len(), next, index.find(&story(2).id())), (1, None, Some(2)));
}

/// Indices of six dead letters each, asked for in this order.
fn indices(letters: &Letters, topics: &[&str]) {
    let mut shelves = letters.lock();
    for (asked, topic) in (0..).zip(topics) {
        let first = (0..6).map(|offset| (story(offset).id(), offset)).collect();
        let index = Arc::new(tokio::sync::Mutex::new(Index { first, ..Index::new(topic) }));
        let shelf = Shelf { index, asked, holds: Arc::new(6.into()), ..Shelf::default() };
        shelves.all.insert((*topic).to_owned(), shelf);
    }
}

#[test]
fn what_was_asked_for_longest_ago_is_forgotten_first() {
    for (remembered, in_use, kept) in [
        (18, "", &["a", "b", "c"][..]),
        (17, "", &["b", "c"]),
        (6, "", &["c"]),
        (1, "", &["c"]),
        (12, "a", &["a", "c"]),
    ] {
        let letters = Letters { remembered, ..Letters::default() };
        indices(&letters, &["a", "b", "c"]);
        let used = letters.lock().all.get(in_use).map(|shelf| Arc::clone(&shelf.index));
        let _used = used.as_ref().map(|index| index.try_lock().unwrap());
        letters.forget_beyond("c");
        let mut found: Vec<String> = Vec::new();
        for (topic, shelf) in &letters.lock().all {
            assert!(
                topic == in_use || shelf.index.try_lock().unwrap().first.len() == shelf.holds.load(Relaxed)
            );
            found.extend((shelf.holds.load(Relaxed) > 0).then(|| topic.clone()));
        }
        found.sort();
        assert_eq!(found, kept, "{remembered} remembered, {in_use:?} in use");
    }
}
