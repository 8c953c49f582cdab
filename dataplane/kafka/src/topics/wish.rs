//! What a topic is to look like in Kafka's names, and how that compares with what it looks like. Pure.

use std::collections::BTreeMap;

use evhub_journal::TopicSettings;
use rdkafka::admin::{ConfigResource, ConfigSource};

use super::Seen;
use crate::connection::{BATCH, OVERHEAD};

/// A topic's settings in Kafka's names.
pub(super) fn of(settings: TopicSettings) -> BTreeMap<&'static str, String> {
    let TopicSettings {
        partitions: _,
        max_record_bytes,
        compacted,
        retention,
        retention_bytes,
        reserved: _,
        cluster,
    } = settings;
    let or_never = |value: Option<u128>| value.map_or("-1".to_owned(), |value| value.to_string());
    let mut wish = BTreeMap::from([
        ("cleanup.policy", if compacted { "compact" } else { "delete" }.to_owned()),
        ("max.message.bytes", (max_record_bytes.max(BATCH) + OVERHEAD).to_string()),
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("retention.ms", or_never(retention.map(|retention| retention.as_millis()))),
        ("retention.bytes", or_never(retention_bytes.map(u128::from))),
        // A broker that missed acknowledged records must not come to lead.
        ("unclean.leader.election.enable", "false".to_owned()),
    ]);
    if let Some(min_in_sync) = cluster.min_in_sync {
        wish.insert("min.insync.replicas", min_in_sync.to_string());
    }
    wish
}

/// Why a topic that is there cannot be what is asked for, if it cannot.
pub(super) fn check(
    prefix: &str,
    topic: &str,
    settings: TopicSettings,
    seen: Seen,
    live: &ConfigResource,
) -> Result<(), String> {
    let is_ours = topic.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
    if !is_ours && !settings.cluster.adopt {
        return Err(
            "is there already and may be somebody else's: adopt it, or choose another name".to_owned()
        );
    }
    let (count, wish) = (seen.partitions, settings.partitions);
    if wish < count {
        return Err(format!("has {count} partitions, and {wish} are fewer: it cannot shrink"));
    }
    if value(live, "cleanup.policy").is_some_and(|policy| policy.contains("compact")) != settings.compacted {
        let what = if settings.compacted { "is not" } else { "is" };
        return Err(format!("{what} compacted, which cannot be changed"));
    }
    if let Some(wish) = settings.cluster.replicas.map(usize::from).filter(|wish| *wish > seen.replicas) {
        let has = seen.replicas;
        return Err(format!(
            "has partitions with {has} replicas and not {wish}: reassign them with Kafka's own tools, or ask for {has}"
        ));
    }
    Ok(())
}

/// The largest record that a topic takes as it is, as far as its brokers' limit tells.
pub(super) fn largest(live: &ConfigResource) -> usize {
    match value(live, "max.message.bytes").and_then(|limit| limit.parse::<usize>().ok()) {
        // Below this it is the batch that decides the limit, and the record's is not known.
        Some(limit) if limit > BATCH + OVERHEAD => limit - OVERHEAD,
        _ => 0,
    }
}

/// What to set so that live settings are as wished; nothing where they are. The request replaces all that were ever set on the
/// topic, so those that are not ours go along.
pub(super) fn difference(live: &ConfigResource, settings: TopicSettings) -> Option<BTreeMap<String, String>> {
    let wish = of(settings);
    if wish.iter().all(|(name, wish)| value(live, name) == Some(wish)) {
        return None;
    }
    let set = live.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
    let set = set.filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?)));
    let mut all: BTreeMap<String, String> = set.collect();
    all.extend(wish.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Some(all)
}

fn value<'a>(live: &'a ConfigResource, name: &str) -> Option<&'a str> {
    live.entries.iter().find(|entry| entry.name == name)?.value.as_deref()
}

#[cfg(test)]
mod tests {
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
        let wish = of(settings());
        let has = |name: &str| wish.get(name).map(String::as_str);
        assert_eq!(has("retention.ms"), Some("2000"));
        assert_eq!(has("retention.bytes"), Some("-1"));
        assert_eq!(has("cleanup.policy"), Some("delete"));
        assert_eq!(has("max.message.bytes"), Some("2113536"));
        assert_eq!(has("unclean.leader.election.enable"), Some("false"));
        assert_eq!(has("min.insync.replicas"), None);
        // A batch may be larger than the largest record, and is refused whole over the limit.
        let small = of(TopicSettings { max_record_bytes: 100, ..settings() });
        assert_eq!(small.get("max.message.bytes").map(String::as_str), Some("540672"));
        let cluster = ClusterSettings { min_in_sync: Some(2), ..ClusterSettings::default() };
        let two = of(TopicSettings { cluster, ..settings() });
        assert_eq!(two.get("min.insync.replicas").map(String::as_str), Some("2"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let deletes = live(&[("cleanup.policy", "delete", false)]);
        let seen = Seen { partitions: 3, replicas: 1, led: true };
        let check = |topic, settings| check("evhub", topic, settings, seen, &deletes);
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
    fn only_a_difference_is_set_and_nobody_elses_setting_is_lost() {
        let wish = of(settings());
        let mut entries: Vec<_> = wish.iter().map(|(name, value)| (*name, value.as_str(), false)).collect();
        entries.push(("segment.ms", "1000", true));
        entries.push(("flush.ms", "9", false));
        assert_eq!(difference(&live(&entries), settings()), None);
        let changed = difference(&live(&entries), TopicSettings { retention: None, ..settings() }).unwrap();
        assert_eq!(changed["retention.ms"], "-1");
        assert_eq!((changed["segment.ms"].as_str(), changed.get("flush.ms")), ("1000", None));
    }

    #[test]
    fn the_largest_record_is_known_where_the_limit_says_it() {
        let limited = |bytes: usize| largest(&live(&[("max.message.bytes", &bytes.to_string(), false)]));
        assert_eq!(limited(2 << 20), (2 << 20) - OVERHEAD);
        assert_eq!(limited(BATCH), 0);
        assert_eq!(largest(&live(&[])), 0);
    }
}
