//! Rules of one shard, as data: what is asked, and what is said.

use std::time::Duration;

use evhub_event::Record;

use super::{Draft, REMEMBER, Shard};
use crate::{
    Answer, Command, Submit, TimerId, When,
    command::{Verb, digest},
    leader::Planted,
};

fn submit(n: u32, when: When) -> Command {
    let record = Record { value: Some(n.to_string().into()), ..Record::default() };
    let submit = Submit {
        producer: "uid".to_owned(),
        topic: "due".to_owned(),
        event_id: n.to_string(),
        digest: digest(&record, when),
        record,
        when,
        repeat: None,
        max_delay: Duration::from_secs(100),
        max_pending: 3,
    };
    Command { id: id(n), verb: Verb::Submit(Box::new(submit)) }
}

fn id(n: u32) -> TimerId {
    TimerId::of("uid", None, "/s", &n.to_string(), 1)
}

fn after(millis: u64) -> When {
    When::After(Duration::from_millis(millis))
}

fn cancel(n: u32) -> Command {
    Command { id: id(n), verb: Verb::Cancel }
}

fn move_to(n: u32, when: When) -> Command {
    Command { id: id(n), verb: Verb::Reschedule(when) }
}

/// Applies commands one by one, one a millisecond, and fires what is due after each.
fn told(commands: impl IntoIterator<Item = Command>) -> (Shard, Vec<Answer>) {
    let mut shard = Shard::new(1 << 20, Planted::NONE);
    let mut answers = Vec::new();
    for (offset, command) in (0..).zip(commands) {
        let mut draft = Draft::default();
        shard.apply((offset, 1_000 + offset as i64), command, |_| 0, &mut draft);
        shard.fire(1_000 + offset as i64, |_| false, &mut draft);
        answers.extend(draft.answers.into_iter().map(|(_, answer)| answer));
    }
    (shard, answers)
}

#[test]
fn what_is_said_to_each_command() {
    use Answer::{AlreadyFired, Cancelled, Conflict, Scheduled, TooLong, TooMany, Unknown};
    let cases: Vec<(&str, Vec<Command>, Vec<Answer>)> = vec![
        (
            "the same again",
            vec![submit(1, after(50)), submit(1, after(50))],
            vec![Scheduled(1_050), Scheduled(1_050)],
        ),
        ("another time", vec![submit(1, after(50)), submit(1, after(51))], vec![Scheduled(1_050), Conflict]),
        ("a time that has passed is now", vec![submit(1, When::At(5))], vec![Scheduled(1_000)]),
        (
            "the same again when it fired",
            vec![submit(1, When::At(5)), submit(1, When::At(5))],
            vec![Scheduled(1_000), Scheduled(1_000)],
        ),
        (
            "another one when it fired",
            vec![submit(1, When::At(5)), submit(1, When::At(6))],
            vec![Scheduled(1_000), Conflict],
        ),
        (
            "the longest delay",
            vec![submit(1, after(100_000)), submit(2, after(100_001))],
            vec![Scheduled(101_000), TooLong],
        ),
        (
            "as many as allowed",
            (0..4).map(|n| submit(n, after(50))).collect(),
            vec![Scheduled(1_050), Scheduled(1_051), Scheduled(1_052), TooMany],
        ),
        (
            "cancelled in time, twice, and asked for again",
            vec![submit(1, after(50)), cancel(1), cancel(1), submit(1, after(50)), move_to(1, after(1))],
            vec![Scheduled(1_050), Cancelled, Cancelled, Cancelled, Cancelled],
        ),
        (
            "cancelled too late",
            vec![submit(1, When::At(5)), cancel(1), move_to(1, after(1))],
            vec![Scheduled(1_000), AlreadyFired, AlreadyFired],
        ),
        ("nothing to cancel", vec![cancel(1), move_to(1, after(1))], vec![Unknown, Unknown]),
        (
            "rescheduled",
            vec![submit(1, after(50)), move_to(1, after(70)), move_to(1, after(200_000))],
            vec![Scheduled(1_050), Scheduled(1_071), TooLong],
        ),
        (
            "rescheduled, and the same again",
            vec![submit(1, after(50)), move_to(1, after(70)), submit(1, after(50))],
            vec![Scheduled(1_050), Scheduled(1_071), Scheduled(1_071)],
        ),
    ];
    for (what, commands, expected) in cases {
        assert_eq!(told(commands).1, expected, "{what}");
    }
}

#[test]
fn room_is_made_by_what_ends() {
    let commands = (0..3).map(|n| submit(n, after(50))).chain([cancel(1), submit(3, after(50))]);
    let (shard, answers) = told(commands);
    assert_eq!(answers.last(), Some(&Answer::Scheduled(1_054)));
    assert_eq!(shard.pending(), 3);
}

#[test]
fn it_fires_in_order_and_destinations_take_turns() {
    let mut shard = Shard::new(1 << 20, Planted::NONE);
    let mut draft = Draft::default();
    let to = |topic: &str, n: u32, when| {
        let Command { id, verb: Verb::Submit(submit) } = submit(n, when) else { unreachable!() };
        Command {
            id,
            verb: Verb::Submit(Box::new(Submit { topic: topic.to_owned(), max_pending: 10, ..*submit })),
        }
    };
    for (offset, command) in
        (0..).zip([to("a", 1, after(3)), to("a", 2, after(1)), to("a", 3, after(1)), to("b", 4, after(5))])
    {
        shard.apply((offset, 0), command, |_| 0, &mut draft);
    }
    draft = Draft::default();
    shard.fire(10, |_| false, &mut draft);
    let fired: Vec<_> = draft
        .fires
        .iter()
        .map(|(topic, record)| (topic.to_string(), record.value.clone().unwrap()))
        .collect();
    let expected = [("b", "4"), ("a", "2"), ("a", "3"), ("a", "1")];
    assert_eq!(fired, expected.map(|(topic, n)| (topic.to_owned(), n.into())));
}

#[test]
fn an_event_that_is_gone_is_looked_for_once() {
    let mut shard = Shard::new(0, Planted::NONE);
    let mut draft = Draft::default();
    shard.apply((0, 0), submit(1, after(50)), |_| 0, &mut draft);
    shard.settled(id(1), 7);
    let later = move_to(1, after(90));
    assert_eq!(shard.lacks(&later), Some((id(1), 7)));
    shard.fetched(id(1), None);
    assert_eq!(shard.lacks(&later), None);
    let mut draft = Draft::default();
    shard.apply((1, 1), later, |_| 0, &mut draft);
    assert_eq!(draft.answers, [(1, Answer::Unknown)]);
    assert_eq!(shard.pending(), 1, "a later leader may find it");
}

#[test]
fn what_ended_is_remembered_for_a_day() {
    let (mut shard, _) = told([submit(1, When::At(5))]);
    let mut draft = Draft::default();
    shard.forget(1_000 + REMEMBER - 1, &mut draft);
    assert_eq!(draft.puts.len(), 0);
    shard.forget(1_000 + REMEMBER, &mut draft);
    assert_eq!(draft.puts.len(), 1);
    assert_eq!(shard.look(id(1)), Err(Answer::Unknown));
}
