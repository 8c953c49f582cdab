//! Whatever goes over the wire is equal on the other side, and whatever does not decode is said.

use std::time::Duration;

use evhub_cron::{Dialect, End, MissedRuns, Rule};
use http::{HeaderName, HeaderValue};
use proptest::{collection::vec, option, prelude::*, sample::select};
use rustls_pki_types::CertificateDer;

use super::*;
use crate::{
    Backoff, Brokers, CaBundle, CheckBack, CheckProtocol, Crontab, Deduplication, DeduplicationKey,
    EvhubName, Filter, Growth, GrpcCode, Ledger, OnExhausted, Order, Pace, Policy, Protocol, RateLimit,
    Retry, RetryAfter, RetryOn, Route, Schedule, ScheduledData, ScheduledEvent, Start, Target, Tls,
    Undecided,
};

fn word() -> impl Strategy<Value = String> {
    "[a-zäß0-9./-]{0,12}"
}

fn name() -> impl Strategy<Value = Name> {
    ("[a-c]", "[a-f]").prop_map(|(namespace, name)| Name::new(namespace, name))
}

fn span() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn producer() -> impl Strategy<Value = Producer> {
    let limits = (
        option::of(span()),
        option::of(any::<u64>()),
        any::<u32>(),
        option::of(any::<u32>()),
        (span(), ledger()),
        brokers(),
    );
    (name(), word(), word(), any::<(u32, u16, u16)>(), limits).prop_map(
        |(name, uid, topic, (partitions, batch_events, batch_bytes), limits)| {
            let (retention, retention_bytes, event_bytes, events_per_second, (max_delay, ledger), brokers) =
                limits;
            Producer {
                evhub: EvhubName { app_id: uid.clone(), topic_id: topic.clone() },
                due_topic: topic.clone(),
                pending_timers: partitions.into(),
                name,
                uid,
                topic,
                partitions,
                retention,
                retention_bytes,
                event_bytes: event_bytes as usize,
                batch_events: batch_events.into(),
                batch_bytes: batch_bytes.into(),
                events_per_second,
                max_delay,
                ledger,
                brokers,
            }
        },
    )
}

fn ledger() -> impl Strategy<Value = Ledger> {
    let key = select(vec![DeduplicationKey::IdempotencyKey, DeduplicationKey::SourceAndId]);
    let same = (key, span()).prop_map(|(by, window)| Deduplication { by, window });
    (same, option::of(check_back()), vec(schedule(), 0..3))
        .prop_map(|(deduplication, check_back, schedules)| Ledger { deduplication, check_back, schedules })
}

fn check_back() -> impl Strategy<Value = CheckBack> {
    let protocol = select(vec![
        CheckProtocol::CloudEvents,
        CheckProtocol::EvHubHttp,
        CheckProtocol::EvHubHttpProtobuf,
        CheckProtocol::EvHubGrpc,
    ]);
    let undecided = select(vec![Undecided::Rollback, Undecided::Commit, Undecided::Hold]);
    let url = select(vec!["http://shop.shop.svc:80/check", "https://[::1]:8443"]);
    (url, option::of(name()), protocol, (span(), span()), any::<u32>(), undecided).prop_map(
        |(url, service, protocol, (timeout, interval), max_checks, on_exhausted)| CheckBack {
            url: url.parse().unwrap(),
            service,
            protocol,
            timeout,
            interval,
            max_checks,
            on_exhausted,
        },
    )
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let zone = select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe"]);
    let crontab = (select(vec!["0 2 * * *", "*/5 * * * * *", "@daily"]), zone).prop_map(|(text, zone)| {
        let Rule::Cron(cron) = Dialect::Standard.parse(text).unwrap().rule else { panic!("{text}") };
        Pace::Cron(Crontab::new(text, cron, zone.parse().unwrap()))
    });
    let every = (any::<i64>(), span()).prop_map(|(anchor, period)| Pace::Every { anchor, period });
    let end = prop_oneof![any::<i64>().prop_map(End::Time), any::<u64>().prop_map(End::Count)];
    let policies = [evhub_cron::Policy::Skip, evhub_cron::Policy::Latest, evhub_cron::Policy::All];
    let missed = (select(policies.to_vec()), 0..=10_000_u32, span())
        .prop_map(|(policy, max, deadline)| MissedRuns { policy, max, deadline });
    let data = prop_oneof![
        word().prop_map(ScheduledData::Json),
        vec(any::<u8>(), 0..9).prop_map(ScheduledData::Binary)
    ];
    let event = (word(), option::of(data), option::of(word()), vec(word(), 0..3))
        .prop_map(|(kind, data, partition_key, tags)| ScheduledEvent { kind, data, partition_key, tags });
    let window = (option::of(any::<i64>()), option::of(end));
    (word(), prop_oneof![crontab, every], window, missed, span(), any::<bool>(), event).prop_map(
        |(name, pace, (start, end), missed_runs, jitter, suspend, event)| Schedule {
            name,
            pace,
            start,
            end,
            missed_runs,
            jitter,
            suspend,
            event,
        },
    )
}

