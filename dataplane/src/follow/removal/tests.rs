//! What may be deleted, whoever says so.

use evhub_routing::{Generation, Route};

use super::{super::tests::snapshot, *};

fn removal(change: impl FnOnce(&mut Removal)) -> Removal {
    let mut removal = Removal {
        name: Name::new("shop", "orders"),
        uid: "1".into(),
        topic: "evhub.shop.orders".into(),
        due_topic: "evhub.shop.orders.due".into(),
    };
    change(&mut removal);
    removal
}

#[test]
fn only_what_a_producer_of_the_name_had_and_nobody_uses_may_go() {
    type Change = fn(&mut Removal);
    let cases: [(&str, Change, &[&str], bool); 9] = [
        ("its own", |_| {}, &["late"], true),
        ("it is there, or another one of its name", |_| {}, &["orders"], false),
        ("another topic", |one| one.topic = "evhub.shop.late".into(), &[], false),
        ("a topic with a name of its own", |one| one.topic = "shop.orders".into(), &[], false),
        ("another one beside it", |one| one.due_topic = "evhub.shop.late".into(), &[], false),
        ("of another installation", |one| one.topic = "other.shop.orders".into(), &[], false),
        (
            "the hub's own",
            |one| {
                one.name = Name::new("_ledger", "cmd");
                (one.topic, one.due_topic) = ("evhub._ledger.cmd".into(), "evhub._ledger.cmd.due".into());
            },
            &[],
            false,
        ),
        (
            "a Processor's own",
            |one| {
                one.name = Name::new("shop", "billing.state");
                (one.topic, one.due_topic) =
                    ("evhub.shop.billing.state".into(), "evhub.shop.billing.state.due".into());
            },
            &[],
            false,
        ),
        ("of no name", |one| one.name = Name::new("", ""), &[], false),
    ];
    for (about, change, runs, may) in cases {
        let mut runs = snapshot(1, 1, runs);
        // These samples all have the topic of the first one beside theirs.
        for producer in runs.producers.values_mut() {
            let producer = Arc::make_mut(producer);
            producer.due_topic = format!("{}.due", producer.topic);
        }
        assert_eq!(why_not("evhub", &removal(change), &runs).is_none(), may, "{about}");
    }
}

#[test]
fn what_a_processor_reads_stays() {
    let mut runs = snapshot(1, 1, &[]);
    let mut billing = crate::follow::tests::processor("billing");
    billing.routes = vec![Route {
        producer: Name::new("shop", "orders"),
        topic: "evhub.shop.orders".into(),
        due_topic: "evhub.shop.orders.due".into(),
    }];
    runs.processors.insert(billing.name.clone(), Arc::new(billing));
    assert!(why_not("evhub", &removal(|_| {}), &runs).unwrap().contains("has a use for its topics"));
}

#[test]
fn a_copy_and_a_control_that_is_away_have_nothing_deleted() {
    let status = |source, connected| Status { source, connected, ..Status::default() };
    assert_eq!(untold(&status(Source::Control, true)), None);
    assert!(untold(&status(Source::Control, false)).is_some());
    for source in Source::ALL.into_iter().filter(|source| *source != Source::Control) {
        assert!(untold(&status(source, true)).is_some(), "{source:?}");
    }
    let mut told = snapshot(1, 2, &["late"]);
    told.removals.insert(Name::new("shop", "orders"), Arc::new(removal(|_| {})));
    let folder = tempfile::tempdir().unwrap();
    super::super::kept::write(folder.path(), &told).unwrap();
    let kept = super::super::kept::read(folder.path()).unwrap().unwrap();
    assert_eq!((kept.generation, kept.removals.len()), (Generation { epoch: 1, revision: 2 }, 0));
}
