//! Whose topics go, and until when.

use evhub_compile::{Asked, Kept};
use evhub_routing::{Brokers, EvhubName, Ledger};
use serde_json::json;

use super::*;
use crate::told::Told;

fn producer(change: impl FnOnce(&mut Producer)) -> Producer {
    let mut producer = Producer {
        name: Name::new("shop", "orders"),
        uid: "1".into(),
        evhub: EvhubName { app_id: "shop".into(), topic_id: "orders".into() },
        topic: "evhub.shop.orders".into(),
        partitions: 1,
        retention: None,
        retention_bytes: None,
        event_bytes: 1,
        batch_events: 1,
        batch_bytes: 1,
        events_per_second: None,
        max_delay: Duration::from_secs(1),
        ledger: Ledger::default(),
        due_topic: "evhub.shop.orders.due".into(),
        pending_timers: 1,
        brokers: Brokers { delete: true, ..Brokers::default() },
    };
    change(&mut producer);
    producer
}

/// As it was when it was deleted.
fn stored(change: impl FnOnce(&mut Stored)) -> Stored {
    let spec = json!({ "topic": { "deletionPolicy": "Delete" } });
    let mut stored = Stored {
        uid: "1".into(),
        created: 1,
        generation: 1,
        version: "1".into(),
        spec: Some(spec.to_string().into()),
        asked: Asked::default(),
        told: Told::default(),
        kept: Kept::default(),
        accepted: true,
        before: None,
    };
    change(&mut stored);
    stored
}

fn generation(revision: u64) -> Generation {
    Generation { epoch: 1, revision }
}

fn snapshot(revision: u64, producers: &[Producer], removing: &Removing) -> Snapshot {
    let producers = producers.iter().map(|one| (one.name.clone(), Arc::new(one.clone()))).collect();
    Snapshot { generation: generation(revision), producers, removals: removing.all(), ..Snapshot::default() }
}

#[test]
fn topics_go_only_where_nothing_speaks_against_it() {
    type Ran = fn(&mut Producer);
    type Deleted = fn(&mut Stored);
    let same: Ran = |_| {};
    let also: Deleted = |_| {};
    let told: [(&str, Ran, Deleted, bool); 9] = [
        ("both say so", same, also, true),
        ("what ran said otherwise", |ran| ran.brokers.delete = false, also, false),
        ("it was edited before", same, |last| last.spec = Some("{\"topic\":{}}".into()), false),
        ("it says nothing that can be read", same, |last| last.spec = Some("{".into()), false),
        ("it says nothing", same, |last| last.spec = None, false),
        ("another one of the name ran", |ran| ran.uid = "2".into(), also, false),
        ("it was adopted", |ran| ran.brokers.adopt = true, also, false),
        ("its topic has a name of its own", |ran| ran.topic = "shop.orders".into(), also, false),
        ("its author wants it left alone", same, |last| last.asked.pause = true, false),
    ];
    for (about, ran, last, goes) in told {
        let mut removing = Removing::default();
        let now = Instant::now();
        assert_eq!(removing.deleted("evhub", &producer(ran), &stored(last), now), goes, "{about}");
        assert_eq!(removing.all().len(), usize::from(goes), "{about}");
    }
    assert!(!Removing::default().deleted("other", &producer(same), &stored(also), Instant::now()));
}

#[test]
fn it_is_done_when_every_dataplane_says_so_and_not_before() {
    let (mut removing, began) = (Removing::default(), Instant::now());
    assert!(removing.deleted("evhub", &producer(|_| {}), &stored(|_| {}), began));
    assert!(removing.look(&Fleet::at(generation(9)), began).is_empty(), "it was told nobody yet");
    removing.published(&snapshot(3, &[], &removing));
    removing.published(&snapshot(4, &[], &removing));
    for waits in [Fleet::default(), Fleet::at(generation(2))] {
        assert!(removing.look(&waits, began).is_empty());
    }
    let mut gathers = Fleet::at(generation(3));
    gathers.gathers(true);
    assert!(removing.look(&gathers, began).is_empty(), "others may come back that have not heard of it");
    let became = removing.look(&Fleet::at(generation(3)), began);
    assert_eq!(became.iter().map(|(_, became)| became).collect::<Vec<_>>(), [&Became::Gone]);
    assert!(removing.all().is_empty());
}

#[test]
fn what_cannot_be_done_is_told_once_and_given_up_in_the_end() {
    let (mut removing, began) = (Removing::default(), Instant::now());
    assert!(removing.deleted("evhub", &producer(|_| {}), &stored(|_| {}), began));
    removing.published(&snapshot(1, &[], &removing));
    let hindered =
        Fleet::hindered(generation(1), (Kind::Producer, Name::new("shop", "orders")), "grant Delete");
    let mut look =
        |now| removing.look(&hindered, now).into_iter().map(|(_, became)| became).collect::<Vec<_>>();
    assert_eq!(look(began), [Became::Hindered("grant Delete (said by a)".into())]);
    assert_eq!(look(began + PATIENCE), []);
    let later = began + PATIENCE + Duration::from_secs(1);
    assert_eq!(look(later), [Became::GivenUp("grant Delete (said by a)".into())]);
    assert!(removing.all().is_empty(), "a new one of the name begins");
}

#[test]
fn one_that_is_gone_without_a_word_keeps_its_topic_and_that_is_said() {
    let (removing, none) = (Removing::default(), BTreeSet::new());
    let ran = snapshot(1, &[producer(|_| {})], &removing);
    let runs = snapshot(2, &[], &removing);
    assert_eq!(removing.unseen(&ran, &runs, &none).len(), 1);
    assert!(removing.unseen(&ran, &ran, &none).is_empty(), "it runs");
    assert!(removing.unseen(&ran, &runs, &BTreeSet::from(["1".to_owned()])).is_empty(), "it is only refused");
    let stays = snapshot(1, &[producer(|one| one.brokers.delete = false)], &removing);
    assert!(removing.unseen(&stays, &runs, &none).is_empty(), "it stays in any case");
    let mut removing = Removing::default();
    assert!(removing.deleted("evhub", &producer(|_| {}), &stored(|_| {}), Instant::now()));
    assert!(removing.unseen(&ran, &runs, &none).is_empty(), "it goes");
    let mut seen = Removing::default();
    assert!(!seen.deleted("evhub", &producer(|_| {}), &stored(|last| last.spec = None), Instant::now()));
    assert!(seen.unseen(&ran, &runs, &none).is_empty(), "it was said when it was seen");
    let another = snapshot(2, &[producer(|one| one.uid = "2".into())], &removing);
    assert_eq!(
        Removing::default().unseen(&ran, &another, &none).len(),
        1,
        "another one of the name is not it"
    );
}

#[test]
fn there_is_a_bound() {
    let mut removing = Removing::default();
    for number in 0..=MOST {
        let name = Name::new("shop", format!("p{number}"));
        let named = |ran: &mut Producer| {
            (ran.topic, ran.due_topic) = (names::events("evhub", &name), names::due("evhub", &name));
            ran.name = name.clone();
        };
        let goes = removing.deleted("evhub", &producer(named), &stored(|_| {}), Instant::now());
        assert_eq!(goes, number < MOST, "{number}");
    }
}
