//! The ledger of two processes on a log that behaves as badly as it may: whatever is refused, comes late or ends unknown, and
//! however often shards change hands, each timer fires once and none that was cancelled.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use evhub_event::{
    Record,
    record::{DUE, TIMER},
};
use evhub_journal::{
    ClusterSettings, Embedded, Journal, Place, TopicPartition, TopicSettings,
    embedded::Options,
    unpleasant::{Faults, Unpleasant},
};
use evhub_ledger::{
    Answer, Clock, Command, Keep, Ledger, Question, Settings, Submit, TimerId, When,
    command::{Verb, digest},
    ledger::Reach,
    rim,
    series::{self, Pace, Rule},
    state::Entry,
    timer::Timer,
};
use futures_util::future::join_all;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

type Log = Unpleasant<Embedded>;

const TOPICS: [&str; 2] = ["a.due", "b.due"];
const SHARDS: u32 = 3;
const TIMERS: u64 = 60;
/// Far longer than it takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// Asks another process of this test.
#[derive(Debug, Default)]
struct Neighbours(OnceLock<Vec<Ledger<Log>>>);

impl Reach for Neighbours {
    fn ask(
        &self,
        address: String,
        question: Bytes,
    ) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>> {
        Box::pin(async move {
            let (shard, question) = Question::decode(question)?;
            let one = self.0.get()?.get(address.parse::<usize>().ok()?)?;
            one.told(shard, question).await.map(evhub_ledger::Reply::encode)
        })
    }
}

