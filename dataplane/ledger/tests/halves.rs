//! Half messages of which none is in memory: whoever leads next reads them back, to ask about them, to list them and to publish
//! them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

use std::{collections::BTreeSet, time::Duration};

use evhub_event::Record;
use evhub_journal::{
    ClusterSettings, Embedded, Journal, Stored, TopicPartition, TopicSettings, embedded::Options,
};
use evhub_ledger::{
    Answer, Command, Ledger, Settings, TimerId,
    command::Verb,
    half::{self, Checked, Commit, Decide, Decision, Doubtful, Exhausted, Prepare, Standing, State, Which},
    rim,
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

const DUE: &str = "a.due";
const PRODUCER: &str = "uid";
/// Far longer than it takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// A ledger that keeps no event in memory, and leads.
fn led(log: &Embedded) -> (Ledger<Embedded>, oneshot::Sender<()>, JoinHandle<()>) {
    let ledger = Ledger::new(log.clone(), Settings { shards: 2, cache: 0, ..Settings::default() });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = rim::run(ledger.clone(), async {
        let _ = stopped.await;
    });
    (ledger, stop, tokio::spawn(running))
}

fn command(ledger: &Ledger<Embedded>, n: usize) -> Command {
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

/// Those about whom publishers are to be asked, when all ten are known.
async fn all_doubts(ledger: &Ledger<Embedded>) -> Vec<Doubtful> {
    let everything = async {
        loop {
            let doubts = ledger.doubtful(i64::MAX - 1, 100, Vec::new()).await;
            if doubts.len() == 10 {
                return doubts;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, everything).await.expect("all are asked about")
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
    assert!(ledger.doubtful(i64::MAX - 1, 100, vec![PRODUCER.to_owned()]).await.is_empty());
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
