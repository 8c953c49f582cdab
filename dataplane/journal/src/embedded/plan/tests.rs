//! What one group commit decides, without an engine.

use bytes::Bytes;
use evhub_event::Record;

use super::*;

const ROOMY: Space = Space { free: u64::MAX, reserve: 0 };

fn settings(partitions: u32) -> TopicSettings {
    TopicSettings { partitions, max_record_bytes: 1 << 20, compacted: false, reserved: false }
}

fn image() -> Image {
    let mut image = Image::default();
    image.topics.insert("t".into(), TopicNote { id: 1, settings: settings(1) });
    image.tips.insert(1, vec![Tip { next: 10, timestamp: 500 }]);
    image
}

type Answer<T, E> = oneshot::Receiver<Result<T, E>>;

fn append(reserved: bool) -> (Request, Answer<Position, WriteError>) {
    let (reply, answer) = oneshot::channel();
    let record = Record { value: Some(Bytes::from(vec![0; 1_000])), ..Record::default() };
    (Request::Append { topic: 1, partition: 0, reserved, draft: Draft::new(&record), reply }, answer)
}

fn timestamps(plan: &Plan) -> Vec<i64> {
    let decode = |(key, value): &(LogKey, Vec<u8>)| {
        codec::decode_record(*key, &Bytes::copy_from_slice(value)).unwrap().timestamp
    };
    plan.writes.records.iter().map(decode).collect()
}

#[test]
fn time_stands_still_while_the_clock_goes_back() {
    let mut image = image();
    let (one, two) = (append(false), append(false));
    assert_eq!(timestamps(&Plan::new(vec![one.0], &mut image, 300, ROOMY)), [500]);
    assert_eq!(timestamps(&Plan::new(vec![two.0], &mut image, 700, ROOMY)), [700]);
    assert_eq!(image.tips[&1], [Tip { next: 12, timestamp: 700 }]);
}

#[test]
fn one_batch_does_not_spend_the_same_room_twice() {
    // Room for three records of a little over 1 KiB above the reserve.
    let space = Space { free: 104_000, reserve: 100_000 };
    let (requests, mut answers): (Vec<_>, Vec<_>) = (0..5).map(|_| append(false)).unzip();
    let plan = Plan::new(requests, &mut image(), 0, space);
    assert_eq!(plan.writes.records.len(), 3);
    for answer in &mut answers[3..] {
        let refused = answer.try_recv().expect("answered at once");
        assert!(matches!(refused, Err(WriteError::Rejected(Refusal::Full(_)))), "{refused:?}");
    }
}

#[test]
fn the_reserve_is_for_those_who_may_use_it_and_only_half() {
    for (free, event, internal) in [(102_000, true, true), (99_000, false, true), (50_000, false, false)] {
        let space = Space { free, reserve: 100_000 };
        for (reserved, expected) in [(false, event), (true, internal)] {
            let (request, _answer) = append(reserved);
            let plan = Plan::new(vec![request], &mut image(), 0, space);
            assert_eq!(!plan.writes.is_empty(), expected, "{free} free, reserved: {reserved}");
        }
    }
}

#[test]
fn a_commit_behind_a_join_is_stale_though_both_are_in_one_batch() {
    let mut image = image();
    let group = || "g".to_owned();
    let noted = || vec![Noted { topic: 1, partition: 0, offset: 5, metadata: String::new() }];
    let commit = |generation| {
        let (reply, answer) = oneshot::channel();
        (Request::Commit { group: group(), generation, offsets: noted(), reply }, answer)
    };
    image.groups.insert(group(), 3);
    let (before, mut fine) = commit(3);
    let (after, mut stale) = commit(3);
    let (reply, mut joined) = oneshot::channel();
    let plan = Plan::new(vec![before, Request::Join { group: group(), reply }, after], &mut image, 0, ROOMY);
    assert_eq!(stale.try_recv().unwrap(), Err(CommitError::Stale { mine: 3, current: 4 }));
    assert!(
        fine.try_recv().is_err() && joined.try_recv().is_err(),
        "nothing is acknowledged before the sync"
    );
    assert_eq!(plan.joined, BTreeMap::from([(group(), 4)]));
    plan.pending.into_iter().for_each(Pending::acknowledge);
    assert_eq!(fine.try_recv().unwrap(), Ok(()));
    assert_eq!(joined.try_recv().unwrap().unwrap(), 4);
}

#[test]
fn a_failed_batch_leaves_everything_in_it_unknown() {
    let (request, mut answer) = append(false);
    let plan = Plan::new(vec![request], &mut image(), 0, ROOMY);
    plan.pending.into_iter().for_each(|pending| pending.leave_unknown("the disk is gone"));
    assert!(matches!(answer.try_recv().unwrap(), Err(WriteError::Unknown(_))));
}
