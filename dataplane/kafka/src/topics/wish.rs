//! What a topic is to look like in Kafka's names, and how that compares with what it looks like. Pure.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use evhub_journal::{BrokerSettings, TopicSettings};
use rdkafka::admin::{ConfigResource, ConfigSource};

use super::Seen;
use crate::connection::{BATCH, OVERHEAD};

/// What no topic can be made with, whatever brokers there are.
pub(super) fn sound(settings: TopicSettings, brokers: &BrokerSettings) -> Result<(), String> {
    if settings.partitions == 0 {
        return Err("needs at least one partition".to_owned());
    }
    // Kafka's texts end there, so that something else would be set than what is written.
    let is_cut = |(name, value): &(&String, &String)| name.contains('\0') || value.contains('\0');
    match brokers.set.iter().find(is_cut) {
        Some((name, _)) => Err(format!("cannot be given {name:?}: there is a NUL in it")),
        None => Ok(()),
    }
}

/// A topic's settings in Kafka's names: what it is asked to have besides never counts against what it must have.
pub(super) fn of(settings: TopicSettings, brokers: &BrokerSettings) -> BTreeMap<String, String> {
    let managed = managed(settings).into_iter().map(|(name, value)| (name.to_owned(), value));
    brokers.set.clone().into_iter().chain(managed).collect()
}

/// What is asked for besides, as text.
pub(super) fn listed(brokers: &BrokerSettings) -> String {
    let all = brokers.set.iter().map(|(name, value)| format!("{name}={value}"));
    all.collect::<Vec<_>>().join(", ").chars().take(super::WORDS).collect()
}

/// Whether a topic is this installation's by its name.
pub(super) fn is_ours(prefix: &str, topic: &str) -> bool {
    topic.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
}

/// What follows from what the log is asked for.
fn managed(settings: TopicSettings) -> BTreeMap<&'static str, String> {
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
    brokers: &BrokerSettings,
) -> Result<(), String> {
    let is_ours = is_ours(prefix, topic);
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
    // Others may count on what they have set.
    let differs = |(name, wish): &(&String, &String)| {
        !value(live, name).is_some_and(|has| has.eq_ignore_ascii_case(wish))
    };
    match brokers.set.iter().find(differs).filter(|_| !is_ours) {
        Some((name, wish)) => {
            let has = value(live, name).unwrap_or("nothing");
            Err(format!(
                "is adopted, and has {has} and not {wish} for {name}: set that with Kafka's own tools, or leave it out of \
                 topic.config"
            ))
        }
        None => Ok(()),
    }
}

/// The largest record that a topic takes as it is, as far as its brokers' limit tells.
pub(super) fn largest(live: &ConfigResource) -> usize {
    match value(live, "max.message.bytes").and_then(|limit| limit.parse::<usize>().ok()) {
        // Below this it is the batch that decides the limit, and the record's is not known.
        Some(limit) if limit > BATCH + OVERHEAD => limit - OVERHEAD,
        _ => 0,
    }
}

/// What to change so that live settings are as wished: nothing where they are, and no value where the brokers' own setting is
/// to count again. Those that are not ours are not touched.
pub(super) fn changes(
    live: &ConfigResource,
    settings: TopicSettings,
    brokers: &BrokerSettings,
) -> BTreeMap<String, Option<String>> {
    let wish = of(settings, brokers);
    let is_set = |name: &str| {
        live.entries.iter().any(|entry| entry.name == name && entry.source == ConfigSource::DynamicTopic)
    };
    let back = brokers.unset.iter().filter(|name| !wish.contains_key(*name) && is_set(name));
    let back = back.map(|name| (name.clone(), None));
    let set = wish.iter().filter(|(name, wish)| value(live, name) != Some(wish.as_str()));
    set.map(|(name, wish)| (name.clone(), Some(wish.clone()))).chain(back).collect()
}

fn value<'a>(live: &'a ConfigResource, name: &str) -> Option<&'a str> {
    live.entries.iter().find(|entry| entry.name == name)?.value.as_deref()
}
