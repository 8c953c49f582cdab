//! What one group commit decides, without files.

use bytes::Bytes;
use evhub_event::Record;
use tokio::sync::oneshot;

use super::{
    super::{
        notes::{Mark, Tip},
        request::Reply,
    },
    *,
};
use crate::Chain;

const ROOMY: Space = Space { free: u64::MAX, reserve: 0 };
const PART: Part = Part { topic: 1, partition: 0 };

fn image() -> Image {
    let settings = TopicSettings { partitions: 2, max_record_bytes: 1 << 20, ..TopicSettings::default() };
    let mut image = Image::default();
    image.apply(Note::Topic("t".into(), TopicNote { id: 1, settings }));
    image.apply(Note::Tip(PART, 10, 500));
    image
}

fn plan(requests: Vec<Request>, image: &mut Image, now: i64, space: Space) -> Plan {
    let moment = Moment { now, instant: Instant::now(), space, patience: Duration::MAX };
    Plan::new(requests, image, &mut Groups::default(), moment)
}

type Answer<T, E> = oneshot::Receiver<Result<T, E>>;

fn asked<T, E>(request: impl FnOnce(Reply<T, E>) -> Request) -> (Request, Answer<T, E>) {
    let (reply, answer) = oneshot::channel();
    (request(reply), answer)
}

fn draft() -> Draft {
    Draft::new(&Record { value: Some(Bytes::from(vec![0; 1_000])), ..Record::default() })
}

fn append(reserved: bool) -> (Request, Answer<Position, WriteError>) {
    asked(|reply| Request::Append { part: PART, reserved, draft: draft(), link: None, reply })
}

/// An append of so many bytes and a bit more.
fn linked(link: &Link, bytes: usize) -> (Request, Answer<Position, WriteError>) {
    let draft = Draft::new(&Record { value: Some(Bytes::from(vec![0; bytes])), ..Record::default() });
    asked(|reply| Request::Append { part: PART, reserved: false, draft, link: Some(link.clone()), reply })
}

fn transact(
    epoch: u64,
    generation: Option<u64>,
    parts: &[u32],
) -> (Request, Answer<Vec<Position>, TransactError>) {
    let part = |partition: &u32| (Part { topic: 1, partition: *partition }, draft());
    let commit = |generation| {
        let offsets = vec![Noted { part: PART, mark: Mark { offset: 5, metadata: "m".into() } }];
        Commit { group: "g".into(), generation, offsets }
    };
    let (records, offsets) = (parts.iter().map(part).collect(), generation.map(commit));
    asked(|reply| Request::Transact { work: Work { id: "p".into(), epoch, records, offsets }, reply })
}

fn spans(plan: &Plan) -> Vec<(u32, u64, u64, i64)> {
    let all =
        plan.chunks.iter().flat_map(|(part, chunks)| chunks.iter().map(|chunk| (part.partition, chunk)));
    all.map(|(partition, chunk)| (partition, chunk.base, chunk.next, chunk.timestamp)).collect()
}

#[test]
fn time_stands_still_while_the_clock_goes_back() {
    let mut image = image();
    let (one, two) = (append(false), append(false));
    assert_eq!(spans(&plan(vec![one.0], &mut image, 300, ROOMY)), [(0, 10, 11, 500)]);
    assert_eq!(spans(&plan(vec![two.0], &mut image, 700, ROOMY)), [(0, 11, 12, 700)]);
    assert_eq!(image.tips[&1][0], Tip { start: 0, next: 12, timestamp: 700 });
}

#[test]
fn it_is_known_how_far_the_clock_is_behind() {
    let mut image = image();
    for (now, behind) in [(300, 200), (500, 0), (900, 0), (0, 900)] {
        assert_eq!(plan(vec![append(false).0], &mut image, now, ROOMY).behind, behind);
    }
}

/// If the batch fails, nobody will have heard of it: such a group begins anew.
#[test]
fn groups_that_only_hear_something_are_known() {
    let (mut image, mut groups) = (image(), Groups::default());
    let mut join = |member| {
        let topics = vec!["t".into()];
        let (join, _answer) = asked(|reply| Request::Join { group: "g".into(), member, topics, reply });
        let (now, instant) = (0, Instant::now());
        let moment = Moment { now, instant, space: ROOMY, patience: Duration::MAX };
        Plan::new(vec![join], &mut image, &mut groups, moment)
    };
    let expected = BTreeSet::from(["g".to_owned()]);
    let first = join(1);
    assert_eq!((first.notes.len(), first.stirred), (1, expected.clone()));
    let second = join(2);
    assert!(matches!(&second.said[..], [(1, Said::Revoked(partitions))] if *partitions == [0, 1]));
    assert_eq!((second.notes.len(), second.stirred), (0, expected));
}

#[test]
fn one_batch_does_not_spend_the_same_room_twice() {
    // Room for three records of a little over 1 KiB above the reserve.
    let space = Space { free: 104_000, reserve: 100_000 };
    let (requests, mut answers): (Vec<_>, Vec<_>) = (0..5).map(|_| append(false)).unzip();
    let planned = plan(requests, &mut image(), 0, space);
    assert_eq!(spans(&planned), [(0, 10, 13, 500)]);
    for answer in &mut answers[3..] {
        let refused = answer.try_recv().expect("answered at once");
        assert!(matches!(refused, Err(WriteError::Rejected(Refusal::Full(_)))), "{refused:?}");
    }
}

