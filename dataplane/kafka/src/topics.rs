//! Which topics there are: made when asked for, grown but never shrunk, their settings held to what was asked last.
//!
//! What is known of a topic is kept here, so that an append finds its partition without asking anybody; what others change is
//! found by looking again from time to time.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use evhub_event::Record;
use evhub_journal::{Error, Place, Refusal, TopicSettings, murmur2};
use rdkafka::{
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewPartitions, NewTopic,
        ResourceSpecifier, TopicReplication,
    },
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use crate::{Connection, connection::BATCH, context::Context, error, reader::Readers};

/// What a record takes beside its key, value and headers, and a batch beside its records, in bytes, at the most.
const OVERHEAD: usize = 16 << 10;

/// The topics that are known.
pub(crate) struct Topics {
    admin: AdminClient<Context>,
    known: RwLock<BTreeMap<String, Known>>,
    patience: Duration,
}

/// What is known of a topic.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    partitions: u32,
    /// The largest record that it takes; none where nobody has asked for a limit here: the brokers' counts.
    max_record_bytes: Option<usize>,
    compacted: bool,
}

impl Topics {
    pub(crate) fn new(connection: &Connection) -> Result<Self, Error> {
        let admin = AdminClient::from_config_and_context(&connection.asker(), Context::default())
            .map_err(|problem| error::unavailable("make an administrator", &problem, None))?;
        Ok(Self { admin, known: RwLock::default(), patience: connection.patience })
    }

    pub(crate) fn partitions(&self, topic: &str) -> Option<u32> {
        self.get(topic).map(|known| known.partitions)
    }

    /// The names of all that are known.
    pub(crate) fn names(&self) -> Vec<String> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn get(&self, topic: &str) -> Option<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }

    /// Where a record goes, if the topic takes it.
    pub(crate) fn place(&self, topic: &str, place: Place, record: &Record) -> Result<u32, Refusal> {
        let known = self.get(topic).ok_or_else(|| Refusal::UnknownTopic(topic.to_owned()))?;
        let size = record.size();
        if let Some(limit) = known.max_record_bytes.filter(|limit| size > *limit) {
            return Err(Refusal::TooLarge { size, limit });
        }
        if known.compacted && record.key.is_none() {
            return Err(Refusal::NoKey(topic.to_owned()));
        }
        match (place, &record.key) {
            (Place::Partition(partition), _) if partition >= known.partitions => {
                Err(Refusal::UnknownPartition(topic.to_owned(), partition))
            }
            (Place::Partition(partition), _) => Ok(partition),
            (Place::ByKey, Some(key)) => Ok(murmur2::partition(key, known.partitions)),
            (Place::ByKey, None) => Ok(fastrand::u32(0..known.partitions)),
        }
    }

    /// How many partitions a topic has, asked for if that is not known.
    pub(crate) async fn known(&self, readers: &Readers, topic: &str) -> Result<u32, Error> {
        match self.partitions(topic) {
            Some(count) => Ok(count),
            None => self
                .refresh(readers, topic)
                .await?
                .ok_or_else(|| Error::UnknownTopic(topic.to_owned())),
        }
    }

    /// Asks the brokers about a topic, and notes what they say.
    pub(crate) async fn refresh(&self, readers: &Readers, topic: &str) -> Result<Option<u32>, Error> {
        let count = readers.partitions(topic).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match count {
            Some(count) => known.entry(topic.to_owned()).or_default().partitions = count,
            None => drop(known.remove(topic)),
        }
        Ok(count)
    }

    /// See [`Journal::ensure`](evhub_journal::Journal::ensure).
    pub(crate) async fn ensure(
        &self,
        readers: &Readers,
        topic: &str,
        settings: TopicSettings,
    ) -> Result<(), Error> {
        let wrong = |problem: String| Error::Settings { topic: topic.to_owned(), problem };
        if settings.partitions == 0 {
            return Err(wrong("needs at least one partition".to_owned()));
        }
        let mut largest = settings.max_record_bytes;
        match self.refresh(readers, topic).await? {
            None => self.create(topic, settings).await?,
            Some(count) if settings.partitions < count => {
                let wish = settings.partitions;
                return Err(wrong(format!("has {count} partitions, and {wish} are fewer: it cannot shrink")));
            }
            Some(count) => {
                let live = self.describe(topic).await?;
                let compacted = live.get("cleanup.policy").and_then(|entry| entry.value.as_deref());
                if compacted.is_some_and(|policy| policy.contains("compact")) != settings.compacted {
                    let what = if settings.compacted { "is not" } else { "is" };
                    return Err(wrong(format!("{what} compacted, which cannot be changed")));
                }
                largest = largest.max(self.largest(topic, &live));
                self.grow(topic, count, settings.partitions).await?;
                self.adjust(topic, &live, TopicSettings { max_record_bytes: largest, ..settings }).await?;
            }
        }
        self.await_partitions(readers, topic, settings.partitions).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(topic.to_owned()).or_default();
        entry.max_record_bytes = Some(largest);
        entry.compacted = settings.compacted;
        Ok(())
    }

    /// The largest record that a topic takes as it is: what was asked for here, or what its brokers' limit leaves.
    fn largest(&self, topic: &str, live: &ConfigResource) -> usize {
        let asked = self.get(topic).and_then(|known| known.max_record_bytes);
        let limit = live.get("max.message.bytes").and_then(|entry| entry.value.as_deref());
        let limit = limit.and_then(|limit| limit.parse::<usize>().ok());
        asked.unwrap_or_else(|| match limit {
            // Below this it is the batch that decides the limit, and the record's is not known.
            Some(limit) if limit > BATCH + OVERHEAD => limit - OVERHEAD,
            _ => 0,
        })
    }

    async fn create(&self, topic: &str, settings: TopicSettings) -> Result<(), Error> {
        let wish = wish(settings);
        let new = NewTopic::new(topic, settings.partitions as i32, TopicReplication::Fixed(-1));
        let new = wish.iter().fold(new, |new, (name, value)| new.set(name, value));
        let made = self.admin.create_topics(&[new], &self.options()).await;
        match made.map_err(|problem| self.failed("make a topic", &problem))?.pop() {
            Some(Ok(_)) | Some(Err((_, Code::TopicAlreadyExists))) | None => Ok(()),
            Some(Err((_, code))) => Err(refused(topic, "cannot be made", code)),
        }
    }

    async fn grow(&self, topic: &str, count: u32, wish: u32) -> Result<(), Error> {
        if wish <= count {
            return Ok(());
        }
        let more = NewPartitions::new(topic, wish as usize);
        let grown = self.admin.create_partitions(&[more], &self.options()).await;
        match grown.map_err(|problem| self.failed("grow a topic", &problem))?.pop() {
            Some(Ok(_)) | None => Ok(()),
            Some(Err((_, code))) => Err(refused(topic, "cannot grow", code)),
        }
    }

    /// The topic's live settings.
    async fn describe(&self, topic: &str) -> Result<ConfigResource, Error> {
        let asked = self.admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &self.options()).await;
        match asked.map_err(|problem| self.failed("ask for a topic's settings", &problem))?.pop() {
            Some(Ok(live)) => Ok(live),
            Some(Err(code)) => Err(refused(topic, "does not show its settings", code)),
            None => Err(Error::UnknownTopic(topic.to_owned())),
        }
    }

    /// Changes live settings that differ from the wish. The request replaces all that were ever set on the topic, so those
    /// that are not ours go along.
    async fn adjust(
        &self,
        topic: &str,
        live: &ConfigResource,
        settings: TopicSettings,
    ) -> Result<(), Error> {
        let wish = wish(settings);
        let is_so = |(name, value): (&&str, &String)| {
            live.get(name).and_then(|entry| entry.value.as_ref()) == Some(value)
        };
        if wish.iter().all(is_so) {
            return Ok(());
        }
        let set = live.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
        let set = set.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)));
        let mut all: BTreeMap<&str, &str> = set.collect();
        all.extend(wish.iter().map(|(name, value)| (*name, value.as_str())));
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let change = all.iter().fold(change, |change, (name, value)| change.set(name, value));
        let changed = self.admin.alter_configs(&[change], &self.options()).await;
        match changed.map_err(|problem| self.failed("change a topic's settings", &problem))?.pop() {
            Some(Ok(_)) | None => Ok(()),
            Some(Err((_, code))) => Err(refused(topic, "keeps its settings", code)),
        }
    }

    /// Waits until the brokers that were asked know of so many partitions, each with a leader.
    async fn await_partitions(&self, readers: &Readers, topic: &str, wish: u32) -> Result<(), Error> {
        let until = Instant::now() + self.patience;
        loop {
            if self.refresh(readers, topic).await?.is_some_and(|count| count >= wish) {
                return Ok(());
            }
            if Instant::now() > until {
                let what = format!("topic {topic} was asked for {wish} partitions, which no broker shows yet");
                return Err(Error::Unavailable(what));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.patience)).operation_timeout(Some(self.patience))
    }

    fn failed(&self, intent: &str, problem: &KafkaError) -> Error {
        error::unavailable(intent, problem, self.admin.inner().context().trouble())
    }
}

