//! What is told, case by case.

use std::time::Duration;

use evhub_compile::Finding;
use evhub_control::Rollout;
use evhub_routing::{Brokers, EvhubName};

use super::*;

fn verdict(accepted: bool, findings: Vec<Finding>) -> Verdict {
    Verdict {
        kind: Some(Kind::Producer),
        namespace: Some("shop".into()),
        name: Some("orders".into()),
        file: None,
        accepted,
        findings,
        origin: None,
    }
}

fn finding(condition: ConditionType, reason: Reason) -> Finding {
    Finding { condition, reason, field: Some("spec.x".into()), message: "said".into() }
}

pub(super) fn producer() -> Producer {
    Producer {
        name: Name::new("shop", "orders"),
        uid: "u".into(),
        evhub: EvhubName { app_id: "shop".into(), topic_id: "orders".into() },
        topic: "evhub.shop.orders".into(),
        partitions: 4,
        retention: None,
        retention_bytes: None,
        event_bytes: 1,
        batch_events: 1,
        batch_bytes: 1,
        events_per_second: None,
        max_delay: Duration::from_hours(1),
        brokers: Brokers::default(),
        ledger: evhub_routing::Ledger::default(),
        due_topic: "evhub.shop.orders.due".into(),
        pending_timers: 1,
    }
}