struct Site {
    ledgers: Vec<Ledger<Log>>,
    running: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
    log: Log,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn start(faults: Faults, clocks: [i64; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seed = Log::seed();
        println!("EVHUB_TEST_SEED={seed}");
        let log = Log::new(Embedded::open(Options::new(folder.path())).unwrap(), seed, faults);
        let settings = TopicSettings { partitions: 2, max_record_bytes: 1 << 20, ..TopicSettings::default() };
        for topic in TOPICS {
            while log.ensure(topic, settings).await.is_err() {}
        }
        let neighbours = Arc::new(Neighbours::default());
        let ledger = |n: usize| {
            // So little that most events have to be read back.
            let settings =
                Settings { shards: SHARDS, address: n.to_string(), cache: 100, ..Settings::default() };
            let reach: Arc<dyn Reach> = neighbours.clone();
            Ledger::new(log.clone(), settings).reaching(reach).going_by(Clock::off_by(clocks[n]))
        };
        let ledgers: Vec<_> = (0..2).map(ledger).collect();
        neighbours.0.set(ledgers.clone()).unwrap();
        let run = |ledger: &Ledger<Log>| {
            let (stop, stopped) = oneshot::channel::<()>();
            let running = rim::run(ledger.clone(), async {
                let _ = stopped.await;
            });
            (stop, tokio::spawn(running))
        };
        let running = ledgers.iter().map(run).collect();
        Self { ledgers, running, log, _folder: folder }
    }

    /// Asks until there is an answer: whoever is told that nobody knows may ask again.
    async fn ask(&self, n: u64, command: &Command) -> Answer {
        loop {
            let ledger = &self.ledgers[n as usize % self.ledgers.len()];
            let asked = ledger.ask(command.clone(), 1 << 10, ClusterSettings::default());
            if let Ok(Ok(answer)) = timeout(Duration::from_secs(5), asked).await {
                return answer;
            }
        }
    }

    /// What has fired: how often, and how much before its time at the most.
    async fn fired(&self) -> BTreeMap<String, (usize, i64)> {
        let mut fired: BTreeMap<String, (usize, i64)> = BTreeMap::new();
        for (topic, partition) in TOPICS.iter().flat_map(|topic| [(topic, 0), (topic, 1)]) {
            let at = TopicPartition { topic: (*topic).to_owned(), partition };
            let mut from = 0;
            let end = self.log.end(&at).await.unwrap();
            while from < end {
                let slice = self.log.read(&at, from, 100, 1 << 20).await.unwrap();
                from = slice.next.max(from + 1);
                for stored in slice.records {
                    let text = |name| std::str::from_utf8(stored.record.header(name).unwrap()).unwrap();
                    let early = text(DUE).parse::<i64>().unwrap() - stored.timestamp;
                    let known = fired.entry(text(TIMER).to_owned()).or_insert((0, i64::MIN));
                    *known = (known.0 + 1, known.1.max(early));
                }
            }
        }
        fired
    }
}

fn submit(n: u64) -> Command {
    let topic = TOPICS[n as usize % TOPICS.len()];
    let record = Record {
        key: Some(format!("k{}", n % 7).into()),
        value: Some("x".repeat(40).into()),
        headers: Vec::new(),
    };
    let when = When::After(Duration::from_millis(n * 7 % 400));
    let id = TimerId::of(topic, record.key.as_deref(), "/s", &n.to_string(), SHARDS);
    let submit = Submit {
        producer: topic.to_owned(),
        topic: topic.to_owned(),
        event_id: n.to_string(),
        digest: digest(&record, when),
        record,
        when,
        repeat: None,
        max_delay: Duration::from_mins(1),
        max_pending: 1_000,
    };
    Command { id, verb: Verb::Submit(Box::new(submit)) }
}

async fn every_timer_fires_once(faults: Faults, clocks: [i64; 2]) {
    let site = Site::start(faults, clocks).await;
    let mut cancelled = Vec::new();
    for n in 0..TIMERS {
        let command = submit(n);
        assert!(matches!(site.ask(n, &command).await, Answer::Scheduled(_)), "{n}");
        if n % 5 == 0 {
            match site.ask(n + 1, &Command { id: command.id, verb: Verb::Cancel }).await {
                Answer::Cancelled => cancelled.push(command.id.to_string()),
                Answer::AlreadyFired => {}
                other => panic!("{n}: {other:?}"),
            }
        }
    }
    let expected = TIMERS as usize - cancelled.len();
    let all = async {
        while site.fired().await.len() < expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, all).await.expect("all fire");
    // Asked for again they are as they were.
    for n in 0..TIMERS {
        let again = site.ask(n, &submit(n)).await;
        assert!(matches!(again, Answer::Scheduled(_) | Answer::Cancelled), "{n}: {again:?}");
    }
    // What is applied is given up.
    let given_up = async {
        for shard in (0..TIMERS).map(|n| submit(n).id.shard()) {
            let at = TopicPartition { topic: "evhub._ledger.cmd".to_owned(), partition: shard };
            while site.log.start(&at).await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    timeout(PATIENCE, given_up).await.expect("commands that are applied are given up");
    for (stop, running) in site.running {
        stop.send(()).unwrap();
        timeout(PATIENCE, running).await.expect("it stops").unwrap();
    }
    let site = Site { running: Vec::new(), ..site };
    let fired = site.fired().await;
    assert_eq!(fired.len(), expected);
    for (timer, (times, early)) in &fired {
        assert!(*times == 1 && *early <= 0, "{timer} fired {times} times, {early} ms early");
        assert!(!cancelled.contains(timer), "{timer} was cancelled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_good_day() {
    every_timer_fires_once(Faults::default(), [0; 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_bad_day() {
    every_timer_fires_once(Faults::harsh(), [0; 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_clocks_that_are_an_hour_ahead() {
    every_timer_fires_once(Faults::default(), [3_600_000; 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_is_put_is_told_whole_by_whoever_is_asked() {
    let site = Site::start(Faults::default(), [0; 2]).await;
    let (producer, record) = (TOPICS[0], Record { value: Some("x".repeat(300).into()), ..Record::default() });
    let rule = Rule {
        pace: Pace::Cron("0 2 * * *".to_owned(), "Europe/Berlin".to_owned()),
        start: None,
        end: None,
        missed: evhub_cron::MissedRuns::default(),
        jitter: Duration::ZERO,
        suspended: true,
    };
    let command = |name: &str, verb| Command { id: TimerId::dynamic(producer, name, SHARDS), verb };
    for name in ["b", "a"] {
        let keep = Keep {
            producer: producer.to_owned(),
            topic: producer.to_owned(),
            name: name.to_owned(),
            digest: series::digest(&record, &rule),
            record: record.clone(),
            rule: rule.clone(),
            generation: (1, 1),
            dynamic: true,
        };
        let answer = site.ask(0, &command(name, Verb::Keep(Box::new(keep)))).await;
        assert_eq!(answer, Answer::Scheduled(series::NEVER));
    }
    for ledger in &site.ledgers {
        let all = timeout(PATIENCE, ledger.dynamic(producer)).await.expect("somebody leads").unwrap();
        let names: Vec<_> = all.iter().map(|one| (one.series.name.as_str(), &one.record)).collect();
        assert_eq!(names, [("a", &None), ("b", &None)]);
        // It is more than memory has room for.
        let one = timeout(PATIENCE, ledger.look_dynamic(producer, "a")).await.expect("it is read back");
        let one = one.unwrap().expect("it is there");
        assert_eq!((&one.series.rule, one.record.as_ref()), (&rule, Some(&record)));
        assert_eq!(ledger.look_dynamic(producer, "c").await, Ok(None));
        assert_eq!(ledger.dynamic(TOPICS[1]).await, Ok(Vec::new()));
    }
    assert_eq!(site.ask(1, &command("a", Verb::Drop(series::ANY))).await, Answer::Cancelled);
    assert_eq!(site.ledgers[0].end_dynamic(producer, "c").await, Ok(Answer::Unknown));
    assert_eq!(site.ledgers[0].dynamic(producer).await.unwrap().len(), 1);
}

/// So many that most transactions are still to come when the first ones are over.
const OVERDUE: u64 = 200_000;

/// A timer that was due long ago.
fn overdue(n: u64) -> Entry {
    Entry::Pending(Box::new(Timer {
        id: TimerId::of(TOPICS[0], None, "/s", &n.to_string(), 1),
        producer: Arc::from(TOPICS[0]),
        topic: Arc::from(TOPICS[0]),
        due: 1,
        seq: n,
        generation: 0,
        digest: 0,
        max_delay: 0,
        event_id: n.to_string(),
        record: Record { value: Some("x".into()), ..Record::default() },
        series: None,
        claimed: false,
        chain: None,
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fires_without_a_pause_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(folder.path())).unwrap();
    let settings = TopicSettings { partitions: 2, max_record_bytes: 1 << 20, ..TopicSettings::default() };
    for topic in TOPICS {
        log.ensure(topic, settings).await.unwrap();
    }
    let ledger = Ledger::new(log.clone(), Settings { shards: 1, ..Settings::default() });
    ledger.make(1 << 10, ClusterSettings::default()).await.unwrap();
    for some in (0..OVERDUE).collect::<Vec<_>>().chunks(1_000) {
        let written =
            some.iter().map(|n| log.append("evhub._ledger.state", Place::Partition(0), overdue(*n).encode()));
        assert!(join_all(written).await.iter().all(Result::is_ok));
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(rim::run(ledger.clone(), async {
        let _ = stopped.await;
    }));
    let command = Command { id: TimerId::of(TOPICS[1], None, "/s", "1", 1), ..submit(1) };
    let asked = ledger.ask(command, 1 << 10, ClusterSettings::default());
    let answer = timeout(PATIENCE, asked).await.expect("it is answered");
    let fired = ledger.board().figures().tally.fired;
    assert!(matches!(answer, Ok(Answer::Scheduled(_))), "{answer:?}");
    assert!(fired < OVERDUE, "it was answered when all had fired");
    stop.send(()).unwrap();
    timeout(PATIENCE, running).await.expect("it stops").unwrap();
    let fired = ledger.board().figures().tally.fired;
    assert!(fired < OVERDUE, "it stopped when all had fired");
}
