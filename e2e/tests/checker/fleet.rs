//! Several owners at once, and a log whose brokers are in trouble: what that explains, and what it does not.

use evhub_e2e::{
    check::Class,
    history::{
        Answer::{Failure, Success},
        Fault,
    },
    model::Owners,
};

use crate::story::Story;

fn of_many(events: &[(&str, u64)]) -> Story {
    let mut story = Story::default();
    story.model.owners = Owners::Many;
    for (n, (id, at)) in events.iter().enumerate() {
        story.event(*at, id, "k", n as u64);
    }
    story
}

#[test]
fn the_end_of_one_process_says_nothing_of_what_another_took_over_later() {
    let mut story = of_many(&[("a-1", 0)]);
    // Somebody ends while the attempt is under way at another; that one's end, later, explains the repeat.
    story.attempt(10, "a-1", 1, 1, Failure(500)).kill(12).kill(400);
    story.attempt(1500, "a-1", 2, 2, Success);
    story.is_valid();
}

#[test]
fn an_outcome_that_was_durable_is_repeated_by_nobody() {
    let mut story = of_many(&[("a-1", 0)]);
    story.attempt(10, "a-1", 1, 1, Success).kill(900).attempt(3000, "a-1", 1, 2, Success);
    story.shows_only(Class::DurableRepeated);
}

#[test]
fn nothing_becomes_durable_while_brokers_are_away_and_soon_after() {
    let broken = || Fault::Log("a broker is away".to_owned());
    for (kill, valid) in [(14_000, true), (15_000, false)] {
        let mut story = of_many(&[("a-1", 0)]);
        story.attempt(110, "a-1", 1, 1, Success).fault(100, 2000, broken()).kill(kill);
        story.attempt(20_000, "a-1", 1, 2, Success);
        if valid {
            story.is_valid();
        } else {
            story.shows_only(Class::DurableRepeated);
        }
    }
}

#[test]
fn committed_offsets_never_fall() {
    let mut story = of_many(&[("a-1", 0), ("a-2", 2)]);
    story.attempt(10, "a-1", 1, 1, Success).attempt(30, "a-2", 1, 1, Success);
    story.commit(300, 2).commit(400, 2);
    story.is_valid();
    story.commit(500, 1);
    story.shows_only(Class::OffsetFell);
    story.fault(450, 600, Fault::Log("an old leader answers".to_owned()));
    story.is_valid();
}

#[test]
fn who_wakes_from_a_pause_may_not_have_heard_yet_and_not_for_long() {
    for (wakes, valid) in [(8050, true), (8300, false)] {
        let mut story = of_many(&[("a-1", 0), ("a-2", 2), ("a-3", 4)]);
        story.attempt(10, "a-1", 1, 1, Success).fault(20, 8000, Fault::Pause);
        story.attempt(7000, "a-2", 1, 2, Success);
        story.attempt(wakes, "a-2", 1, 1, Success);
        story.attempt(9000, "a-3", 1, 2, Success);
        let stale = story.classes().contains(&Class::StaleStart);
        assert_eq!(stale, !valid, "at {wakes}: {:?}", story.classes());
    }
}

#[test]
fn no_more_attempts_at_once_than_the_author_allows_whoever_makes_them() {
    for (most, valid) in [(3, true), (2, false)] {
        let mut story = Story::default();
        story.model.processors[0].max_in_flight = most;
        for (n, key) in ["k", "l", "m"].into_iter().enumerate() {
            story.event(n as u64, &format!("a-{n}"), key, n as u64);
            story.attempt(100 + n as u64, &format!("a-{n}"), 1, 1, Success);
        }
        if valid {
            story.is_valid();
        } else {
            story.shows_only(Class::TooManyAtOnce);
        }
    }
}