fn brief(told: &Told) -> Vec<String> {
    let line = |one: &Condition| format!("{}={:?} {}", one.type_, one.status, one.reason);
    told.conditions.iter().map(line).collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

const SINCE: Generation = Generation { epoch: 1, revision: 1 };

#[test]
fn what_nobody_runs_is_not_ready() {
    let (name, fleet) = (Name::new("shop", "orders"), Fleet::of(&Rollout::default()));
    let (verdict, producer) = (verdict(true, Vec::new()), producer());
    let facts = Facts {
        kind: Kind::Producer,
        name: &name,
        generation: 3,
        verdict: &verdict,
        runs: Runs::Producer(&producer, SINCE),
        stands: false,
        fleet: &fleet,
        publish: Some("http://evhub:8080"),
        before: None,
        unreached: false,
        observed: None,
    };
    let told = Told::default().next(&facts, at(1));
    assert_eq!(
        brief(&told),
        [
            "Ready=Unknown NoDataplane",
            "Accepted=True Accepted",
            "ResolvedRefs=True ResolvedRefs",
            "TopicReady=Unknown NoDataplane",
            "Programmed=False NoDataplane"
        ]
    );
    assert_eq!(told.observed_generation, Some(3));
    assert_eq!(told.rest["address"]["url"], "http://evhub:8080/namespaces/shop/producers/orders");
    assert_eq!(told.partitions(Kind::Producer), Some(4));
}

#[test]
fn what_only_its_author_can_mend_is_stalled() {
    let (name, fleet) = (Name::new("shop", "orders"), Fleet::default());
    let refused = verdict(false, vec![finding(ConditionType::Accepted, Reason::TopicDenied)]);
    let facts = Facts {
        kind: Kind::Producer,
        name: &name,
        generation: 1,
        verdict: &refused,
        runs: Runs::Nothing,
        stands: false,
        fleet: &fleet,
        publish: None,
        before: None,
        unreached: false,
        observed: None,
    };
    let told = Told::default().next(&facts, at(1));
    assert_eq!(told.ready(), Some((False, "TopicDenied")));
    assert_eq!(told.condition(ConditionType::Stalled).map(|one| one.status), Some(True));
    assert_eq!(told.condition(ConditionType::Accepted).unwrap().message, "spec.x: said");
    let unresolved = verdict(true, vec![finding(ConditionType::ResolvedRefs, Reason::NotFound)]);
    let told = Told::default().next(&Facts { verdict: &unresolved, ..facts }, at(1));
    assert_eq!(told.ready(), Some((False, "NotFound")));
    assert_eq!(told.condition(ConditionType::Stalled), None, "it heals by itself");
}

#[test]
fn a_condition_whose_status_stays_keeps_its_time_and_what_is_read_back_is_the_same() {
    let (name, fleet) = (Name::new("shop", "orders"), Fleet::default());
    let (verdict, producer) = (verdict(true, Vec::new()), producer());
    let facts = Facts {
        kind: Kind::Producer,
        name: &name,
        generation: 1,
        verdict: &verdict,
        runs: Runs::Producer(&producer, SINCE),
        stands: false,
        fleet: &fleet,
        publish: None,
        before: None,
        unreached: false,
        observed: None,
    };
    let first = Told::default().next(&facts, at(1));
    let second = first.next(&facts, at(100));
    assert_eq!(first, second);
    let read = Told::read(&first.over(&Told::default()));
    assert!(read.says_the_same(&first));
    // What others wrote beside it is theirs; what they wrote in its place is not left.
    let mut foreign = read.clone();
    foreign.conditions.push(Condition { type_: "Theirs".into(), ..first.conditions[0].clone() });
    assert!(first.says_the_same(&foreign));
    foreign.conditions.retain(|one| one.type_ != "Accepted");
    assert!(!first.says_the_same(&foreign));
    assert_eq!(Told::read(&json!("nonsense")), Told::default());
}

#[test]
fn what_is_merged_takes_away_what_is_told_no_more_and_leaves_what_is_theirs() {
    let known = Told::read(&json!({
        "sources": "lies",
        "topic": { "name": "a", "partitions": 1, "more": { "x": 1 } },
        "conditions": [
            { "type": "Theirs", "status": "True", "reason": "A", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" },
            { "type": "Stalled", "status": "True", "reason": "A", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" },
        ],
    }));
    let rest = json!({ "topic": { "name": "b", "partitions": 2 } });
    let told = Told { rest: rest.as_object().unwrap().clone(), ..Told::default() };
    let merged = told.over(&known);
    assert_eq!(merged["sources"], Value::Null);
    assert!(merged.as_object().unwrap().contains_key("sources"));
    assert_eq!(merged["topic"], json!({ "name": "b", "partitions": 2, "more": null }));
    assert_eq!(merged["conditions"].as_array().unwrap().len(), 1);
    assert_eq!(merged["conditions"][0]["type"], "Theirs");
}

fn processor(suspend: bool) -> Processor {
    let settings = evhub_compile::Settings {
        prefix: "evhub".into(),
        egress: evhub_compile::Egress::Anywhere,
        apps: evhub_compile::Apps::Any,
        services: evhub_compile::Services::Assumed,
        secrets: evhub_compile::Secrets::Assumed,
        log: evhub_compile::Log::Embedded,
    };
    let objects = [
        (Kind::Producer, "orders", json!({})),
        (
            Kind::Processor,
            "billing",
            json!({
                "producers": [{ "name": "orders" }],
                "target": { "service": { "name": "billing" } },
                "suspend": suspend,
            }),
        ),
    ]
    .map(|(kind, name, spec)| {
        evhub_compile::Object::Resource(Box::new(evhub_compile::Resource {
            kind,
            name: Name::new("shop", name),
            uid: name.into(),
            created: 1,
            generation: 1,
            kept: evhub_compile::Kept::default(),
            origin: None,
            asked: evhub_compile::Asked::default(),
            unknown: Vec::new(),
            spec: Some(spec),
        }))
    });
    let world = evhub_compile::World::new(settings, objects.into());
    let compiled = evhub_compile::compile(&world);
    compiled.snapshot.processors[&Name::new("shop", "billing")].as_ref().clone()
}

#[test]
fn a_processor_is_suspended_when_dataplanes_act_on_it_and_ready_where_something_is_dispatched() {
    use evhub_control::{Doing, Trouble};

    let name = Name::new("shop", "billing");
    let verdict = verdict(true, Vec::new());
    let (away, there) = (Fleet::default(), Fleet::at(SINCE));
    let tell = |suspend: bool, fleet: &Fleet, unreached: bool, doing: Option<Doing>| {
        let processor = processor(suspend);
        let observed = doing.map(|doing| Observed { doing, time: at(1) });
        let facts = Facts {
            kind: Kind::Processor,
            name: &name,
            generation: 1,
            verdict: &verdict,
            runs: Runs::Processor(&processor, SINCE),
            stands: false,
            fleet,
            publish: None,
            before: None,
            unreached,
            observed: observed.as_ref(),
        };
        let told = Told::default().next(&facts, at(1));
        let all = brief(&told).into_iter();
        all.filter(|line| ["Ready", "Suspended", "Degraded"].iter().any(|of| line.starts_with(of))).collect()
    };
    let exhausted = Doing { exhausted: true, ..Doing::default() };
    let failing =
        Doing { troubles: vec![Trouble::BacklogGrowing, Trouble::TargetFailing], ..Doing::default() };
    let cases: [(Vec<String>, &[&str]); 8] = [
        (tell(false, &there, false, None), &["Ready=True Ready"]),
        (tell(true, &away, false, None), &["Ready=False NoDataplane"]),
        (tell(true, &there, false, None), &["Ready=True Suspended", "Suspended=True Suspended"]),
        (
            tell(true, &there, true, None),
            &["Ready=True Suspended", "Degraded=True NoEndpoints", "Suspended=True Suspended"],
        ),
        (tell(false, &there, true, None), &["Ready=False NoEndpoints", "Degraded=True NoEndpoints"]),
        (tell(false, &there, false, Some(exhausted)), &["Ready=False Exhausted", "Suspended=True Exhausted"]),
        (tell(false, &there, false, Some(failing)), &["Ready=True Ready", "Degraded=True TargetFailing"]),
        (tell(false, &there, false, Some(Doing::default())), &["Ready=True Ready"]),
    ];
    for (told, expected) in cases {
        assert_eq!(told, expected);
    }
}

#[test]
fn what_stands_is_read_back() {
    let (name, fleet) = (Name::new("shop", "orders"), Fleet::default());
    let (verdict, producer) =
        (verdict(false, vec![finding(ConditionType::Accepted, Reason::Invalid)]), producer());
    let before = Before { generation: 1, spec: Some("{\"topic\":{}}".into()) };
    let facts = Facts {
        kind: Kind::Producer,
        name: &name,
        generation: 2,
        verdict: &verdict,
        runs: Runs::Producer(&producer, SINCE),
        stands: true,
        fleet: &fleet,
        publish: None,
        before: Some(&before),
        unreached: false,
        observed: None,
    };
    let told = Told::default().next(&facts, at(1));
    assert_eq!(Told::read(&told.over(&Told::default())).stands(), Some(before.clone()));
    let told = told.next(&Facts { stands: false, ..facts }, at(1));
    assert_eq!(told.stands(), None);
}