fn route() -> impl Strategy<Value = Route> {
    (name(), word(), word()).prop_map(|(producer, topic, due_topic)| Route { producer, topic, due_topic })
}

fn brokers() -> impl Strategy<Value = Brokers> {
    let config = vec((word(), word()), 0..3).prop_map(|config| config.into_iter().collect());
    (any::<(u32, u32, bool, bool)>(), config).prop_map(|(numbers, config)| {
        let (replicas, min_in_sync_replicas, adopt, delete) = numbers;
        Brokers { replicas, min_in_sync_replicas, config, adopt, delete }
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let types = select(vec!["shop.order.paid", "shop.order.*", "*"]);
    let cel = select(vec!["data.amount > 100", "event.subject.startsWith('de/')"]);
    (vec(word(), 0..3), vec(types, 0..3), option::of(cel)).prop_map(|(tags, types, cel)| Filter {
        tags,
        types: types.into_iter().map(|text| text.parse().unwrap()).collect(),
        cel: cel.map(|text| text.parse().unwrap()),
    })
}

fn authority() -> CaBundle {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CaBundle::of(vec![CertificateDer::from(parameters.self_signed(&key).unwrap().der().to_vec())]).unwrap()
}

fn tls() -> impl Strategy<Value = Tls> {
    let server = select(vec!["billing.shop.svc", "127.0.0.1", "::1"]);
    let bundle = authority();
    (any::<bool>(), option::of(server)).prop_map(move |(bundled, server)| Tls {
        ca_bundle: bundled.then(|| bundle.clone()),
        server_name: server.map(|text| text.parse().unwrap()),
    })
}

fn target() -> impl Strategy<Value = Target> {
    let url = select(vec!["http://billing.shop.svc:80/events?x=1", "https://[::1]:8443", "http://a"]);
    let protocol = select(vec![
        Protocol::CloudEvents,
        Protocol::CloudEventsStructured,
        Protocol::Raw,
        Protocol::EvHubHttp,
        Protocol::EvHubGrpc,
        Protocol::Stream,
    ]);
    let header = (select(vec!["x-team", "authorization"]), "[ -~ä]{0,20}").prop_map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    });
    (url, option::of(name()), protocol, span(), vec(header, 0..3), any::<bool>(), option::of(tls())).prop_map(
        |(url, service, protocol, timeout, headers, secret, tls)| Target {
            url: url.parse().unwrap(),
            service,
            protocol,
            timeout,
            headers,
            secret,
            tls,
        },
    )
}

fn backoff() -> impl Strategy<Value = Backoff> {
    let growth = prop_oneof![
        Just(Growth::Fixed),
        Just(Growth::Linear),
        any::<u32>().prop_map(|multiplier| Growth::Exponential { multiplier }),
    ];
    (growth, span(), span(), any::<u8>()).prop_map(|(growth, initial, max, jitter_percent)| Backoff {
        growth,
        initial,
        max,
        jitter_percent,
    })
}

