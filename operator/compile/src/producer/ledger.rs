//! What of a Producer is decided exactly once: its schedules, publishes by key, half messages.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use evhub_crds::{
    ProducerSpec, Reason,
    producer::DeduplicationKey,
    schedule::{self, MissedPolicy},
    transaction::{self, Protocol, Undecided},
};
use evhub_cron::{self as cron, Dialect, End, Invalid, MissedRuns, Policy, Rule, Zone};
use evhub_routing::{self as routing, Crontab, Ledger, Pace, Schedule, ScheduledData, ScheduledEvent};

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
    written: &schedule::Schedule,
) -> Result<Schedule, Vec<Finding>> {
    let pace = pace(resource, field, written);
    let event = event(spec, field, &written.event);
    let (pace, event) = match (pace, event) {
        (Ok(Some(pace)), Ok(event)) => (pace, event),
        (pace, event) => return Err([pace.err(), event.err()].into_iter().flatten().collect()),
    };
    let schedule = Schedule {
        name: written.name.clone(),
        pace,
        start: written.start.as_ref().map(evhub_crds::Instant::millis),
        end: written.end.as_ref().and_then(end),
        missed_runs: MissedRuns {
            policy: match written.missed_runs.policy {
                MissedPolicy::Skip => Policy::Skip,
                MissedPolicy::Latest => Policy::Latest,
                MissedPolicy::All => Policy::All,
            },
            max: written.missed_runs.max,
            deadline: written.missed_runs.deadline.get(),
        },
        jitter: written.jitter.map(evhub_crds::Duration::get).unwrap_or_default(),
        suspend: written.suspend,
        event,
    };
    // One that ends before it begins is told so already.
    if matches!((schedule.start, schedule.end), (Some(start), Some(End::Time(end))) if end <= start) {
        return Err(Vec::new());
    }
    // Since it exists, which is all of the clock that is known here.
    let fires = schedule.instants().is_some_and(|instants| instants.next(resource.created, 0).is_some());
    if fires {
        return Ok(schedule);
    }
    let message = "has no instant at which it fires, for a hundred years or until its end".to_owned();
    Err(vec![Finding::new(Reason::NeverFires, Some(field), message)])
}

/// What repeats; `None` if the spec breaks a rule, which is said already.
fn pace(resource: &Resource, field: &str, written: &schedule::Schedule) -> Result<Option<Pace>, Finding> {
    let anchor = written.start.as_ref().map_or(resource.created, evhub_crds::Instant::millis);
    let text = match (&written.cron, written.every) {
        (Some(text), None) => text,
        (None, Some(every)) if every.get().is_zero() => return Ok(None),
        (None, Some(every)) => return Ok(Some(Pace::Every { anchor, period: every.get() })),
        _ => return Ok(None),
    };
    let zone = match &written.time_zone {
        None => Zone::utc(),
        Some(name) => name.parse().map_err(|error: cron::zone::Unknown| {
            Finding::new(Reason::UnknownTimezone, Some(&format!("{field}.timeZone")), error.to_string())
        })?,
    };
    let at = format!("{field}.cron");
    let expression = Dialect::Standard.parse(text).map_err(|error| {
        let reason = match error {
            Invalid::NeverFires => Reason::NeverFires,
            _ => Reason::InvalidCron,
        };
        Finding::new(reason, Some(&at), error.to_string())
    })?;
    match expression.rule {
        Rule::Cron(cron) => Ok(Some(Pace::Cron(Crontab::new(text.clone(), cron, zone)))),
        Rule::Every(_) if written.time_zone.is_some() => {
            let message = "goes with a crontab alone: @every knows no clocks".to_owned();
            Err(Finding::new(Reason::Invalid, Some(&format!("{field}.timeZone")), message))
        }
        Rule::Every(period) => Ok(Some(Pace::Every { anchor, period })),
    }
}

fn end(written: &schedule::End) -> Option<End> {
    match (&written.time, written.count) {
        (Some(time), _) => Some(End::Time(time.millis())),
        (None, Some(count)) => Some(End::Count(count.into())),
        (None, None) => None,
    }
}

/// What is left for an event's attributes: of the smallest limit that there is, a quarter.
const ATTRIBUTES: usize = 4 << 10;

fn event(spec: &ProducerSpec, field: &str, written: &schedule::Event) -> Result<ScheduledEvent, Finding> {
    let schedule::Event { kind, data, data_base64, partition_key, tags } = written;
    let data = match (data, data_base64) {
        (Some(value), _) => Some(ScheduledData::Json(value.to_string())),
        (None, Some(text)) => Some(ScheduledData::Binary(
            STANDARD.decode(text).map_err(|error| invalid(&format!("{field}.event.dataBase64"), &error))?,
        )),
        (None, None) => None,
    };
    let bytes = match &data {
        Some(ScheduledData::Json(text)) => text.len(),
        Some(ScheduledData::Binary(bytes)) => bytes.len(),
        None => 0,
    };
    let most = spec.limits.event_bytes.bytes() as usize;
    if bytes + ATTRIBUTES.min(most / 4) > most {
        let message = format!("{bytes} bytes of data are more than limits.eventBytes ({most}) has room for");
        return Err(Finding::new(Reason::Invalid, Some(&format!("{field}.event")), message));
    }
    let (kind, partition_key, tags) = (kind.clone(), partition_key.clone(), tags.clone());
    Ok(ScheduledEvent { kind, data, partition_key, tags })
}
