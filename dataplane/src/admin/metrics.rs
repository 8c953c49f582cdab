//! `/metrics`: the figures of this moment as Prometheus reads them. Reads the log's ends and commits.
//!
//! `docs/metrics.md` is the page of these names; a test holds the two together.

use std::{fmt, sync::Arc, sync::atomic::Ordering::Relaxed};

use evhub_dispatch::{Discard, Progress};
use evhub_journal::Journal;
use evhub_routing::{Generation, Name};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use crate::{
    Hub,
    backlog::Backlog,
    follow::{Source, Status},
    meters::{Ending, Flow},
};

/// What a figure is called, what it says, and where it comes from.
type Figure = (&'static str, &'static str, fn(&Processor) -> Option<i64>);

const GAUGES: &[Figure] = &[
    ("processor_listening", "Whether every partition assigned here has its start and its claim", |p| {
        Some(i64::from(p.progress.listening.load(Relaxed)))
    }),
    ("processor_lag", "Offsets between what is committed and the ends of all partitions", |p| p.lag),
    ("processor_in_flight", "Attempts under way here", |p| gauge(&p.progress.in_flight)),
    ("processor_parked", "Deliveries parked here", |p| gauge(&p.progress.parked)),
    ("processor_parked_bytes", "The bytes of their events", |p| gauge(&p.progress.parked_bytes)),
    ("processor_suspended", "Whether an exhausted event made it stop until it is resumed", |p| {
        Some(i64::from(p.progress.suspended.load(Relaxed)))
    }),
    ("processor_breaker_open", "Whether its target is down and only probed", |p| {
        Some(i64::from(p.progress.breaker_open.load(Relaxed)))
    }),
    ("processor_full", "Whether as much is parked as may be, so that nothing new is read", |p| {
        Some(i64::from(p.progress.full.load(Relaxed)))
    }),
    ("processor_concurrency", "How many attempts may be under way, as the target bears", |p| {
        gauge(&p.progress.concurrency)
    }),
    ("processor_unresolved", "Records received here and not yet resolved", |p| gauge(&p.progress.unresolved)),
    (
        "processor_last_delivery_milliseconds",
        "When an event was last delivered here, since the Unix epoch",
        |p| Some(p.progress.last_delivery.load(Relaxed)).filter(|at| *at > 0),
    ),
];

const COUNTERS: &[Figure] = &[
    ("processor_attempts", "Attempts started", |p| gauge(&p.progress.attempts)),
    ("processor_attempt_microseconds", "The sum of all attempts' durations", |p| {
        gauge(&p.progress.attempt_micros)
    }),
    ("processor_delivered", "Events delivered", |p| gauge(&p.progress.delivered)),
    ("processor_retried", "Failed attempts that are repeated", |p| gauge(&p.progress.retried)),
    (
        "processor_throttled",
        "Failed attempts that do not count, because the target said when to come back",
        |p| gauge(&p.progress.throttled),
    ),
    ("processor_delayed", "Events parked because they asked for a delay", |p| gauge(&p.progress.delayed)),
    ("processor_undelayed", "Events that asked for delays, none of them this Processor's", |p| {
        gauge(&p.progress.undelayed)
    }),
    ("processor_dead_lettered", "Dead letters written", |p| gauge(&p.progress.dead_lettered)),
    ("processor_poisoned", "Records that could not be read", |p| gauge(&p.progress.poisoned)),
    ("processor_claims", "Claims acknowledged", |p| gauge(&p.progress.claims)),
    ("processor_commits", "Commits acknowledged", |p| gauge(&p.progress.commits)),
    ("processor_append_waits", "Waits because a record of ours could not be appended", |p| {
        gauge(&p.progress.append_waits)
    }),
];

/// What was true when somebody asked.
#[derive(Debug)]
struct Scrape {
    generation: Generation,
    following: Option<Status>,
    door: (usize, usize),
    log: Option<(usize, usize)>,
    ledger: evhub_ledger::ledger::Figures,
    suspect: bool,
    producers: Vec<(Name, Arc<Flow>)>,
    processors: Vec<Processor>,
}

