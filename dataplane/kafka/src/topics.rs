//! Which topics there are: made when asked for, grown but never shrunk, their live settings held to what was asked last.
//!
//! What is known of a topic is kept here, so that an append finds its partition without asking anybody; what others change is
//! found by looking again from time to time.

mod wish;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use evhub_event::Record;
use evhub_journal::{BrokerSettings, Error, Place, Refusal, TopicPartition, TopicSettings, murmur2};
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, ConfigResource, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    config::FromClientConfigAndContext,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};
use tracing::debug;

use crate::{
    Connection,
    append::Appender,
    connection::Current,
    context::Context,
    error, native,
    reader::{Readers, blocking},
};

/// How long a topic that is being made has no leaders at the most.
const MADE: Duration = Duration::from_millis(500);
/// How long one try of asking the controller takes at the most.
const TRY: Duration = Duration::from_secs(3);
/// The least time between two tries.
const AGAIN: Duration = Duration::from_millis(100);
/// How much of what brokers say of a setting is told, in characters: it ends in a resource's status.
const WORDS: usize = 300;
/// How long an administrator is kept that nobody needs. Nobody polls its client, so what that has to tell piles up.
const IDLE: Duration = Duration::from_secs(10);

/// The topics that are known.
pub(crate) struct Topics {
    current: Current,
    admin: Mutex<Option<Admin>>,
    known: RwLock<BTreeMap<String, Known>>,
}

/// Who administrates, and what it was made for.
#[derive(Clone)]
struct Admin {
    connection: Arc<Connection>,
    client: Arc<AdminClient<Context>>,
    last: Instant,
}

/// Whether brokers are to do what they are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    /// They do it.
    Does,
    /// They only say whether they would.
    Asks,
}

/// What is known of a topic.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    partitions: u32,
    /// The largest record that it takes; none where nobody has asked for a limit here: the brokers' counts.
    max_record_bytes: Option<usize>,
    compacted: bool,
}

/// What brokers say of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partitions: u32,
    /// How many brokers keep the partition that the fewest keep.
    pub(crate) replicas: usize,
    /// Whether somebody leads each of them.
    pub(crate) led: bool,
}

