//! Half messages of which none is in memory: whoever leads next reads them back, to ask about them, to list them and to publish
//! them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use evhub_event::Record;
use evhub_journal::{
    ClusterSettings, Committed, Embedded, Error, Journal, Place, Position, Slice, Stored, TopicPartition,
    TopicSettings, WriteError, embedded::Options,
};
use evhub_ledger::{
    Answer, Command, Ledger, Settings, TimerId,
    command::Verb,
    half::{
        self, Checked, Commit, Decide, Decision, Doubtful, Exhausted, Line, Prepare, Standing, State, Wanted,
        Which,
    },
    rim,
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

const DUE: &str = "a.due";
const PRODUCER: &str = "uid";
/// Far longer than it takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// A ledger that keeps no event in memory, and leads.
fn led<J: Journal>(log: &J) -> (Ledger<J>, oneshot::Sender<()>, JoinHandle<()>) {
    let ledger = Ledger::new(log.clone(), Settings { shards: 2, cache: 0, ..Settings::default() });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = rim::run(ledger.clone(), async {
        let _ = stopped.await;
    });
    (ledger, stop, tokio::spawn(running))
}

fn command<J: Journal>(ledger: &Ledger<J>, n: usize) -> Command {
    let record = Record { value: Some(format!("event {n}").into()), ..Record::default() };
    let id = ledger.half(PRODUCER, None, "/s", &n.to_string());
    let prepare = Prepare {
        producer: PRODUCER.to_owned(),
        topic: DUE.to_owned(),
        event_id: n.to_string(),
        digest: half::digest(&record, None, None),
        record,
        when: None,
        max_delay: Duration::from_secs(1),
        max_pending: 100,
        interval: Duration::from_millis(1),
        callback: None,
    };
    Command { id, verb: Verb::Prepare(Box::new(prepare)) }
}

async fn decided(ledger: &Ledger<Embedded>, id: TimerId, verb: Verb) -> Standing {
    match timeout(PATIENCE, ledger.decide(Command { id, verb })).await.unwrap().unwrap() {
        Answer::Half(standing) => standing,
        answer => panic!("{answer:?}"),
    }
}

fn everything() -> Wanted {
    let (except, flying) = (Vec::new(), HashSet::new());
    Wanted { by: i64::MAX - 1, each: 100, all: 100, bytes: 1 << 20, except, flying }
}

/// Those about whom publishers are to be asked, when all ten are known.
async fn all_doubts<J: Journal>(ledger: &Ledger<J>) -> Vec<Doubtful> {
    let everything = async {
        loop {
            let doubts = ledger.doubtful(everything()).await;
            if doubts.len() == 10 {
                return doubts;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, everything).await.expect("all are asked about")
}

/// Nobody is told of more than is wanted, of both shards together.
async fn only_what_is_wanted(ledger: &Ledger<Embedded>, doubts: &[Doubtful]) {
    assert!(doubts.is_sorted_by_key(|doubt| doubt.next), "those first that wait longest");
    let line = Line { producer: PRODUCER.to_owned(), own: false };
    assert!(ledger.doubtful(Wanted { except: vec![line], ..everything() }).await.is_empty());
    let flying = doubts[1..].iter().map(|doubt| doubt.id).collect();
    assert_eq!(ledger.doubtful(Wanted { flying, ..everything() }).await, doubts[..1]);
    let few = ledger.doubtful(Wanted { all: 4, ..everything() }).await;
    assert!((1..=4).contains(&few.len()), "{}", few.len());
    let small = ledger.doubtful(Wanted { bytes: 1, ..everything() }).await;
    assert!((1..=2).contains(&small.len()), "one of each shard: {}", small.len());
}

/// What is published, when seven are: it is acknowledged when it cannot be lost, and seen a moment later.
async fn published(ledger: &Ledger<Embedded>, log: &Embedded) -> Vec<Stored> {
    let at = TopicPartition { topic: DUE.to_owned(), partition: 0 };
    let all = async {
        loop {
            let records = log.read(&at, 0, 100, 1 << 20).await.unwrap().records;
            let tally = ledger.board().figures().tally;
            if records.len() >= 7 && (tally.committed, tally.rolled_back, tally.exhausted) == (7, 3, 3) {
                return records;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, all).await.expect("all are published, and counted")
}

#[tokio::test]
async fn who_leads_next_reads_back_what_is_in_nobodys_memory() {
    let folder = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(folder.path())).unwrap();
    let settings = TopicSettings { partitions: 1, max_record_bytes: 1 << 20, ..TopicSettings::default() };
    log.ensure(DUE, settings).await.unwrap();
    let (ledger, stop, running) = led(&log);
    let nobody = ledger.half_alone("nobody");
    let decision = || Box::new(Decision { producer: String::new(), decide: Decide::Rollback });
    let unknown = Command { id: nobody, verb: Verb::Decide(decision()) };
    assert_eq!(ledger.decide(unknown).await, Ok(Answer::Unknown), "there is no ledger yet, and none is made");
    assert_eq!(log.look_up("evhub._ledger.cmd").await.unwrap(), None);
    for n in 0..10 {
        let asked = ledger.ask(command(&ledger, n), 1_000, ClusterSettings::default());
        let Answer::Half(standing) = timeout(PATIENCE, asked).await.unwrap().unwrap() else { panic!("{n}") };
        assert_eq!((standing.state, standing.first), (State::Prepared, true));
    }
    stop.send(()).unwrap();
    running.await.unwrap();

    let (ledger, stop, running) = led(&log);
    let listed =
        timeout(PATIENCE, ledger.list_halves(PRODUCER, Which::Prepared, None, 100)).await.unwrap().unwrap();
    let ids: BTreeSet<&str> = listed.iter().map(|(_, half)| half.event_id.as_str()).collect();
    assert!(listed.is_sorted_by_key(|(slot, _)| slot.0), "the oldest first");
    assert_eq!(ids.len(), 10, "{ids:?}");
    let doubts = all_doubts(&ledger).await;
    let values: BTreeSet<Vec<u8>> =
        doubts.iter().map(|doubt| doubt.record.value.clone().unwrap().to_vec()).collect();
    assert_eq!(values.len(), 10, "with their events");
    only_what_is_wanted(&ledger, &doubts).await;
    for (n, doubt) in doubts.iter().enumerate() {
        let decide = match n % 3 {
            0 => Some(Decide::Commit(Commit::default())),
            1 => Some(Decide::Rollback),
            _ => None,
        };
        let interval = Duration::from_millis(1);
        let checked = Checked { checks: 0, decide, interval, max_checks: 1, on_exhausted: Exhausted::Hold };
        let standing = decided(&ledger, doubt.id, Verb::Checked(Box::new(checked))).await;
        let expected = [State::Committed, State::RolledBack, State::Prepared][n % 3];
        assert_eq!(standing.state, expected);
    }
    let held =
        timeout(PATIENCE, ledger.list_halves(PRODUCER, Which::Held, None, 100)).await.unwrap().unwrap();
    assert_eq!(held.len(), 3);
    for (_, half) in &held {
        let decide =
            Box::new(Decision { producer: PRODUCER.to_owned(), decide: Decide::Commit(Commit::default()) });
        assert!(decided(&ledger, half.id, Verb::Decide(decide)).await.first);
        let found = timeout(PATIENCE, ledger.look_half(half.id)).await.unwrap().unwrap().unwrap();
        assert_eq!(found.standing.state, State::Committed);
    }
    let records = published(&ledger, &log).await;
    let published: BTreeSet<_> = records.iter().map(|stored| stored.record.value.clone()).collect();
    assert_eq!((records.len(), published.len()), (7, 7), "each that was committed, once");
    stop.send(()).unwrap();
    running.await.unwrap();
}

/// A log in which reading events back stands still for a while.
#[derive(Clone)]
struct Stalled {
    log: Embedded,
    flows: watch::Receiver<bool>,
}

impl Journal for Stalled {
    type Tail = <Embedded as Journal>::Tail;
    type Member = <Embedded as Journal>::Member;
    type Producer = <Embedded as Journal>::Producer;

    async fn ensure(&self, topic: &str, settings: TopicSettings) -> Result<(), Error> {
        self.log.ensure(topic, settings).await
    }

    fn partitions(&self, topic: &str) -> Option<u32> {
        self.log.partitions(topic)
    }

    async fn look_up(&self, topic: &str) -> Result<Option<u32>, Error> {
        self.log.look_up(topic).await
    }

    fn append(
        &self,
        topic: &str,
        place: Place,
        record: Record,
    ) -> impl Future<Output = Result<Position, WriteError>> + Send + 'static {
        self.log.append(topic, place, record)
    }

    async fn producer(&self, id: &str) -> Result<Self::Producer, Error> {
        self.log.producer(id).await
    }

    async fn trim(&self, at: &TopicPartition, before: u64) -> Result<(), Error> {
        self.log.trim(at, before).await
    }

    async fn start(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.log.start(at).await
    }

    async fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        records: usize,
        bytes: usize,
    ) -> Result<Slice, Error> {
        // The state is read in larger pieces when it is taken over.
        if records <= 1_024 {
            let _ = self.flows.clone().wait_for(|flows| *flows).await;
        }
        self.log.read(at, from, records, bytes).await
    }

    async fn end(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.log.end(at).await
    }

    async fn offset_at(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        self.log.offset_at(at, instant).await
    }

    async fn join(&self, group: &str, topics: &[String]) -> Result<Self::Tail, Error> {
        self.log.join(group, topics).await
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Committed>, Error> {
        self.log.committed(group, partitions).await
    }
}

#[tokio::test]
async fn commands_are_decided_while_events_are_read_back_for_a_question() {
    let folder = tempfile::tempdir().unwrap();
    let (flow, flows) = watch::channel(true);
    let log = Stalled { log: Embedded::open(Options::new(folder.path())).unwrap(), flows };
    let (ledger, stop, running) = led(&log);
    let prepare = async |n: usize| {
        let asked = ledger.ask(command(&ledger, n), 1_000, ClusterSettings::default());
        let answer = timeout(PATIENCE, asked).await.expect("it is decided").unwrap();
        assert!(matches!(answer, Answer::Half(_)), "{answer:?}");
    };
    for n in 0..10 {
        prepare(n).await;
    }
    assert_eq!(all_doubts(&ledger).await.len(), 10);
    flow.send_replace(false);
    let doubts = ledger.doubtful(everything());
    tokio::pin!(doubts);
    let decided = async {
        for n in 10..14 {
            prepare(n).await;
        }
    };
    tokio::select! {
        biased;
        doubts = &mut doubts => panic!("nothing can be read back: {doubts:?}"),
        () = decided => {}
    }
    flow.send_replace(true);
    assert_eq!(timeout(PATIENCE, doubts).await.expect("they are read back").len(), 10);
    stop.send(()).unwrap();
    running.await.unwrap();
}