#[derive(Debug)]
struct Processor {
    name: Name,
    progress: Arc<Progress>,
    lag: Option<i64>,
}

/// The whole page.
pub(super) async fn render<J: Journal>(hub: &Hub<J>) -> String {
    let scrape = Scrape::take(hub).await;
    let mut registry = Registry::with_prefix("evhub");
    hub.meters.register(&mut registry);
    registry.register_collector(Box::new(scrape));
    let mut page = String::new();
    encode(&mut page, &registry).expect("writing to a string cannot fail");
    page
}

fn gauge(figure: &std::sync::atomic::AtomicU64) -> Option<i64> {
    i64::try_from(Progress::get(figure)).ok()
}

// === impl Scrape ===

impl Scrape {
    async fn take<J: Journal>(hub: &Hub<J>) -> Self {
        let snapshot = hub.running();
        let mut processors = Vec::with_capacity(snapshot.processors.len());
        for (name, processor) in &snapshot.processors {
            let backlog = Backlog::of(&hub.journal, processor).await.ok().flatten();
            let lag = backlog.and_then(|backlog| i64::try_from(backlog.lag()).ok());
            processors.push(Processor { name: name.clone(), progress: hub.board.of(&processor.uid), lag });
        }
        hub.meters.keep(|name| snapshot.producers.contains_key(name));
        let flow = |name: &Name| (name.clone(), hub.meters.flow(name));
        let producers = snapshot.producers.keys().map(flow).collect();
        let door = (hub.door.in_flight(), hub.door.capacity());
        let log = hub.journal.waiting();
        let following = hub.following.as_ref().map(|following| following.borrow().clone());
        let (ledger, suspect) = (hub.ledger.board().figures(), hub.ledger.clock().is_suspect());
        Self { generation: snapshot.generation, following, door, log, ledger, suspect, producers, processors }
    }