fn refused(topic: &str, what: &str, code: Code) -> Error {
    match code {
        Code::RequestTimedOut | Code::OperationTimedOut | Code::NotController => {
            Error::Unavailable(format!("topic {topic} {what}: {code}"))
        }
        _ => Error::Settings { topic: topic.to_owned(), problem: format!("{what}: {code}") },
    }
}

/// A topic's settings in Kafka's names.
fn wish(settings: TopicSettings) -> BTreeMap<&'static str, String> {
    let TopicSettings { partitions: _, max_record_bytes, compacted, retention, retention_bytes, reserved: _ } =
        settings;
    let or_never = |value: Option<u128>| value.map_or("-1".to_owned(), |value| value.to_string());
    BTreeMap::from([
        ("cleanup.policy", if compacted { "compact" } else { "delete" }.to_owned()),
        ("max.message.bytes", (max_record_bytes.max(BATCH) + OVERHEAD).to_string()),
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("retention.ms", or_never(retention.map(|retention| retention.as_millis()))),
        ("retention.bytes", or_never(retention_bytes.map(u128::from))),
    ])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evhub_journal::TopicSettings;

    #[test]
    fn a_wish_in_kafkas_names() {
        let settings = TopicSettings {
            partitions: 3,
            max_record_bytes: 2 << 20,
            retention: Some(Duration::from_secs(2)),
            ..TopicSettings::default()
        };
        let wish = super::wish(settings);
        let has = |name: &str| wish.get(name).map(String::as_str);
        assert_eq!(has("retention.ms"), Some("2000"));
        assert_eq!(has("retention.bytes"), Some("-1"));
        assert_eq!(has("cleanup.policy"), Some("delete"));
        assert_eq!(has("max.message.bytes"), Some("2113536"));
        // A batch may be larger than the largest record, and is refused whole over the limit.
        let small = super::wish(TopicSettings { max_record_bytes: 100, ..settings });
        assert_eq!(small.get("max.message.bytes").map(String::as_str), Some("540672"));
    }
}
