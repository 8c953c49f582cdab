//! What a topic is to look like, against what it looks like.

use std::time::Duration;

use evhub_journal::ClusterSettings;
use rdkafka::admin::{ConfigEntry, OwnedResourceSpecifier};

use super::*;

fn settings() -> TopicSettings {
    TopicSettings {
        partitions: 3,
        max_record_bytes: 2 << 20,
        retention: Some(Duration::from_secs(2)),
        ..TopicSettings::default()
    }
}

fn none() -> BrokerSettings {
    BrokerSettings::default()
}

/// What a Producer asks for besides, and what it asked for before.
fn asked(set: &[(&str, &str)], unset: &[&str]) -> BrokerSettings {
    BrokerSettings {
        set: set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        unset: unset.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn changed(all: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    all.iter().map(|(name, value)| ((*name).to_owned(), value.map(ToOwned::to_owned))).collect()
}

/// Live settings: name, value, and whether somebody set it.
fn live(entries: &[(&str, &str, bool)]) -> ConfigResource {
    let entry = |(name, value, set): &(&str, &str, bool)| ConfigEntry {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
        source: if *set { ConfigSource::DynamicTopic } else { ConfigSource::Default },
        is_read_only: false,
        is_default: false,
        is_sensitive: false,
    };
    let specifier = OwnedResourceSpecifier::Topic("t".into());
    ConfigResource { specifier, entries: entries.iter().map(entry).collect() }
}

#[test]
fn a_wish_in_kafkas_names() {
    let wish = of(settings(), &none());
    let has = |name: &str| wish.get(name).map(String::as_str);
    assert_eq!(has("retention.ms"), Some("2000"));
    assert_eq!(has("retention.bytes"), Some("-1"));
    assert_eq!(has("cleanup.policy"), Some("delete"));
    assert_eq!(has("max.message.bytes"), Some("2113536"));
    assert_eq!(has("unclean.leader.election.enable"), Some("false"));
    assert_eq!(has("min.insync.replicas"), None);
    // A batch may be larger than the largest record, and is refused whole over the limit.
    let small = of(TopicSettings { max_record_bytes: 100, ..settings() }, &none());
    assert_eq!(small.get("max.message.bytes").map(String::as_str), Some("540672"));
    let cluster = ClusterSettings { min_in_sync: Some(2), ..ClusterSettings::default() };
    let two = of(TopicSettings { cluster, ..settings() }, &none());
    assert_eq!(two.get("min.insync.replicas").map(String::as_str), Some("2"));
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let deletes = live(&[("cleanup.policy", "delete", false)]);
    let seen = Seen { partitions: 3, replicas: 1, led: true };
    let check = |topic, settings| check("evhub", topic, settings, seen, &deletes, &none());
    let cluster = |cluster| TopicSettings { cluster, ..settings() };
    let adopt = ClusterSettings { adopt: true, ..ClusterSettings::default() };
    assert_eq!(check("evhub.shop.orders", settings()), Ok(()));
    assert_eq!(check("orders", cluster(adopt)), Ok(()));
    for (topic, settings, why) in [
        ("orders", settings(), "adopt it"),
        ("evhubs.orders", settings(), "adopt it"),
        ("evhub.a", TopicSettings { partitions: 2, ..settings() }, "cannot shrink"),
        ("evhub.a", TopicSettings { compacted: true, ..settings() }, "is not compacted"),
        (
            "evhub.a",
            cluster(ClusterSettings { replicas: Some(3), ..adopt }),
            "1 replicas and not 3: reassign",
        ),
    ] {
        let refused = check(topic, settings).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn only_a_difference_is_set_and_nobody_elses_setting_is_touched() {
    let wish = of(settings(), &none());
    let mut entries: Vec<_> =
        wish.iter().map(|(name, value)| (name.as_str(), value.as_str(), false)).collect();
    entries.push(("segment.ms", "1000", true));
    entries.push(("flush.ms", "9", false));
    let live = live(&entries);
    assert_eq!(changes(&live, settings(), &none()), changed(&[]));
    let for_good = TopicSettings { retention: None, ..settings() };
    assert_eq!(changes(&live, for_good, &none()), changed(&[("retention.ms", Some("-1"))]));
}

#[test]
fn what_a_producer_asks_for_is_set_and_put_back_when_it_asks_no_more() {
    let mut entries: Vec<(String, String, bool)> =
        of(settings(), &none()).into_iter().map(|(name, value)| (name, value, false)).collect();
    entries.extend([
        ("compression.type".to_owned(), "producer".to_owned(), false),
        ("segment.ms".to_owned(), "1000".to_owned(), true),
        ("flush.ms".to_owned(), "9".to_owned(), false),
    ]);
    let entries: Vec<_> =
        entries.iter().map(|(name, value, set)| (name.as_str(), value.as_str(), *set)).collect();
    let live = live(&entries);
    for (set, unset, expected) in [
        (&[("compression.type", "zstd")][..], &[][..], &[("compression.type", Some("zstd"))][..]),
        (&[("compression.type", "producer")], &[], &[]),
        // What no broker knows is for brokers to refuse.
        (&[("no.such", "1")], &[], &[("no.such", Some("1"))]),
        (&[], &["segment.ms"], &[("segment.ms", None)]),
        // Nobody has set it, or it is asked for again.
        (&[], &["flush.ms"], &[]),
        (&[("segment.ms", "1000")], &["segment.ms"], &[]),
        // What the promises rest on is never the Producer's.
        (&[("retention.ms", "1")], &["cleanup.policy"], &[]),
    ] {
        assert_eq!(changes(&live, settings(), &asked(set, unset)), changed(expected), "{set:?} {unset:?}");
    }
}

#[test]
fn an_adopted_topic_has_what_is_asked_for_or_is_refused() {
    let deletes = live(&[("cleanup.policy", "delete", false), ("preallocate", "false", false)]);
    let seen = Seen { partitions: 3, replicas: 1, led: true };
    let cluster = ClusterSettings { adopt: true, ..ClusterSettings::default() };
    let settings = TopicSettings { cluster, ..settings() };
    let check = |topic, set| check("evhub", topic, settings, seen, &deletes, &asked(set, &[]));
    assert_eq!(check("orders", &[("preallocate", "FALSE")]), Ok(()));
    let refused = check("orders", &[("preallocate", "true")]).unwrap_err();
    assert!(
        refused.contains("has false and not true for preallocate: set that with Kafka's own"),
        "{refused}"
    );
    assert!(check("orders", &[("no.such", "1")]).unwrap_err().contains("has nothing and not 1"));
    assert_eq!(check("evhub.shop.orders", &[("preallocate", "true")]), Ok(()), "ours is set");
}

#[test]
fn what_would_be_cut_short_on_its_way_is_refused() {
    let cut = |set| sound(settings(), &asked(set, &[])).unwrap_err();
    assert!(cut(&[("a\0", "1")]).contains("NUL"));
    assert!(cut(&[("a", "1\0")]).contains("cannot be given \"a\""));
    assert_eq!(sound(settings(), &asked(&[("a", "1")], &[])), Ok(()));
    let refused = sound(TopicSettings { partitions: 0, ..settings() }, &none()).unwrap_err();
    assert!(refused.contains("at least one partition"), "{refused}");
    assert_eq!(listed(&asked(&[("b", "2"), ("a", "1")], &["c"])), "a=1, b=2");
}

#[test]
fn the_largest_record_is_known_where_the_limit_says_it() {
    let limited = |bytes: usize| largest(&live(&[("max.message.bytes", &bytes.to_string(), false)]));
    assert_eq!(limited(2 << 20), (2 << 20) - OVERHEAD);
    assert_eq!(limited(BATCH), 0);
    assert_eq!(largest(&live(&[])), 0);
}
