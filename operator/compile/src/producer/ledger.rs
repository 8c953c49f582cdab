//! What of a Producer is decided exactly once: its schedules, publishes by key, half messages.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use evhub_crds::{
    ProducerSpec, Reason,
    producer::DeduplicationKey,
    schedule::{self, MissedPolicy},
    transaction::{self, Protocol, Undecided},
};
use evhub_cron::{End, MissedRuns, Policy};
use evhub_routing::{
    self as routing, Ledger, Schedule, ScheduledData, ScheduledEvent,
    written::{Fault, Sort, Written},
};

use crate::{
    processor::{invalid, target::Place},
    verdict::Finding,
    world::{Resource, Settings},
};

/// All of it, or all that is wrong with it.
pub(super) fn ledger(
    settings: &Settings,
    resource: &Resource,
    spec: &ProducerSpec,
) -> Result<Ledger, Vec<Finding>> {
    let mut findings = Vec::new();
    let asked = spec.transaction.as_ref().and_then(|asked| check_back(settings, resource, asked));
    let check_back = asked.transpose().map_err(|wrong| findings.push(wrong)).ok().flatten();
    let mut schedules = Vec::new();
    for (index, written) in spec.schedules.iter().enumerate() {
        match schedule(resource, spec, &format!("spec.schedules[{index}]"), written) {
            Ok(schedule) => schedules.push(schedule),
            Err(wrong) => findings.extend(wrong),
        }
    }
    let ledger = Ledger {
        deduplication: routing::Deduplication {
            by: match spec.deduplication.by {
                DeduplicationKey::IdempotencyKey => routing::DeduplicationKey::IdempotencyKey,
                DeduplicationKey::SourceAndId => routing::DeduplicationKey::SourceAndId,
            },
            window: spec.deduplication.window.get(),
        },
        check_back,
        schedules,
    };
    if findings.is_empty() { Ok(ledger) } else { Err(findings) }
}

// === half messages ===

/// `None` if the spec breaks a rule, which is said already.
fn check_back(
    settings: &Settings,
    resource: &Resource,
    asked: &transaction::Transaction,
) -> Option<Result<routing::CheckBack, Finding>> {
    let transaction::CheckBack { target, interval, max_checks, on_exhausted } = &asked.check_back;
    let transaction::Target { service, url, protocol, timeout } = target;
    let field = "spec.transaction.checkBack.target";
    let namespace = &resource.name.namespace;
    let place = Place { field, service: service.as_ref(), url: url.as_deref(), tls: false };
    let address = place.address(settings, namespace)?;
    Some(address.map(|url| routing::CheckBack {
        url,
        service: service.as_ref().map(|service| routing::Name::new(namespace, &service.name)),
        protocol: match protocol {
            Protocol::CloudEvents => routing::CheckProtocol::CloudEvents,
            Protocol::EvHubHttp => routing::CheckProtocol::EvHubHttp,
            Protocol::EvHubHttpProtobuf => routing::CheckProtocol::EvHubHttpProtobuf,
            Protocol::EvHubGrpc => routing::CheckProtocol::EvHubGrpc,
        },
        timeout: timeout.get(),
        interval: interval.get(),
        max_checks: *max_checks,
        on_exhausted: match on_exhausted {
            Undecided::Rollback => routing::Undecided::Rollback,
            Undecided::Commit => routing::Undecided::Commit,
            Undecided::Hold => routing::Undecided::Hold,
        },
    }))
}

// === schedules ===

fn schedule(
    resource: &Resource,
    spec: &ProducerSpec,
    field: &str,
    said: &schedule::Schedule,
) -> Result<Schedule, Vec<Finding>> {
    let (event, unreadable) = event(&format!("{field}.event"), &said.event);
    match written(said, event).schedule(resource.created, spec.limits.event_bytes.bytes() as usize) {
        Ok(schedule) => unreadable.map_or(Ok(schedule), |finding| Err(vec![finding])),
        Err(faults) => Err(faults.into_iter().map(|fault| finding(field, fault)).chain(unreadable).collect()),
    }
}

/// The schedule, word by word.
fn written(said: &schedule::Schedule, event: ScheduledEvent) -> Written {
    Written {
        name: said.name.clone(),
        cron: said.cron.clone(),
        every: said.every.map(evhub_crds::Duration::get),
        time_zone: said.time_zone.clone(),
        start: said.start.as_ref().map(evhub_crds::Instant::millis),
        end: said.end.as_ref().and_then(end),
        missed_runs: MissedRuns {
            policy: match said.missed_runs.policy {
                MissedPolicy::Skip => Policy::Skip,
                MissedPolicy::Latest => Policy::Latest,
                MissedPolicy::All => Policy::All,
            },
            max: said.missed_runs.max,
            deadline: said.missed_runs.deadline.get(),
        },
        jitter: said.jitter.map(evhub_crds::Duration::get).unwrap_or_default(),
        suspend: said.suspend,
        event,
    }
}

fn finding(field: &str, Fault { sort, field: part, message }: Fault) -> Finding {
    let reason = match sort {
        Sort::Invalid => Reason::Invalid,
        Sort::Cron => Reason::InvalidCron,
        Sort::TimeZone => Reason::UnknownTimezone,
        Sort::NeverFires => Reason::NeverFires,
    };
    let dot = if part.is_empty() { "" } else { "." };
    Finding::new(reason, Some(&format!("{field}{dot}{part}")), message)
}

fn end(written: &schedule::End) -> Option<End> {
    match (&written.time, written.count) {
        (Some(time), _) => Some(End::Time(time.millis())),
        (None, Some(count)) => Some(End::Count(count.into())),
        (None, None) => None,
    }
}

/// The event; without data that cannot be read, and then why.
fn event(field: &str, said: &schedule::Event) -> (ScheduledEvent, Option<Finding>) {
    let schedule::Event { kind, data, data_base64, partition_key, tags } = said;
    let (data, unreadable) = match (data, data_base64.as_ref().map(|text| STANDARD.decode(text))) {
        (Some(value), _) => (Some(ScheduledData::Json(value.to_string())), None),
        (None, Some(Ok(bytes))) => (Some(ScheduledData::Binary(bytes)), None),
        (None, Some(Err(error))) => (None, Some(invalid(&format!("{field}.dataBase64"), &error))),
        (None, None) => (None, None),
    };
    let (kind, partition_key, tags) = (kind.clone(), partition_key.clone(), tags.clone());
    (ScheduledEvent { kind, data, partition_key, tags }, unreadable)
}
