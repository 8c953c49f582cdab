//! C-15: each way to work by what was written before, and its near miss.

use evhub_e2e::{
    check::Class,
    history::{Answer::Success, Rec},
    model::Start,
};

use crate::story::Story;

/// The hub says that generation 2 runs at 50; an attempt as of this generation began and arrived at these instants.
fn edited(suspended: bool, generation: i64, began: u64, arrived: u64) -> Story {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0).running(10, 1, false).running(50, 2, suspended);
    story.attempt(arrived, "a-1", 1, 1, Success);
    for entry in &mut story.entries {
        if let Rec::Recv { generation: of, began: from, .. } = &mut entry.rec {
            (*of, *from) = (generation, began * 1_000_000);
        }
    }
    story
}

#[test]
fn stale_generation() {
    edited(false, 1, 60, 60).shows_only(Class::StaleGeneration);
    edited(false, 1, 45, 60).is_valid();
    edited(false, 2, 60, 60).is_valid();
    edited(false, 3, 60, 60).is_valid();
}

#[test]
fn while_suspended() {
    edited(true, 2, 60, 60).shows_only(Class::WhileSuspended);
    edited(true, 2, 45, 60).is_valid();
    edited(true, 3, 60, 60).is_valid();
}

#[test]
fn after_removal() {
    for (at, expected) in [(900, None), (1100, Some(Class::AfterRemoval))] {
        let mut story = Story::default();
        story.event(0, "a-1", "k", 0).running(10, 1, false).gone(50).attempt(at, "a-1", 1, 1, Success);
        assert_eq!(story.classes(), Vec::from_iter(expected), "at {at}");
    }
}

#[test]
fn what_comes_back_works_again() {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0).gone(10).running(1500, 1, false).attempt(1600, "a-1", 1, 1, Success);
    story.is_valid();
}

#[test]
fn unheard() {
    for (published, expected) in [(5, None), (30, Some(Class::Unheard)), (80, None)] {
        let mut story = Story::default();
        story.model.processors[0].start = Start::Ready;
        story.running(20, 1, false).gone(70).event(published, "a-1", "k", 0);
        assert_eq!(story.classes(), Vec::from_iter(expected), "published at {published}");
    }
    let mut story = Story::default();
    story.model.processors[0].start = Start::Ready;
    story.running(20, 1, false).event(30, "a-1", "k", 0).attempt(40, "a-1", 1, 1, Success);
    story.is_valid();
}

#[test]
fn who_came_later_is_not_owed_what_was_before() {
    let mut story = Story::default();
    story.model.processors[0].start = Start::Ready;
    story.event(0, "a-1", "k", 0).running(20, 1, false).event(30, "a-2", "k", 1);
    story.attempt(40, "a-2", 1, 1, Success);
    story.is_valid();
}
