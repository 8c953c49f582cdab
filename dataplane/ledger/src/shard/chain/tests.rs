//! What repeated events come to, firing by firing.

use std::time::Duration;

use evhub_event::{
    Record,
    controls::{Pace, Repeat, Until},
    record::{CHAIN, DUE, OCCURRENCE},
};

use super::super::{Draft, Shard};
use crate::{
    Answer, Command, Submit, TimerId, When,
    command::{Mute, Verb},
    leader::Planted,
    state::Entry,
};

fn id() -> TimerId {
    TimerId::of("uid", None, "/s", "1", 1)
}

fn chain(until: Until) -> Shard {
    let mut shard = Shard::new(1 << 20, Planted::NONE);
    let submit = Submit {
        producer: "uid".to_owned(),
        topic: "due".to_owned(),
        event_id: "1".to_owned(),
        record: Record::default(),
        when: When::After(Duration::from_millis(5)),
        repeat: Some(Repeat { pace: Pace::Every(Duration::from_millis(100)), until }),
        max_delay: Duration::from_secs(1),
        max_pending: 9,
        digest: 0,
    };
    assert_eq!(tell(&mut shard, Verb::Submit(Box::new(submit))), Answer::Scheduled(5));
    shard
}

fn tell(shard: &mut Shard, verb: Verb) -> Answer {
    let mut draft = Draft::default();
    shard.apply((0, 0), Command { id: id(), verb }, |_| 0, &mut draft);
    draft.answers.remove(0).1
}

fn mute(processor: &str) -> Verb {
    Verb::Mute(Mute { processor: processor.to_owned(), all: vec!["a".to_owned(), "b".to_owned()] })
}

/// What fires by an instant: when it was due, which one it is, and who gets it no more.
fn fired(shard: &mut Shard, now: i64) -> Vec<(String, String, String)> {
    let mut draft = Draft::default();
    shard.fire(now, |_| false, &mut draft);
    // What is written down is enough to go on.
    for entry in draft.puts.into_values() {
        let read = Entry::decode(&entry.clone().encode()).unwrap();
        assert_eq!(read, entry);
    }
    let text = |record: &Record, name| String::from_utf8(record.header(name).unwrap().to_vec()).unwrap();
    let fires = draft.fires.iter();
    fires.map(|(_, it)| (text(it, DUE), text(it, OCCURRENCE), text(it, CHAIN))).collect()
}

fn firing(due: i64, occurrence: u32, muted: &str) -> (String, String, String) {
    (due.to_string(), occurrence.to_string(), muted.to_owned())
}

#[test]
fn it_fires_at_its_rate_passes_over_what_nobody_was_there_for_and_ends() {
    let mut shard = chain(Until::Count(3));
    assert_eq!(fired(&mut shard, 4), []);
    assert_eq!(fired(&mut shard, 5), [firing(5, 1, "")]);
    assert_eq!((shard.next(|_| false), shard.pending()), (Some(105), 1));
    assert_eq!(fired(&mut shard, 330), [firing(105, 2, "")]);
    assert_eq!(fired(&mut shard, 405), [firing(405, 3, "")]);
    assert_eq!((shard.look(id()), shard.pending()), (Err(Answer::AlreadyFired), 0));
}

#[test]
fn it_ends_with_its_first_or_before_an_instant_or_never() {
    for (until, times) in [(Until::First, 1), (Until::Time(Some(105)), 1), (Until::Time(Some(106)), 2)] {
        let mut shard = chain(until);
        let all: usize = (0..9).map(|n| fired(&mut shard, 5 + n * 100).len()).sum();
        assert_eq!((all, shard.pending()), (times, 0), "{until:?}");
    }
    let mut shard = chain(Until::Time(None));
    let all: usize = (0..99).map(|n| fired(&mut shard, 5 + n * 100).len()).sum();
    assert_eq!((all, shard.pending()), (99, 1));
}

#[test]
fn a_processor_that_cancels_it_is_named_from_then_on_and_it_ends_with_the_last_one() {
    let mut shard = chain(Until::Count(0));
    fired(&mut shard, 5);
    assert_eq!(tell(&mut shard, mute("a")), Answer::Cancelled);
    assert_eq!(tell(&mut shard, mute("a")), Answer::Cancelled, "twice is once");
    assert_eq!(fired(&mut shard, 105), [firing(105, 2, "a")]);
    assert_eq!(fired(&mut shard, 205), [firing(205, 3, "a")]);
    assert_eq!(tell(&mut shard, mute("b")), Answer::Cancelled);
    assert_eq!((fired(&mut shard, 305), shard.pending()), (Vec::new(), 0));
    assert_eq!(tell(&mut shard, mute("b")), Answer::Cancelled, "it has ended so");
}

#[test]
fn it_is_listed_and_cancelled_as_any_timer() {
    let mut shard = chain(Until::Count(0));
    fired(&mut shard, 5);
    assert_eq!(shard.list("uid", None, 9).len(), 1);
    assert_eq!(tell(&mut shard, Verb::Cancel), Answer::Cancelled);
    assert_eq!(fired(&mut shard, 105), []);
}

#[test]
fn only_so_many_may_cancel_one_that_goes_on_and_nothing_else_can_be() {
    let mut shard = chain(Until::Count(0));
    for n in 0..crate::chain::MOST_MUTED {
        assert_eq!(tell(&mut shard, mute(&format!("p{n}"))), Answer::Cancelled);
    }
    assert_eq!(tell(&mut shard, mute("a")), Answer::TooMany);
    let mut none = Shard::new(1 << 20, Planted::NONE);
    assert_eq!(tell(&mut none, mute("a")), Answer::Unknown);
}