impl Topics {
    pub(crate) fn new(current: Current) -> Self {
        Self { current, admin: Mutex::default(), known: RwLock::default() }
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
    pub(crate) fn place(&self, topic: &str, place: &Place, record: &Record) -> Result<u32, Refusal> {
        let known = self.get(topic).ok_or_else(|| Refusal::UnknownTopic(topic.to_owned()))?;
        let size = record.size();
        if let Some(limit) = known.max_record_bytes.filter(|limit| size > *limit) {
            return Err(Refusal::TooLarge { size, limit });
        }
        if known.compacted && record.key.is_none() {
            return Err(Refusal::NoKey(topic.to_owned()));
        }
        match (place, &record.key) {
            (Place::Partition(partition), _) if *partition >= known.partitions => {
                Err(Refusal::UnknownPartition(topic.to_owned(), *partition))
            }
            (Place::Partition(partition), _) => Ok(*partition),
            (Place::ByKey | Place::Behind(_), Some(key)) => Ok(murmur2::partition(key, known.partitions)),
            (Place::ByKey | Place::Behind(_), None) => Ok(fastrand::u32(0..known.partitions)),
        }
    }

    /// Asks the brokers about a topic, and notes what they say. The appender's client learns of partitions before anybody can
    /// append to them.
    pub(crate) async fn refresh(
        &self,
        readers: &Readers,
        appender: &Appender,
        topic: &str,
    ) -> Result<Option<Seen>, Error> {
        let seen = readers.topic(topic).await?;
        if let Some(seen) = seen.filter(|seen| self.partitions(topic) != Some(seen.partitions)) {
            appender.learn(topic).await?;
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.entry(topic.to_owned()).or_default().partitions = seen.partitions;
        }
        if seen.is_none() {
            self.known.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
        }
        Ok(seen)
    }

    /// See [`Journal::ensure_with`](evhub_journal::Journal::ensure_with).
    pub(crate) async fn ensure(
        &self,
        readers: &Readers,
        appender: &Appender,
        topic: &str,
        settings: TopicSettings,
        brokers: &BrokerSettings,
    ) -> Result<(), Error> {
        wish::sound(settings, brokers).map_err(|problem| wrong(topic, problem))?;
        let mut seen = self.settled(readers, appender, topic).await?;
        let mut largest = settings.max_record_bytes;
        if seen.is_none() && !self.create(topic, settings, brokers).await? {
            // Somebody else was faster, so that its settings are to be looked at.
            seen = Some(self.await_partitions(readers, appender, topic, 1, true).await?);
        }
        let grows = seen.is_none_or(|seen| seen.partitions < settings.partitions);
        if let Some(seen) = seen {
            let live = self.describe(topic).await?;
            let connection = self.current.get();
            let prefix = &connection.prefix;
            wish::check(prefix, topic, settings, seen, &live, brokers)
                .map_err(|problem| wrong(topic, problem))?;
            largest = largest.max(self.largest(topic, &live));
            // One that is adopted is as it is, but for what the promises rest on.
            let none = BrokerSettings::default();
            let brokers = if wish::is_ours(prefix, topic) { brokers } else { &none };
            let settings = TopicSettings { max_record_bytes: largest, ..settings };
            // What may be refused goes first: then nothing has grown.
            self.adjust(topic, &wish::changes(&live, settings, brokers)).await?;
            self.grow(topic, seen.partitions, settings.partitions, Only::Does).await?;
        }
        let now = self.await_partitions(readers, appender, topic, settings.partitions, grows).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(topic.to_owned()).or_default();
        entry.partitions = now.partitions;
        entry.max_record_bytes = Some(largest);
        entry.compacted = settings.compacted;
        Ok(())
    }

    /// What is seen of a topic, which somebody else may be making at this moment. One that is there for longer may have lost a
    /// broker, and waits for nobody.
    async fn settled(
        &self,
        readers: &Readers,
        appender: &Appender,
        topic: &str,
    ) -> Result<Option<Seen>, Error> {
        let since = Instant::now();
        loop {
            match self.refresh(readers, appender, topic).await {
                Err(Error::Unavailable(_)) if since.elapsed() < self.current.get().patience => {}
                Ok(Some(seen)) if !seen.led && since.elapsed() < MADE => {}
                seen => return seen,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The largest record that a topic takes as it is: what was asked for here, or what its brokers' limit leaves.
    fn largest(&self, topic: &str, live: &ConfigResource) -> usize {
        let asked = self.get(topic).and_then(|known| known.max_record_bytes);
        asked.unwrap_or_else(|| wish::largest(live))
    }

    /// Makes a topic. Returns whether it was not there.
    async fn create(
        &self,
        topic: &str,
        settings: TopicSettings,
        brokers: &BrokerSettings,
    ) -> Result<bool, Error> {
        let wish = wish::of(settings, brokers);
        let replicas = settings.cluster.replicas.map_or(-1, i32::from);
        let new = NewTopic::new(topic, settings.partitions as i32, TopicReplication::Fixed(replicas));
        let new = wish.iter().fold(new, |new, (name, value)| new.set(name, value));
        let ask = |client: &AdminClient<Context>, options: &_| client.create_topics([&new], options);
        match self.admin()?.ask("make a topic", ask).await?.pop() {
            Some(Ok(_)) | None => Ok(true),
            Some(Err((_, Code::TopicAlreadyExists))) => Ok(false),
            // The client does not tell which.
            Some(Err((_, code @ Code::InvalidConfig))) if !brokers.set.is_empty() => {
                let what = format!("cannot be made: brokers refuse one of {}", wish::listed(brokers));
                Err(refused(topic, &what, code))
            }
            Some(Err((_, code))) => Err(refused(topic, "cannot be made", code)),
        }
    }

    /// See [`Journal::may_grow`](evhub_journal::Journal::may_grow).
    pub(crate) async fn may_grow(
        &self,
        readers: &Readers,
        appender: &Appender,
        topic: &str,
        wish: u32,
    ) -> Result<(), Error> {
        let Some(count) = self.partitions(topic) else { return Ok(()) };
        let asked = self.grow(topic, count, wish, Only::Asks).await;
        let has_them = |seen: Seen| seen.partitions >= wish;
        if asked.is_err() && self.refresh(readers, appender, topic).await?.is_some_and(has_them) {
            // Somebody else was faster.
            return Ok(());
        }
        asked
    }

    async fn grow(&self, topic: &str, count: u32, wish: u32, only: Only) -> Result<(), Error> {
        if wish <= count {
            return Ok(());
        }
        let more = NewPartitions::new(topic, wish as usize);
        let ask = |client: &AdminClient<Context>, options: &_| client.create_partitions([&more], options);
        match self.admin()?.ask_so(only, "grow a topic", ask).await?.pop() {
            Some(Ok(_)) | None => Ok(()),
            // Somebody else was faster, or a try of ours that was not answered: how many there are is looked at next.
            Some(Err((_, Code::InvalidPartitions))) if only == Only::Does => Ok(()),
            Some(Err((_, code))) => Err(refused(topic, "cannot grow", code)),
        }
    }

    /// See [`Journal::remove`](evhub_journal::Journal::remove).
    pub(crate) async fn remove(
        &self,
        readers: &Readers,
        appender: &Appender,
        topic: &str,
    ) -> Result<(), Error> {
        let until = Instant::now() + self.current.get().patience;
        if self.settled(readers, appender, topic).await?.is_none() {
            return Ok(());
        }
        let ask = |client: &AdminClient<Context>, options: &_| client.delete_topics(&[topic], options);
        match self.admin()?.ask("delete a topic", ask).await?.pop() {
            // Somebody else was faster, or a try of ours that was not answered.
            Some(Ok(_) | Err((_, Code::UnknownTopicOrPartition | Code::UnknownTopic))) | None => {}
            Some(Err((_, code))) => return Err(refused(topic, "cannot be deleted", code)),
        }
        // Whoever makes it anew must not take the old one for it.
        while self.refresh(readers, appender, topic).await?.is_some() {
            if Instant::now() > until {
                return Err(Error::Unavailable(format!("topic {topic} was deleted, and is still shown")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Gives up what lies before an offset.
    pub(crate) async fn trim(&self, at: &TopicPartition, before: u64) -> Result<(), Error> {
        let offset = Offset::Offset(i64::try_from(before).unwrap_or(i64::MAX));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&at.topic, at.partition as i32, offset)
            .map_err(|problem| wrong(&at.topic, format!("has no such place: {problem}")))?;
        let ask = |client: &AdminClient<Context>, options: &_| client.delete_records(&list, options);
        let trimmed = self.admin()?.ask("delete records", ask).await?;
        let failed = trimmed.elements().iter().find_map(|one| one.error().err());
        match failed {
            None => Ok(()),
            Some(KafkaError::OffsetFetch(code)) => {
                Err(refused(&at.topic, "keeps records that are to be deleted", code))
            }
            Some(problem) => Err(error::unavailable("delete records", &problem, None)),
        }
    }

    /// The topic's live settings.
    async fn describe(&self, topic: &str) -> Result<ConfigResource, Error> {
        let which = ResourceSpecifier::Topic(topic);
        let ask = |client: &AdminClient<Context>, options: &_| client.describe_configs([&which], options);
        match self.admin()?.ask("ask for a topic's settings", ask).await?.pop() {
            Some(Ok(live)) => Ok(live),
            Some(Err(code)) => Err(refused(topic, "does not show its settings", code)),
            None => Err(Error::UnknownTopic(topic.to_owned())),
        }
    }

    /// See [`Journal::identity`](evhub_journal::Journal::identity).
    pub(crate) async fn identity(&self, topic: &str) -> Result<u64, Error> {
        let admin = self.admin()?;
        let ask = |_: &AdminClient<Context>, _: &AdminOptions| {
            let (client, topic) = (Arc::clone(&admin.client), topic.to_owned());
            let asking = tokio::task::spawn_blocking(move || native::identity(client.inner(), &topic, TRY));
            async move { asking.await.unwrap_or(Err(KafkaError::Canceled)) }
        };
        admin.ask("ask which topic of its name one is", ask).await
    }

    /// Changes settings of a topic, all of these or none.
    async fn adjust(&self, topic: &str, changes: &BTreeMap<String, Option<String>>) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let admin = self.admin()?;
        let ask = |_: &AdminClient<Context>, _: &AdminOptions| {
            let (client, topic, changes) = (Arc::clone(&admin.client), topic.to_owned(), changes.clone());
            let asking =
                tokio::task::spawn_blocking(move || native::alter(client.inner(), &topic, &changes, TRY));
            async move { asking.await.unwrap_or(Err(KafkaError::Canceled)) }
        };
        match admin.ask("change a topic's settings", ask).await? {
            Ok(()) => Ok(()),
            Err(native::Refused { code, words }) => {
                let words: String = words.chars().take(WORDS).collect();
                Err(refused(topic, &format!("keeps its settings: {words}"), code))
            }
        }
    }

    /// Waits until the brokers that were asked know of so many partitions, each with a leader where they are new.
    async fn await_partitions(
        &self,
        readers: &Readers,
        appender: &Appender,
        topic: &str,
        wish: u32,
        new: bool,
    ) -> Result<Seen, Error> {
        let until = Instant::now() + self.current.get().patience;
        loop {
            // While a topic is being made, or grown, its partitions have no leaders.
            let seen = match self.refresh(readers, appender, topic).await {
                Err(Error::Unavailable(_)) if Instant::now() <= until => None,
                seen => seen?,
            };
            if let Some(seen) = seen.filter(|seen| seen.partitions >= wish && (seen.led || !new)) {
                return Ok(seen);
            }
            if Instant::now() > until {
                let what =
                    format!("topic {topic} was asked for {wish} partitions, which no broker shows yet");
                return Err(Error::Unavailable(what));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Who administrates by the settings of now.
    fn admin(&self) -> Result<Admin, Error> {
        let connection = self.current.get();
        let mut kept = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |admin: &&mut Admin| Arc::ptr_eq(&admin.connection, &connection);
        if let Some(admin) = kept.as_mut().filter(fits) {
            admin.last = Instant::now();
            return Ok(admin.clone());
        }
        let client = AdminClient::from_config_and_context(&connection.admin(), Context::default())
            .map_err(|problem| error::unavailable("make an administrator", &problem, None))?;
        let admin = Admin { connection, client: Arc::new(client), last: Instant::now() };
        *kept = Some(admin.clone());
        Ok(admin)
    }

    /// Lets an administrator go that nobody needs.
    pub(crate) fn rest(&self) {
        let mut kept = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|admin| admin.last.elapsed() > IDLE) {
            // Its drop joins a thread.
            let old = kept.take();
            std::thread::spawn(move || drop(old));
        }
    }
}

// === impl Admin ===

impl Admin {
    /// Asks the controller, for as long as patience lasts. The client goes on waiting for a broker that it was once told is the
    /// controller, however long that has been gone: a try is short, and before the next one it is told anew. So whatever
    /// is asked for may be done already, by a try that was not answered.
    async fn ask<T, F: Future<Output = KafkaResult<T>>>(
        &self,
        intent: &'static str,
        question: impl Fn(&AdminClient<Context>, &AdminOptions) -> F,
    ) -> Result<T, Error> {
        self.ask_so(Only::Does, intent, question).await
    }

    /// The same for what brokers are only to judge, perhaps.
    async fn ask_so<T, F: Future<Output = KafkaResult<T>>>(
        &self,
        only: Only,
        intent: &'static str,
        question: impl Fn(&AdminClient<Context>, &AdminOptions) -> F,
    ) -> Result<T, Error> {
        let until = Instant::now() + self.connection.patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let options = AdminOptions::new().validate_only(only == Only::Asks);
            let options = options.request_timeout(Some(left.min(TRY))).operation_timeout(Some(left.min(TRY)));
            match question(&self.client, &options).await {
                Err(problem) if is_silence(&problem) && left > TRY => {
                    let controller = native::controller(self.client.inner());
                    debug!(%problem, controller, intent, "the controller does not answer; asking who it is");
                    self.look_for_controller(until).await;
                    tokio::time::sleep(AGAIN).await;
                }
                answer => {
                    let trouble = || self.client.inner().context().trouble();
                    return answer.map_err(|problem| error::unavailable(intent, &problem, trouble()));
                }
            }
        }
    }

    /// Has the client be told who the controller is, by any broker that answers.
    async fn look_for_controller(&self, until: Instant) {
        let client = Arc::clone(&self.client);
        let looked = blocking(move || {
            let left = until.saturating_duration_since(Instant::now());
            let told = client.inner().fetch_metadata(Some(""), left.min(TRY));
            told.map(drop).map_err(|problem| error::unavailable("ask who the controller is", &problem, None))
        });
        if let Err(error) = looked.await {
            // Whoever asks again is told the same by its time running out.
            debug!(%error, "nobody says who the controller is");
        }
    }
}

/// Whether nobody has answered.
fn is_silence(problem: &KafkaError) -> bool {
    matches!(
        error::code(problem),
        Some(
            Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
        )
    )
}

fn wrong(topic: &str, problem: String) -> Error {
    Error::Settings { topic: topic.to_owned(), problem }
}

/// Why brokers do not do what was asked of a topic.
fn refused(topic: &str, what: &str, code: Code) -> Error {
    match code {
        Code::RequestTimedOut
        | Code::OperationTimedOut
        | Code::NotController
        | Code::UnknownTopicOrPartition => Error::Unavailable(format!("topic {topic} {what}: {code}")),
        Code::InvalidReplicationFactor => wrong(
            topic,
            format!(
                "{what}: there are fewer brokers than it is to have replicas: lower topic.replicas, and topic.minInSyncReplicas \
                     with it, or add brokers"
            ),
        ),
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => wrong(
            topic,
            format!(
                "{what}: {code}: grant Create, Alter, Delete, DescribeConfigs and AlterConfigs on the installation's topics"
            ),
        ),
        _ => wrong(topic, format!("{what}: {code}")),
    }
}

#[cfg(test)]
mod tests {
    use evhub_brokers::{Cluster, Options, QUICK};
    use evhub_journal::{ClusterSettings, Journal};

    use super::*;
    use crate::Kafka;

    #[test]
    fn what_brokers_refuse_is_settings_and_what_they_cannot_do_now_is_not() {
        for code in [Code::RequestTimedOut, Code::OperationTimedOut, Code::NotController] {
            assert!(matches!(refused("t", "cannot grow", code), Error::Unavailable(_)), "{code}");
        }
        let said = |code| refused("t", "cannot be made", code).to_string();
        assert!(said(Code::InvalidReplicationFactor).contains("lower topic.replicas"));
        assert!(said(Code::TopicAuthorizationFailed).contains("grant Create"));
        assert!(said(Code::ClusterAuthorizationFailed).contains("grant Create"));
        assert!(said(Code::PolicyViolation).starts_with("topic t cannot be made"));
    }

    /// The client keeps to the broker that it was once told is the controller, and waits for it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn another_controller_is_asked_when_the_one_that_is_known_is_gone() {
        let folder = std::env::temp_dir().join(format!("evhub-kafka-controller-{}", std::process::id()));
        let soon = [("broker.session.timeout.ms", "3000"), ("broker.heartbeat.interval.ms", "500")];
        let properties = QUICK.into_iter().chain(soon);
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let options = Options { brokers: 3, secure: false, properties, folder };
        let starting = tokio::task::spawn_blocking(move || Cluster::start(&options));
        let mut cluster = starting.await.unwrap().unwrap();
        let connection =
            Connection { patience: Duration::from_secs(30), ..Connection::new(cluster.bootstrap()) };
        let log = Kafka::connect(connection).await.unwrap();
        let settings = TopicSettings {
            partitions: 2,
            max_record_bytes: 1_000,
            cluster: ClusterSettings::copies(2, 1),
            ..TopicSettings::default()
        };
        log.ensure("evhub.t", settings).await.unwrap();

        let known = log.0.topics.admin().unwrap();
        let controller = native::controller(known.client.inner());
        // Brokers count from 1.
        cluster.nodes()[usize::try_from(controller).unwrap() - 1].kill().unwrap();
        log.ensure("evhub.t", TopicSettings { partitions: 4, ..settings }).await.unwrap();
        let now = log.0.topics.admin().unwrap();
        assert!(Arc::ptr_eq(&known.client, &now.client), "by the same client");
        assert_ne!(native::controller(now.client.inner()), controller);
        log.ensure("evhub.u", settings).await.unwrap();
        tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
    }
}
