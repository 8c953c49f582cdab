//! Histories told by hand: times in milliseconds, one Producer, one Processor.

use std::time::Duration;

use evhub_e2e::{
    check::{self, Class},
    history::{Answer, Entry, Fault, History, Outcome, Rec},
    model::{Model, Order, Processor, Retry, Start},
};

/// The Producer of every story.
pub const PRODUCER: &str = "shop/orders";
/// The Processor of every story.
pub const PROCESSOR: &str = "shop/billing";

/// A history being told.
#[derive(Clone)]
pub struct Story {
    pub entries: Vec<Entry>,
    pub model: Model,
    next: u64,
}

impl Default for Story {
    fn default() -> Self {
        Self { entries: Vec::new(), model: model(), next: 0 }
    }
}

pub fn model() -> Model {
    Model {
        processors: vec![Processor {
            name: PROCESSOR.to_owned(),
            producer: PRODUCER.to_owned(),
            kinds: Vec::new(),
            start: Start::Earliest,
            order: Order::Key,
            max_in_flight: 8,
            timeout: Duration::from_secs(1),
            retry: Retry {
                max_attempts: 3,
                initial: Duration::from_millis(20),
                max: Duration::from_millis(60),
                jitter: 50,
                prompt: Some(Duration::from_secs(1)),
                ..Retry::default()
            },
        }],
        ..Model::default()
    }
}

pub fn hash(id: &str) -> u64 {
    evhub_e2e::history::fingerprint([("id", id)], b"data")
}

impl Story {
    pub fn push(&mut self, at_ms: u64, rec: Rec) -> &mut Self {
        self.entries.push(Entry { at: at_ms * 1_000_000, rec });
        self
    }

    pub fn publish(&mut self, at: u64, client: &str, id: &str, key: &str, outcome: Outcome) -> &mut Self {
        self.next += 1;
        let op = self.next;
        let invoke = Rec::Invoke {
            op,
            producer: PRODUCER.to_owned(),
            client: client.to_owned(),
            key: Some(key.to_owned()),
            id: id.to_owned(),
            hash: hash(id),
        };
        self.push(at, invoke).push(at + 1, Rec::Complete { op, outcome })
    }

    pub fn log(&mut self, partition: u32, offset: u64, id: &str, key: &str) -> &mut Self {
        let rec = Rec::Log {
            producer: PRODUCER.to_owned(),
            partition,
            offset,
            id: id.to_owned(),
            key: Some(key.to_owned()),
            hash: hash(id),
        };
        self.push(1_000_000, rec)
    }

    /// An acknowledged publish that lies where it should.
    pub fn event(&mut self, at: u64, id: &str, key: &str, offset: u64) -> &mut Self {
        self.publish(at, "c", id, key, Outcome::Acked { partition: 0, offset }).log(0, offset, id, key)
    }

    pub fn recv(&mut self, at: u64, id: &str, key: &str, number: u32, epoch: u64) -> u64 {
        self.next += 1;
        let attempt = self.next;
        let rec = Rec::Recv {
            attempt,
            processor: PROCESSOR.to_owned(),
            id: id.to_owned(),
            key: Some(key.to_owned()),
            hash: hash(id),
            number,
            epoch,
            delivery: format!("{id}/{PROCESSOR}"),
            generation: 1,
            began: at * 1_000_000,
        };
        self.push(at, rec);
        attempt
    }

    /// An attempt, answered 5 ms later.
    pub fn attempt(&mut self, at: u64, id: &str, number: u32, epoch: u64, answer: Answer) -> &mut Self {
        let key = self.key_of(id);
        let attempt = self.recv(at, id, &key, number, epoch);
        self.push(at + 6, Rec::Done { attempt, answer, from: (at + 5) * 1_000_000 })
    }

    fn key_of(&self, id: &str) -> String {
        let published = self.entries.iter().find_map(|entry| match &entry.rec {
            Rec::Invoke { id: it, key: Some(key), .. } if it == id => Some(key.clone()),
            _ => None,
        });
        published.unwrap_or_else(|| "k".to_owned())
    }

    /// The hub says that it runs this.
    pub fn running(&mut self, at: u64, generation: i64, suspended: bool) -> &mut Self {
        self.push(at, Rec::Running { processor: PROCESSOR.to_owned(), generation, suspended })
    }

    /// The hub says that the Processor is not there.
    pub fn gone(&mut self, at: u64) -> &mut Self {
        self.push(at, Rec::Gone { processor: PROCESSOR.to_owned() })
    }

    pub fn kill(&mut self, at: u64) -> &mut Self {
        self.fault(at, at + 10, Fault::Kill)
    }

    pub fn fault(&mut self, at: u64, until: u64, fault: Fault) -> &mut Self {
        self.push(at, Rec::Fault { fault, until: until * 1_000_000, effect: 1 })
    }

    pub fn dead(&mut self, offset: u64, id: &str, attempts: u32, reason: &str) -> &mut Self {
        let rec = Rec::Dead {
            processor: PROCESSOR.to_owned(),
            partition: 0,
            offset,
            id: id.to_owned(),
            key: Some(self.key_of(id)),
            hash: hash(id),
            attempts,
            reason: reason.to_owned(),
        };
        self.push(1_000_000, rec)
    }

    pub fn commit(&mut self, at: u64, offset: u64) -> &mut Self {
        self.push(at, Rec::Commit { processor: PROCESSOR.to_owned(), partition: 0, offset })
    }

    pub fn classes(&self) -> Vec<Class> {
        let mut entries = self.entries.clone();
        entries.push(Entry {
            at: 2_000_000_000_000,
            rec: Rec::Scanned { producer: PRODUCER.to_owned(), partition: 0 },
        });
        classes(&History(entries), &self.model)
    }

    #[track_caller]
    pub fn is_valid(&self) {
        assert_eq!(self.classes(), []);
    }

    #[track_caller]
    pub fn shows(&self, class: Class) {
        let classes = self.classes();
        assert!(classes.contains(&class), "{class:?} is not among {classes:?}");
    }

    #[track_caller]
    pub fn shows_only(&self, class: Class) {
        assert_eq!(self.classes(), [class]);
    }
}

pub fn classes(history: &History, model: &Model) -> Vec<Class> {
    let reports = check::all(history, model);
    let mut classes: Vec<_> = check::anomalies(&reports).iter().map(|anomaly| anomaly.class).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}