fn retry() -> impl Strategy<Value = Retry> {
    let status = vec(select(vec!["429", "5xx", "301"]).prop_map(|text| text.parse().unwrap()), 0..3);
    let grpc = vec((1..=16).prop_map(GrpcCode::of), 0..3);
    let on = (status, grpc, any::<bool>()).prop_map(|(status, grpc, connection)| RetryOn {
        status,
        grpc,
        connection,
    });
    let after = (any::<bool>(), span()).prop_map(|(honor, max)| RetryAfter { honor, max });
    (any::<u32>(), span(), backoff(), after, on).prop_map(
        |(max_attempts, max_age, backoff, retry_after, retry_on)| Retry {
            max_attempts,
            max_age,
            backoff,
            retry_after,
            retry_on,
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    let order = select(vec![Order::None, Order::Key, Order::KeyFirstAttempt, Order::Partition]);
    let end = select(vec![OnExhausted::DeadLetter, OnExhausted::Suspend, OnExhausted::Drop]);
    let rate = (any::<u32>(), span(), any::<u32>()).prop_map(|(events, per, burst)| RateLimit {
        events,
        per,
        burst,
    });
    (order, any::<(u32, u32, u64, u32)>(), option::of(rate), retry(), end, span()).prop_map(
        |(
            order,
            (max_in_flight, max_parked, max_parked_bytes, max_parked_per_key),
            rate_limit,
            retry,
            end,
            kept,
        )| {
            Policy {
                order,
                max_in_flight,
                max_parked,
                max_parked_bytes,
                max_parked_per_key,
                rate_limit,
                retry,
                on_exhausted: end,
                dead_letter_retention: kept,
            }
        },
    )
}

fn processor() -> impl Strategy<Value = Processor> {
    let start = prop_oneof![
        Just(Start::Latest),
        Just(Start::Earliest),
        Just(Start::Committed),
        any::<i64>().prop_map(Start::At),
    ];
    let routes = vec(route(), 0..3);
    let numbers = any::<(i64, i64, u32, u32, bool, Option<i64>, (u32, u32))>();
    let words = (word(), word(), word(), word(), word(), option::of(word()), word());
    (name(), words, numbers, routes, option::of(filter()), target(), policy(), start).prop_map(
        |(name, words, numbers, routes, filter, target, policy, start)| {
            let (uid, group, state_topic, dead_topic, inbox_topic, delay_key, dispatcher_id) = words;
            let (generation, created, partitions, event_bytes, suspend, resume, copies) = numbers;
            let (replicas, min_in_sync_replicas) = copies;
            Processor {
                name,
                uid,
                generation,
                created,
                dispatcher_id,
                group,
                state_topic,
                dead_topic,
                inbox_topic,
                routes,
                partitions,
                event_bytes: event_bytes as usize,
                replicas,
                min_in_sync_replicas,
                filter,
                delay_key,
                target,
                policy,
                start,
                suspend,
                resume,
            }
        },
    )
}

fn removal() -> impl Strategy<Value = Removal> {
    (name(), word(), word(), word()).prop_map(|(name, uid, topic, due_topic)| Removal {
        name,
        uid,
        topic,
        due_topic,
    })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let generation = any::<(u64, u64)>().prop_map(|(epoch, revision)| Generation { epoch, revision });
    (generation, vec(producer(), 0..4), vec(processor(), 0..4), vec(removal(), 0..3)).prop_map(
        |(generation, producers, processors, removals)| Snapshot {
            generation,
            removals: removals.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect(),
            producers: producers.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect(),
            processors: processors.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect(),
        },
    )
}

/// As it is after the journey in bytes.
fn sent(update: &Update) -> Update {
    Update::decode(update.encode_to_vec().as_slice()).unwrap()
}

fn assemble(running: &Snapshot, parts: &[Update]) -> Result<Snapshot, Invalid> {
    let mut assembly = Assembly::default();
    let mut ended: Vec<_> = parts.iter().filter_map(|part| assembly.take(running, sent(part))).collect();
    assert_eq!(ended.len(), 1, "there is one answer for all parts");
    ended.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_whole_is_equal_on_the_other_side(snapshot in snapshot()) {
        let parts = parts(None, &snapshot);
        prop_assert_eq!(assemble(&Snapshot::default(), &parts), Ok(snapshot.clone()));
        prop_assert_eq!(whole(parts), Ok(snapshot));
    }

    #[test]
    fn a_difference_makes_one_of_the_other(before in snapshot(), after in snapshot()) {
        prop_assert_eq!(assemble(&before, &parts(Some(&before), &after)), Ok(after));
    }

    #[test]
    fn digests_are_equal_where_the_snapshots_are(a in snapshot(), b in snapshot()) {
        let same = Snapshot { generation: b.generation, ..a.clone() } == b;
        prop_assert_eq!(Digest::of(&a) == Digest::of(&b), same);
        prop_assert_eq!(Digest::from_bytes(&Digest::of(&a).bytes()), Some(Digest::of(&a)));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..400)) {
        if let Ok(update) = Update::decode(bytes.as_slice()) {
            let _ = Assembly::default().take(&Snapshot::default(), update);
        }
    }
}

/// One of each, made the same way every time.
fn some() -> Snapshot {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut one = |strategy: BoxedStrategy<Snapshot>| {
        proptest::strategy::ValueTree::current(&strategy.new_tree(&mut runner).unwrap())
    };
    loop {
        let found = one(snapshot().boxed());
        if found.producers.len() > 1 && found.processors.len() > 1 {
            return found;
        }
    }
}

#[test]
fn a_large_world_comes_in_parts_and_a_small_difference_in_one() {
    let mut large = some();
    let processor = large.processors.values().next().unwrap().as_ref().clone();
    for number in 0..10_000 {
        let name = Name::new("many", format!("p{number}"));
        let one = Processor { name: name.clone(), ..processor.clone() };
        large.processors.insert(name, Arc::new(one));
    }
    let all = parts(None, &large);
    assert!(all.len() > 2, "{}", all.len());
    assert!(all.iter().all(|part| part.encoded_len() < PART + (64 << 10)));
    let arrived = assemble(&Snapshot::default(), &all).unwrap();
    assert_eq!(arrived, large);

    let mut edited = large.clone();
    edited.generation.revision = large.generation.revision.wrapping_add(1);
    let name = Name::new("many", "p7");
    edited.processors.insert(
        name.clone(),
        Arc::new(Processor { suspend: !processor.suspend, name: name.clone(), ..processor }),
    );
    edited.processors.remove(&Name::new("many", "p8"));
    let difference = parts(Some(&large), &edited);
    assert_eq!(
        (difference.len(), difference[0].processors.len(), difference[0].gone_processors.len()),
        (1, 1, 1)
    );
    let next = assemble(&arrived, &difference).unwrap();
    assert_eq!(next, edited);
    let same = Name::new("many", "p9");
    assert!(
        Arc::ptr_eq(&next.processors[&same], &arrived.processors[&same]),
        "what stays the same is shared"
    );
    // The whole once more shares as well: a new connection starts nothing anew.
    let again = assemble(&next, &parts(None, &edited)).unwrap();
    assert!(Arc::ptr_eq(&again.processors[&same], &next.processors[&same]));
}

#[test]
fn what_is_no_snapshot_is_refused_and_named() {
    let snapshot = some();
    let one = || parts(None, &snapshot).remove(0);
    let with = |change: &dyn Fn(&mut Update)| {
        let mut update = one();
        change(&mut update);
        assemble(&Snapshot::default(), &[update]).unwrap_err().to_string()
    };
    let name = display(one().processors[0].name.as_ref());
    for (problem, place, change) in [
        (
            "is missing",
            format!("processors[{name}].target"),
            (&|update: &mut Update| update.processors[0].target = None) as &dyn Fn(&mut Update),
        ),
        ("unknown here (got number 99)", format!("processors[{name}].target.protocol"), &|update| {
            update.processors[0].target.as_mut().unwrap().protocol = 99;
        }),
        ("must be absolute", format!("processors[{name}].target.url"), &|update| {
            update.processors[0].target.as_mut().unwrap().url = "/events".to_owned();
        }),
        ("must be below a second", format!("processors[{name}].target.timeout.nanos"), &|update| {
            update.processors[0].target.as_mut().unwrap().timeout =
                Some(proto::Span { seconds: 1, nanos: 1 << 30 });
        }),
        ("not a failing gRPC code (got 0)", format!("processors[{name}].policy.retry.onGrpc"), &|update| {
            update.processors[0].policy.as_mut().unwrap().retry.as_mut().unwrap().on_grpc = vec![0];
        }),
        ("does not come to what its sender says", "update.digest".to_owned(), &|update| {
            update.producers[0].partitions ^= 1;
        }),
        ("does not come to what its sender says", "update.digest".to_owned(), &|update| {
            update.digest = vec![0; 3].into();
        }),
        ("the difference to 1.1, and 0.0 runs here", "update.base".to_owned(), &|update| {
            update.base = Some(proto::Generation { epoch: 1, revision: 1 });
        }),
    ] {
        let said = with(change);
        assert!(said.starts_with(&format!("{place}: {problem}")), "{said}");
    }
    assert_eq!(whole([]).unwrap_err().to_string(), "update: the last part is missing");
    let header = proto::Header { name: "authorization".to_owned(), value: "hush\n".as_bytes().into() };
    let said = with(&|update| update.processors[0].target.as_mut().unwrap().headers = vec![header.clone()]);
    assert!(
        said.contains("headers[authorization]: not a header's value") && !said.contains("hush"),
        "{said}"
    );
}

/// A later version's field would be dropped in silence: it is found, because the digest is over it.
#[test]
fn what_this_version_does_not_know_is_found() {
    let mut update = parts(None, &some()).remove(0);
    let mut bytes = update.producers[0].encode_to_vec();
    // Field 999, a number.
    prost::encoding::uint32::encode(999, &1, &mut bytes);
    assert_eq!(proto::Producer::decode(bytes.as_slice()).unwrap(), update.producers[0], "it is dropped");
    // The sender's digest is over what it wrote.
    update.digest = vec![7; 16].into();
    assert!(assemble(&Snapshot::default(), &[update]).unwrap_err().to_string().starts_with("update.digest"));
}

#[test]
fn a_snapshot_that_ends_in_another_is_refused_once() {
    let snapshot = some();
    let mut first = parts(None, &snapshot).remove(0);
    first.digest.clear();
    let mut second = parts(None, &snapshot).remove(0);
    second.generation = Some(proto::Generation { epoch: 9, revision: 9 });
    let said = assemble(&Snapshot::default(), &[first, second]).unwrap_err().to_string();
    assert!(said.contains("another snapshot began"), "{said}");
}
