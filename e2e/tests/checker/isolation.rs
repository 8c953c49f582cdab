//! C-13: what disturbs the others, and what only looks as if it did.

use evhub_e2e::{
    check::{self, Class, Verdict},
    history::{Answer, Fault, History, Outcome, Rec, draw},
    model::{Order, Processor},
};
use proptest::prelude::*;

use crate::story::{PROCESSOR, Story};

/// The one whose target is in trouble.
const TROUBLED: &str = "shop/troubled";
/// How long a turn lasts, in milliseconds, and how many deliveries there are in one.
const TURN: u64 = 10_000;
const DELIVERIES: u64 = 500;

/// Turns of calm and of trouble, in each of which deliveries take 5 ms and now and then up to 40; where there is trouble, as
/// many times as long, and so many microseconds more.
fn turns(count: u64, times: impl Fn(u64) -> f64, more: u64, seed: u64) -> Story {
    let mut story = Story::default();
    let troubled =
        Processor { name: TROUBLED.into(), order: Order::None, ..story.model.processors[0].clone() };
    story.model.processors.push(troubled);
    let mut offset = 0;
    for turn in 0..2 * count {
        let trouble = turn % 2 == 1;
        if trouble {
            story.fault(turn * TURN, (turn + 1) * TURN, Fault::Trouble(TROUBLED.into()));
        }
        for n in 0..DELIVERIES {
            let dice = draw(seed, &[&turn.to_string(), &n.to_string()]);
            // One in 25 is slow, so that the hundredth part lies well within those.
            let usual = 1000 * if n % 25 == 0 { 20 + dice % 20 } else { 5 };
            let took = if trouble { (usual as f64 * times(turn / 2)) as u64 + more } else { usual };
            deliver(&mut story, turn * TURN + n * TURN / DELIVERIES, took, offset);
            offset += 1;
        }
    }
    story
}

/// An event published at an instant, of which the first attempt comes so many microseconds after its acknowledgement.
fn deliver(story: &mut Story, at: u64, took: u64, offset: u64) {
    let (id, key) = (format!("a-{offset}"), format!("k{offset}"));
    story.publish(at, &key, &id, &key, Outcome::Acked { partition: 0, offset }).log(0, offset, &id, &key);
    let attempt = story.recv(at + 1, &id, &key, 1, 1);
    let recv = story.entries.last_mut().expect("it was pushed");
    recv.at += took * 1000;
    if let Rec::Recv { began, .. } = &mut recv.rec {
        *began += took * 1000;
    }
    let done = recv.at + 1_000_000;
    story.push(done / 1_000_000, Rec::Done { attempt, answer: Answer::Success, from: done });
}

fn verdict(story: &Story) -> Verdict {
    let reports = check::all(&History(story.entries.clone()), &story.model);
    reports.into_iter().find(|report| report.name.starts_with("C-13")).expect("it is there").verdict
}

#[track_caller]
fn disturbs(story: &Story) {
    let verdict = verdict(story);
    let is_it = matches!(&verdict, Verdict::Invalid(found) if found[0].class == Class::Disturbed);
    assert!(is_it, "{verdict:?}");
}

#[test]
fn disturbed() {
    disturbs(&turns(5, |_| 4.0, 0, 1));
    disturbs(&turns(5, |_| 1.0, 100_000, 1));
}

#[test]
fn one_kind_of_trouble_that_stops_the_others_is_enough() {
    disturbs(&turns(5, |turn| if turn == 2 { 100.0 } else { 1.0 }, 0, 1));
}

#[test]
fn a_tenth_is_not_too_much() {
    assert_eq!(verdict(&turns(5, |_| 1.1, 0, 1)), Verdict::Valid);
}

#[test]
fn what_nobody_notices_is_not_too_much() {
    assert_eq!(verdict(&turns(5, |_| 1.0, 8_000, 1)), Verdict::Valid);
}

#[test]
fn one_bad_turn_of_five_may_be_the_machines() {
    assert_eq!(verdict(&turns(5, |turn| if turn == 2 { 5.0 } else { 1.0 }, 0, 1)), Verdict::Valid);
}

#[test]
fn few_turns_say_nothing() {
    assert!(matches!(verdict(&turns(2, |_| 5.0, 0, 1)), Verdict::Unknown(_)));
}

#[test]
fn no_trouble_is_no_question() {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0).attempt(10, "a-1", 1, 1, Answer::Success);
    assert_eq!(verdict(&story), Verdict::Valid);
}

#[test]
fn the_troubled_one_itself_does_not_count() {
    let mut story = turns(5, |_| 3.0, 0, 1);
    for entry in &mut story.entries {
        if let Rec::Recv { processor, .. } = &mut entry.rec {
            assert_eq!(processor, PROCESSOR);
            TROUBLED.clone_into(processor);
        }
    }
    assert!(matches!(verdict(&story), Verdict::Unknown(_)), "nobody else was served");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_noise(seed: u64) {
        prop_assert_eq!(verdict(&turns(5, |_| 1.0, 0, seed)), Verdict::Valid);
        prop_assert!(matches!(verdict(&turns(5, |_| 4.0, 0, seed)), Verdict::Invalid(_)));
    }
}