#[test]
fn what_finds_room_does_not_pass_what_found_none_of_its_chain() {
    let space = Space { free: 110_000, reserve: 100_000 };
    let (mut chain, mut other) = (Chain::default(), Chain::default());
    let links = [chain.link(), chain.link(), chain.link(), other.link()];
    // The second is too large for what room there is; the third and the fourth are not.
    let asked = links.iter().zip([100, 50_000, 100, 100]).map(|(link, bytes)| linked(link, bytes));
    let (requests, answers): (Vec<_>, Vec<_>) = asked.unzip();
    let planned = plan(requests, &mut image(), 0, space);
    assert_eq!(spans(&planned), [(0, 10, 12, 500)]);
    let refused: Vec<_> = answers.into_iter().map(|mut answer| answer.try_recv().ok()).collect();
    let [None, Some(Err(WriteError::Rejected(full))), Some(Err(WriteError::Rejected(behind))), None] =
        &refused[..]
    else {
        panic!("{refused:?}")
    };
    assert!(matches!((full, behind), (Refusal::Full(_), Refusal::Behind)), "{full:?} {behind:?}");
}

#[test]
fn what_was_not_written_is_not_passed_by_what_comes_later() {
    for fails in
        [|pending: Pending| pending.refuse("planted"), |pending: Pending| pending.leave_unknown("planted")]
    {
        let mut chain = Chain::default();
        let (first, _answer) = linked(&chain.link(), 100);
        let mut planned = plan(vec![first], &mut image(), 0, ROOMY);
        planned.pending.drain(..).for_each(fails);
        let (second, mut answer) = linked(&chain.link(), 100);
        assert!(plan(vec![second], &mut image(), 0, ROOMY).is_empty());
        let refused = answer.try_recv().expect("answered at once");
        assert!(matches!(refused, Err(WriteError::Rejected(Refusal::Behind))), "{refused:?}");
    }
}

#[test]
fn the_reserve_is_for_those_who_may_use_it_and_only_half() {
    for (free, event, internal) in [(102_000, true, true), (99_000, false, true), (50_000, false, false)] {
        let space = Space { free, reserve: 100_000 };
        for (reserved, expected) in [(false, event), (true, internal)] {
            let (request, _answer) = append(reserved);
            let planned = plan(vec![request], &mut image(), 0, space);
            assert_eq!(!planned.is_empty(), expected, "{free} free, reserved: {reserved}");
        }
    }
}

#[test]
fn a_commit_behind_a_new_generation_is_stale_though_both_are_in_one_batch() {
    let mut image = image();
    let commit = |generation| {
        let offsets = vec![Noted { part: PART, mark: Mark { offset: 5, metadata: "".into() } }];
        let commit = Commit { group: "g".into(), generation, offsets };
        asked(|reply| Request::Commit { commit, reply })
    };
    image.groups.insert("g".into(), 3);
    let (before, mut fine) = commit(3);
    let (after, mut stale) = commit(3);
    let (join, mut joined) =
        asked(|reply| Request::Join { group: "g".into(), member: 7, topics: vec!["t".into()], reply });
    let planned = plan(vec![before, join, after], &mut image, 0, ROOMY);
    assert_eq!(stale.try_recv().unwrap(), Err(CommitError::Stale { mine: 3, current: 4 }));
    assert!(
        fine.try_recv().is_err() && joined.try_recv().is_err(),
        "nothing is acknowledged before the sync"
    );
    assert_eq!(planned.said, [(7, Said::Assigned { generation: 4, partitions: vec![0, 1] })]);
    planned.pending.into_iter().for_each(Pending::acknowledge);
    assert_eq!(fine.try_recv().unwrap(), Ok(()));
    assert!(joined.try_recv().unwrap().is_ok());
}

#[test]
fn a_transaction_is_all_or_nothing_and_leaves_gaps() {
    for (epoch, generation, expected) in [
        (2, None, "done"),
        (2, Some(3), "done"),
        (1, Some(3), "fenced"),
        (3, None, "fenced"),
        (2, Some(2), "stale"),
    ] {
        let mut image = image();
        image.apply(Note::Producer("p".into(), 2));
        image.apply(Note::Group("g".into(), 3));
        let (request, mut answer) = transact(epoch, generation, &[0, 1, 0]);
        let planned = plan(vec![request], &mut image, 900, ROOMY);
        // Whatever becomes of it, its records' places and those of the markers behind them are used up.
        assert_eq!(
            spans(&planned),
            [
                (0, 10, 13, if expected == "done" { 900 } else { 500 }),
                (1, 0, 2, if expected == "done" { 900 } else { 0 })
            ]
        );
        let noted = planned.notes.iter().any(|note| matches!(note, Note::Offset(..)));
        assert_eq!(noted, expected == "done" && generation.is_some(), "{expected}");
        planned.pending.into_iter().for_each(Pending::acknowledge);
        let place = |partition, offset| Position { partition, offset };
        match (expected, answer.try_recv().unwrap()) {
            ("done", Ok(places)) => assert_eq!(places, [place(0, 10), place(1, 0), place(0, 11)]),
            ("fenced", Err(TransactError::Fenced))
            | ("stale", Err(TransactError::Stale { mine: 2, current: 3 })) => {}
            (expected, answer) => panic!("{answer:?} is not {expected}"),
        }
    }
}

#[test]
fn a_failed_batch_leaves_everything_in_it_unknown() {
    let (request, mut answer) = append(false);
    let planned = plan(vec![request], &mut image(), 0, ROOMY);
    planned.pending.into_iter().for_each(|pending| pending.leave_unknown("the disk is gone"));
    assert!(matches!(answer.try_recv().unwrap(), Err(WriteError::Unknown(_))));
}