    fn whole(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (in_flight, capacity) = self.door;
        let figures = [
            ("snapshot_epoch", "Who said what runs here", self.generation.epoch),
            ("snapshot_revision", "Which of its snapshots runs here", self.generation.revision),
            ("ingest_in_flight_bytes", "Bytes of events on their way to the log", in_flight as u64),
            ("ingest_in_flight_limit_bytes", "How many there may be", capacity as u64),
        ];
        let log = self.log.into_iter().flat_map(|(requests, bytes)| {
            [
                ("log_waiting_requests", "Writes that wait for the log", requests as u64),
                ("log_waiting_bytes", "Bytes of writes that wait for the log", bytes as u64),
            ]
        });
        for (name, help, value) in figures.into_iter().chain(log) {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }

    fn timed(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let figures = &self.ledger;
        let gauges = [
            ("ledger_shards", "Shards of the ledger that are led here", figures.led),
            ("ledger_timers", "Timers that are pending in them", figures.pending),
            ("ledger_half_messages", "Half messages that nobody has decided on", figures.prepared),
            ("ledger_half_messages_held", "Those of them that nobody is asked about any more", figures.held),
            ("ledger_commands_waiting", "Commands that wait to be decided here", figures.waiting),
            (
                "ledger_quarantined",
                "Topics that nothing fires into for now, because they fail",
                figures.quarantined,
            ),
            ("ledger_keys", "Keys of publishes that are remembered in them", figures.keys),
            (
                "ledger_clock_suspect",
                "Whether the wall clock has jumped and is not believed, or is behind the log's",
                self.suspect.into(),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let counters = [
            ("ledger_scheduled", "Timers made", figures.tally.scheduled),
            ("ledger_cancelled", "Timers cancelled", figures.tally.cancelled),
            ("ledger_fired", "Timers fired", figures.tally.fired),
            ("ledger_late_milliseconds", "How much later than due, all together", figures.tally.late),
            ("ledger_claimed", "Events published under a key", figures.tally.claimed),
            ("ledger_repeats", "Events that were published already under their keys", figures.tally.repeats),
            ("ledger_conflicts", "Events refused because another one has their key", figures.tally.conflicts),
            ("ledger_prepared", "Half messages prepared", figures.tally.prepared),
            ("ledger_committed", "Half messages committed", figures.tally.committed),
            ("ledger_rolled_back", "Half messages rolled back", figures.tally.rolled_back),
            (
                "ledger_checks",
                "Times that the publisher of a half message was asked and did not decide",
                figures.tally.checked,
            ),
            (
                "ledger_exhausted",
                "Half messages that their publishers never decided on",
                figures.tally.exhausted,
            ),
            ("ledger_takeovers", "Times that a shard was taken over here", figures.takeovers),
            ("ledger_doubts", "Times that a shard began anew after a failure", figures.doubts),
            ("ledger_unreadable", "Records of the ledger that could not be read", figures.passed),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        Ok(())
    }

    fn followed(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(status) = &self.following else { return Ok(()) };
        let flags = [
            ("control_connected", "Whether whoever serves control is connected", status.connected),
            ("control_kept", "Whether what runs is kept on disk", status.unkept.is_none()),
            ("control_refusing", "Whether the newest snapshot is refused", status.refused.is_some()),
        ];
        for (name, help, flag) in flags {
            let gauge = ConstGauge::new(i64::from(flag));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let help = "Where what runs came from";
        let mut family = encoder.encode_descriptor("control_source", help, None, MetricType::Gauge)?;
        for source in Source::ALL {
            let gauge = ConstGauge::new(i64::from(status.source == source));
            gauge.encode(family.encode_family(&[("source", source.word())])?)?;
        }
        let help = "Snapshots from whoever serves control, by what became of them";
        let mut family = encoder.encode_descriptor("control_updates", help, None, MetricType::Counter)?;
        for (outcome, count) in [("taken", status.updates), ("refused", status.refusals)] {
            ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        Ok(())
    }

    fn published(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Events published, by how it ended";
        let mut family = encoder.encode_descriptor("ingest_events", help, None, MetricType::Counter)?;
        for (Name { namespace, name }, flow) in &self.producers {
            for ending in Ending::ALL {
                let labels =
                    [("namespace", namespace.as_str()), ("producer", name), ("outcome", ending.word())];
                ConstCounter::new(flow.ended(ending)).encode(family.encode_family(&labels)?)?;
            }
        }
        let (help, unit) = ("Bytes of events acknowledged by the log", Some(&Unit::Bytes));
        let mut family = encoder.encode_descriptor("ingest", help, unit, MetricType::Counter)?;
        for (Name { namespace, name }, flow) in &self.producers {
            let labels = [("namespace", namespace.as_str()), ("producer", name.as_str())];
            ConstCounter::new(flow.bytes()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn discarded(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Events that were not delivered and left nothing behind";
        let mut family = encoder.encode_descriptor("processor_discarded", help, None, MetricType::Counter)?;
        for processor in &self.processors {
            let Name { namespace, name } = &processor.name;
            for why in Discard::ALL {
                let labels = [("namespace", namespace.as_str()), ("processor", name), ("reason", why.word())];
                let counter = ConstCounter::new(processor.progress.discarded(why));
                counter.encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn family(&self, encoder: &mut DescriptorEncoder<'_>, figure: &Figure, kind: MetricType) -> fmt::Result {
        let (name, help, read) = figure;
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for processor in &self.processors {
            let Some(value) = read(processor) else { continue };
            let Name { namespace, name } = &processor.name;
            let labels = [("namespace", namespace.as_str()), ("processor", name.as_str())];
            let one = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(u64::try_from(value).unwrap_or(0)).encode(one)?,
                _ => ConstGauge::new(value).encode(one)?,
            }
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.whole(&mut encoder)?;
        self.timed(&mut encoder)?;
        self.followed(&mut encoder)?;
        self.published(&mut encoder)?;
        self.discarded(&mut encoder)?;
        GAUGES.iter().try_for_each(|figure| self.family(&mut encoder, figure, MetricType::Gauge))?;
        COUNTERS.iter().try_for_each(|figure| self.family(&mut encoder, figure, MetricType::Counter))
    }
}
