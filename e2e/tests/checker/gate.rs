//! The vacuity gate: each floor, and faults without effect.

use evhub_e2e::{
    check::gate::{Figures, Gate},
    history::{
        Answer::{Failure, Success},
        Fault, History, Outcome, Rec,
    },
};

use crate::story::Story;

fn busy() -> Story {
    let mut story = Story::default();
    story
        .event(0, "a-1", "k", 0)
        .attempt(10, "a-1", 1, 1, Failure(500))
        .kill(20)
        .attempt(60, "a-1", 2, 2, Success);
    story.publish(15, "c", "a-2", "k", Outcome::Unknown("reset".into()));
    story.event(70, "a-3", "k", 1).attempt(80, "a-3", 1, 2, Failure(400)).dead(1, "a-3", 1, "NOT_RETRYABLE");
    story
}

fn missing(story: &Story, gate: Gate) -> Vec<String> {
    gate.missing(&Figures::of(&History(story.entries.clone())))
}

#[test]
fn a_busy_run_counts() {
    let gate =
        Gate { acked: 2, unknown: 1, changes: 1, repeats: 0, recovered: 1, dead: 1, faults: 1, at_once: 0 };
    assert_eq!(missing(&busy(), gate), Vec::<String>::new());
}

#[test]
fn each_floor_is_a_floor() {
    let none = Gate::default();
    for gate in [
        Gate { acked: 3, ..none },
        Gate { unknown: 2, ..none },
        Gate { changes: 2, ..none },
        Gate { repeats: 1, ..none },
        Gate { recovered: 2, ..none },
        Gate { dead: 2, ..none },
        Gate { faults: 2, ..none },
    ] {
        assert_eq!(missing(&busy(), gate).len(), 1, "{gate:?}");
    }
}

#[test]
fn a_fault_without_effect_voids_the_run() {
    let mut story = busy();
    story.push(90, Rec::Fault { fault: Fault::Other("hang".into()), until: 0, effect: 0 });
    assert_eq!(missing(&story, Gate::default()), ["no effect of Other(\"hang\")"]);
}
