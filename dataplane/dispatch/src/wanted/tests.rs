//! Which records are let through, which come later, and which are refused.

use std::time::Duration;

use evhub_event::{Controls, Event, Record, kafka};
use evhub_routing::{
    Backoff, Filter, Growth, Name, OnExhausted, Order, Policy, Processor, Protocol, Retry, RetryAfter,
    RetryOn, Route, Start, Target,
};

use super::{Intake, due, intake};
use crate::Discard;

fn processor(filter: impl Into<Option<Filter>>, delay_key: Option<&str>) -> Processor {
    let wait = Duration::from_secs(1);
    Processor {
        name: Name::new("shop", "billing"),
        uid: String::new(),
        generation: 1,
        created: 0,
        dispatcher_id: "shop.billing".to_owned(),
        group: String::new(),
        state_topic: String::new(),
        dead_topic: String::new(),
        inbox_topic: String::new(),
        routes: vec![Route {
            producer: Name::new("shop", "orders"),
            topic: String::new(),
            due_topic: "evhub.shop.orders.due".to_owned(),
        }],
        partitions: 1,
        event_bytes: 1,
        replicas: 1,
        min_in_sync_replicas: 1,
        filter: filter.into(),
        delay_key: delay_key.map(str::to_owned),
        target: Target {
            url: http::Uri::from_static("http://127.0.0.1/"),
            protocol: Protocol::CloudEvents,
            timeout: wait,
            headers: Vec::new(),
            secret: false,
            service: None,
            tls: None,
        },
        policy: Policy {
            order: Order::Key,
            max_in_flight: 1,
            max_parked: 1,
            max_parked_bytes: 1,
            max_parked_per_key: 1,
            rate_limit: None,
            retry: Retry {
                max_attempts: 1,
                max_age: wait,
                backoff: Backoff { growth: Growth::Fixed, initial: wait, max: wait, jitter_percent: 0 },
                retry_after: RetryAfter { honor: true, max: wait },
                retry_on: RetryOn::default(),
            },
            on_exhausted: OnExhausted::DeadLetter,
            dead_letter_retention: wait,
        },
        start: Start::Earliest,
        suspend: false,
        resume: None,
    }
}

fn filter(tags: &[&str], types: &[&str], cel: Option<&str>) -> Filter {
    Filter {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        types: types.iter().map(|pattern| pattern.parse().unwrap()).collect(),
        cel: cel.map(|source| source.parse().unwrap()),
    }
}

fn record(kind: &str, data: &'static str, controls: &Controls) -> Record {
    let event = Event {
        id: "e".into(),
        source: "/s".into(),
        kind: kind.into(),
        subject: None,
        time: None,
        datacontenttype: Some("application/json".into()),
        dataschema: None,
        extensions: Vec::new(),
        data: Some(data.into()),
    };
    let mut record = kafka::encode(&event);
    record.headers.extend(controls.headers());
    record
}

fn tagged(tags: &[&str]) -> Controls {
    Controls { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..Controls::default() }
}

#[test]
fn every_part_of_a_filter_must_hold_and_the_first_that_does_not_is_the_reason() {
    let all = filter(&["paid", "vip"], &["shop.*"], Some("data.n > 1"));
    for (filter, tags, kind, data, expected) in [
        (None, &[][..], "x", "{}", Intake::Now),
        (Some(filter(&["vip"], &[], None)), &["vip"], "x", "{}", Intake::Now),
        (Some(filter(&["vip"], &[], None)), &["paid"], "x", "{}", Intake::Unwanted(Discard::Tags)),
        (Some(filter(&["vip"], &[], None)), &[], "x", "{}", Intake::Unwanted(Discard::Tags)),
        (Some(filter(&[], &["shop.*", "y"], None)), &[], "y", "{}", Intake::Now),
        (Some(filter(&[], &["shop.*", "y"], None)), &[], "x", "{}", Intake::Unwanted(Discard::Type)),
        (Some(filter(&[], &[], Some("data.n > 1"))), &[], "x", "{\"n\":2}", Intake::Now),
        (
            Some(filter(&[], &[], Some("data.n > 1"))),
            &[],
            "x",
            "{\"n\":1}",
            Intake::Unwanted(Discard::Expression),
        ),
        (Some(filter(&[], &[], Some("data.n > 1"))), &[], "x", "{}", Intake::Unwanted(Discard::Unclear)),
        (Some(filter(&[], &[], Some("data.n > 1"))), &[], "x", "no json", Intake::Unwanted(Discard::Unclear)),
        (Some(all.clone()), &["paid"], "shop.a", "{\"n\":2}", Intake::Now),
        (Some(all.clone()), &["other"], "shop.a", "{\"n\":2}", Intake::Unwanted(Discard::Tags)),
        (Some(all.clone()), &["paid"], "other", "{\"n\":2}", Intake::Unwanted(Discard::Type)),
        (Some(all), &["paid"], "shop.a", "{\"n\":0}", Intake::Unwanted(Discard::Expression)),
    ] {
        let processor = processor(filter, None);
        let record = record(kind, data, &tagged(tags));
        assert_eq!(intake(&processor, 0, &record), expected, "{:?} {tags:?} {kind} {data}", processor.filter);
    }
}

#[test]
fn what_is_no_event_is_let_through_to_become_a_dead_letter() {
    let record = Record { value: Some("x".into()), ..Record::default() };
    for filter in [filter(&[], &["a"], None), filter(&["a"], &[], None)] {
        assert_eq!(intake(&processor(filter, None), 0, &record), Intake::Now);
    }
}

#[test]
fn a_delay_is_this_processors_by_its_key() {
    let minute = Duration::from_mins(1);
    let delays = Controls {
        delay_keys: vec![("reminder".to_owned(), minute), ("escalate".to_owned(), 2 * minute)],
        ..Controls::default()
    };
    for (key, controls, expected) in [
        (Some("reminder"), &delays, Intake::Later(minute)),
        (Some("escalate"), &delays, Intake::Later(2 * minute)),
        (Some("other"), &delays, Intake::Undelayed),
        (Some("reminder"), &Controls::default(), Intake::Undelayed),
        (None, &delays, Intake::Now),
    ] {
        assert_eq!(intake(&processor(None, key), 0, &record("x", "{}", controls)), expected, "{key:?}");
    }
}

#[test]
fn a_delay_counts_from_when_the_log_took_the_event_but_from_no_later_than_now() {
    let second = Duration::from_secs(1);
    for (taken, delay, now, expected) in [
        (10_000, second, 10_400, Some(11_000)),
        (10_000, second, 11_000, None),
        (10_000, Duration::ZERO, 10_000, None),
        // By a clock that was years ahead.
        (i64::MAX, second, 10_000, Some(11_000)),
        (10_000, Duration::MAX, 10_000, Some(i64::MAX)),
    ] {
        assert_eq!(due(taken, delay, now), expected, "{taken} {delay:?} {now}");
    }
}
