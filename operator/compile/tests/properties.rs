//! Properties of `compile`: it has an answer to every world, whatever the order in which its objects are found.

use evhub_compile::{
    Apps, Asked, Egress, Kept, Log, Object, Origin, Resource, Secrets, Services, Settings, World, compile,
};
use evhub_crds::{Kind, StartFrom, schema};
use evhub_routing::Name;
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn the_order_of_objects_does_not_matter(
        (objects, shuffled) in vec(object(), 0..8).prop_flat_map(|o| (Just(o.clone()), Just(o).prop_shuffle()))
    ) {
        prop_assert_eq!(compile(&world(objects)), compile(&world(shuffled)));
    }

    #[test]
    fn what_is_served_is_what_is_reported(objects in vec(object(), 0..8)) {
        let count = objects.len();
        let compiled = compile(&world(objects));
        prop_assert_eq!(compiled.verdicts.len(), count);
        let obeyed = |kind| {
            let sound = compiled.verdicts.iter().filter(|v| v.kind == Some(kind) && v.accepted && v.is_resolved());
            sound.map(|v| format!("{}/{}", v.namespace.as_deref().unwrap(), v.name.as_deref().unwrap())).collect::<Vec<_>>()
        };
        let names = |names: Vec<&Name>| names.into_iter().map(ToString::to_string).collect::<Vec<_>>();
        prop_assert_eq!(obeyed(Kind::Producer), names(compiled.snapshot.producers.keys().collect()));
        prop_assert_eq!(obeyed(Kind::Processor), names(compiled.snapshot.processors.keys().collect()));
    }

    #[test]
    fn any_spec_has_a_verdict(kind in select(&Kind::ALL[..]), spec in option::of(anything())) {
        let resource = Resource { spec, ..resource(kind, "a", 0) };
        let compiled = compile(&world(vec![Object::Resource(Box::new(resource))]));
        prop_assert_eq!(compiled.verdicts.len(), 1);
    }
}

/// Such twins cannot be told apart by age or place; found by the property above.
#[test]
fn twins_that_differ_in_what_they_said_before_come_to_one_result() {
    let twin = |partitions| {
        let kept = Kept { partitions: Some(partitions), ..Kept::default() };
        let spec = Some(json!({ "topic": { "partitions": 2 } }));
        let twin = Resource { kept, spec, ..resource(Kind::Producer, "a", 0) };
        Object::Resource(Box::new(twin))
    };
    assert_eq!(compile(&world(vec![twin(1), twin(3)])), compile(&world(vec![twin(3), twin(1)])));
}

fn world(objects: Vec<Object>) -> World {
    let settings = Settings {
        prefix: "evhub".into(),
        egress: Egress::Loopback,
        apps: Apps::Any,
        services: Services::Assumed,
        secrets: Secrets::Assumed,
        log: Log::Embedded,
    };
    World::new(settings, objects)
}

fn object() -> impl Strategy<Value = Object> {
    let resource =
        (select(&["a", "b", "B"][..]), 0..3i64, kept(), spec(), any::<bool>(), 0..3u64, any::<bool>())
            .prop_map(|(name, created, kept, (kind, spec), order_break, line, file)| {
                let asked = Asked { order_break, ..Asked::default() };
                let origin = file.then(|| Origin { file: "f".into(), line });
                let unknown = schema::unknown_fields(kind, &json!({ "spec": spec }));
                let spec = Some(spec);
                let base = resource(kind, name, created);
                Object::Resource(Box::new(Resource { kept, origin, asked, unknown, spec, ..base }))
            });
    let undecodable = (option::of(select(&Kind::ALL[..])), 0..3u64).prop_map(|(kind, line)| {
        Object::Undecodable { kind, origin: Origin { file: "f".into(), line }, problem: "no".into() }
    });
    prop_oneof![9 => resource, 1 => undecodable]
}

fn resource(kind: Kind, name: &str, created: i64) -> Resource {
    Resource {
        kind,
        name: Name::new("ns", name),
        uid: "uid".into(),
        created,
        generation: 1,
        kept: Kept::default(),
        origin: None,
        asked: Asked::default(),
        unknown: Vec::new(),
        spec: None,
    }
}

fn kept() -> impl Strategy<Value = Kept> {
    (option::of(1..4u32), option::of(select(&[StartFrom::Latest, StartFrom::Earliest][..])))
        .prop_map(|(partitions, start_from)| Kept { partitions, start_from, ..Kept::default() })
}

/// Mostly sound, so that the deeper decisions are reached.
fn spec() -> impl Strategy<Value = (Kind, Value)> {
    let producer = (0..5u32).prop_map(|partitions| json!({ "topic": { "partitions": partitions } }));
    let processor = (
        vec(select(&["a", "b", "c"][..]), 0..3),
        select(
            &["http://127.0.0.1/", "http://[::1]:1/x?y", "http://h:99999/", "http://h/", "ftp://h", ""][..],
        ),
        select(&["Key", "None", "Partition", "Other"][..]),
        select(&["Latest", "Earliest", "2026-01-31T00:00:00Z", "2026-02-31T00:00:00Z"][..]),
        select(&["1ms", "0s", "20m"][..]),
        option::of(select(&["true", "data.a >", "a > 1", "data.a.all(x, x.all(y, true))"][..])),
        (option::of(Just("reminder")), 0..3u32, select(&["X-A", "x-a", "Host", "é"][..])),
    )
        .prop_map(|(producers, url, order, start, initial, cel, (delay_key, parked, header))| {
            let producers: Vec<Value> = producers.into_iter().map(|name| json!({ "name": name })).collect();
            let retry = json!({ "backoff": { "initial": initial }, "retryOn": { "status": ["5xx"] } });
            let headers = json!([{ "name": "X-A", "value": "a" }, { "name": header, "value": "b" }]);
            let mut spec = json!({
                "producers": producers,
                "target": { "url": url, "headers": if parked == 0 { headers } else { json!([]) } },
                "delivery": { "order": order, "maxParked": 2, "maxParkedPerKey": parked + 1, "retry": retry },
                "startFrom": start,
            });
            if let Some(cel) = cel {
                spec["filter"] = json!({ "tags": ["a"], "types": ["a.*"], "cel": cel });
            }
            if let Some(delay_key) = delay_key {
                spec["delayKey"] = json!(delay_key);
            }
            spec
        });
    prop_oneof![
        producer.prop_map(|spec| (Kind::Producer, spec)),
        processor.prop_map(|spec| (Kind::Processor, spec)),
    ]
}

const FIELDS: &[&str] = &[
    "topic",
    "partitions",
    "limits",
    "eventBytes",
    "producers",
    "name",
    "target",
    "url",
    "timeout",
    "delivery",
    "order",
    "maxInFlight",
    "retry",
    "backoff",
    "initial",
    "max",
    "multiplier",
    "startFrom",
    "filter",
    "tags",
    "types",
    "cel",
    "delayKey",
    "headers",
    "value",
    "maxParked",
    "maxParkedBytes",
    "maxParkedPerKey",
    "rateLimit",
    "events",
    "per",
    "maxAge",
    "retryAfter",
    "retryOn",
    "status",
    "suspend",
    "é",
];

/// Any JSON, with field names that mean something.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,80}".prop_map(Value::from),
        "[0-9]{1,6}(s|ms|Mi|)".prop_map(Value::from),
        select(&["Key", "Latest", "http://127.0.0.1:8089/", "http://[::1", "1.00001Ki"][..])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((select(FIELDS), inner), 0..8).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}
