//! Schedules over gRPC: the calls of `evhub.ledger.v1.Ledger` that are about them.

use std::time::Duration;

use evhub_cron::{End, MissedRuns, Policy};
use evhub_journal::Journal;
use evhub_proto::ledger::{
    self as proto, DeleteScheduleRequest, FireScheduleRequest, GetScheduleRequest, ListSchedulesRequest,
    PutScheduleRequest, Schedule, ScheduleSpec,
    schedule_spec::{End as SpecEnd, Pace},
    scheduled_event::Data,
};
use evhub_routing::{ScheduledData, ScheduledEvent, written::Written};

use super::ask::{Schedules, Shown, Upcoming};
use crate::{
    Hub,
    grpc::status::stamp,
    problem::{Problem, reason},
    timers::grpc::name,
};

pub(crate) async fn list<J: Journal>(
    hub: &Hub<J>,
    request: ListSchedulesRequest,
) -> Result<Vec<Schedule>, Problem> {
    let ListSchedulesRequest { namespace, producer } = request;
    let listed = Schedules::of(hub, &name(namespace, producer))?.list().await?;
    Ok(listed.into_iter().map(schedule).collect())
}

pub(crate) async fn look<J: Journal>(hub: &Hub<J>, request: GetScheduleRequest) -> Result<Schedule, Problem> {
    let GetScheduleRequest { namespace, producer, schedule } = request;
    let found = Schedules::of(hub, &name(namespace, producer))?.look(&schedule).await?;
    Ok(shown(found))
}

pub(crate) async fn put<J: Journal>(hub: &Hub<J>, request: PutScheduleRequest) -> Result<Schedule, Problem> {
    let PutScheduleRequest { namespace, producer, schedule, spec } = request;
    let schedules = Schedules::of(hub, &name(namespace, producer))?;
    let spec = spec.ok_or_else(|| invalid("spec", "is required"))?;
    let (found, _) = schedules.put(written(schedule, spec)?).await?;
    Ok(shown(found))
}

pub(crate) async fn delete<J: Journal>(hub: &Hub<J>, request: DeleteScheduleRequest) -> Result<(), Problem> {
    let DeleteScheduleRequest { namespace, producer, schedule } = request;
    Schedules::of(hub, &name(namespace, producer))?.delete(&schedule).await
}

pub(crate) async fn fire<J: Journal>(hub: &Hub<J>, request: FireScheduleRequest) -> Result<String, Problem> {
    let FireScheduleRequest { namespace, producer, schedule } = request;
    Schedules::of(hub, &name(namespace, producer))?.fire(&schedule).await
}

// === read ===

fn written(name: String, spec: ScheduleSpec) -> Result<Written, Problem> {
    let ScheduleSpec { pace, time_zone, start, end, missed_runs, jitter, suspend, event } = spec;
    let (cron, every) = match pace {
        Some(Pace::Cron(text)) => (Some(text), None),
        Some(Pace::Every(every)) => (None, Some(span("every", every)?)),
        None => (None, None),
    };
    let end = match end {
        Some(SpecEnd::EndTime(time)) => Some(End::Time(instant("end.time", time)?)),
        Some(SpecEnd::EndCount(count)) => Some(End::Count(count.into())),
        None => None,
    };
    Ok(Written {
        name,
        cron,
        every,
        time_zone: Some(time_zone).filter(|zone| !zone.is_empty()),
        start: start.map(|start| instant("start", start)).transpose()?,
        end,
        missed_runs: missed_runs.map(missed).transpose()?.unwrap_or_default(),
        jitter: jitter.map(|jitter| span("jitter", jitter)).transpose()?.unwrap_or_default(),
        suspend,
        event: scheduled(event.ok_or_else(|| invalid("event", "is required"))?)?,
    })
}

fn missed(missed: proto::MissedRuns) -> Result<MissedRuns, Problem> {
    let usual = MissedRuns::default();
    let policy = match missed.policy() {
        proto::MissedPolicy::Unspecified => usual.policy,
        proto::MissedPolicy::Skip => Policy::Skip,
        proto::MissedPolicy::Latest => Policy::Latest,
        proto::MissedPolicy::All => Policy::All,
    };
    let deadline = missed.deadline.map(|deadline| span("missedRuns.deadline", deadline)).transpose()?;
    let (max, deadline) = (missed.max.unwrap_or(usual.max), deadline.unwrap_or(usual.deadline));
    Ok(MissedRuns { policy, max, deadline })
}

fn scheduled(event: proto::ScheduledEvent) -> Result<ScheduledEvent, Problem> {
    let proto::ScheduledEvent { r#type: kind, data, partition_key, tags } = event;
    let data = match data {
        // As every other surface writes it.
        Some(Data::Json(text)) => match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) => Some(ScheduledData::Json(value.to_string())),
            Err(error) => return Err(invalid("event.data", format!("is no JSON: {error}"))),
        },
        Some(Data::Binary(bytes)) => Some(ScheduledData::Binary(bytes.to_vec())),
        None => None,
    };
    let partition_key = Some(partition_key).filter(|key| !key.is_empty());
    Ok(ScheduledEvent { kind, data, partition_key, tags })
}

/// Whole milliseconds, as everywhere.
fn span(field: &str, span: prost_types::Duration) -> Result<Duration, Problem> {
    let span = Duration::try_from(span).map_err(|_| invalid(field, "must not be negative"))?;
    Ok(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}

fn instant(field: &str, at: prost_types::Timestamp) -> Result<i64, Problem> {
    let millis = at.seconds.saturating_mul(1_000).saturating_add(i64::from(at.nanos).div_euclid(1_000_000));
    // What RFC 3339 can write, as other surfaces take it.
    if (0..=253_402_300_799_999).contains(&millis) {
        Ok(millis)
    } else {
        Err(invalid(field, "must be an instant since 1970"))
    }
}

fn invalid(field: &str, message: impl Into<String>) -> Problem {
    Problem::new(reason::INVALID_SCHEDULE, message).at(field)
}

// === shown ===

fn schedule(upcoming: Upcoming) -> Schedule {
    let Upcoming { name, declared, next, fired, skipped, suspended } = upcoming;
    let next = next.into_iter().map(stamp).collect();
    Schedule { schedule: name, next, fired, skipped, suspended, declared, spec: None }
}

fn shown(Shown { written, upcoming }: Shown) -> Schedule {
    Schedule { spec: Some(spec(written)), ..schedule(upcoming) }
}

fn spec(written: Written) -> ScheduleSpec {
    let Written { name: _, cron, every, time_zone, start, end, missed_runs, jitter, suspend, event } =
        written;
    let policy = match missed_runs.policy {
        Policy::Skip => proto::MissedPolicy::Skip,
        Policy::Latest => proto::MissedPolicy::Latest,
        Policy::All => proto::MissedPolicy::All,
    };
    let (max, deadline) = (Some(missed_runs.max), Some(duration(missed_runs.deadline)));
    ScheduleSpec {
        pace: cron.map(Pace::Cron).or(every.map(|every| Pace::Every(duration(every)))),
        time_zone: time_zone.unwrap_or_default(),
        start: start.map(stamp),
        end: end.map(|end| match end {
            End::Time(time) => SpecEnd::EndTime(stamp(time)),
            End::Count(count) => SpecEnd::EndCount(u32::try_from(count).unwrap_or(u32::MAX)),
        }),
        missed_runs: Some(proto::MissedRuns { policy: policy.into(), max, deadline }),
        jitter: (!jitter.is_zero()).then(|| duration(jitter)),
        suspend,
        event: Some(proto::ScheduledEvent {
            r#type: event.kind,
            data: event.data.map(|data| match data {
                ScheduledData::Json(text) => Data::Json(text),
                ScheduledData::Binary(bytes) => Data::Binary(bytes.into()),
            }),
            partition_key: event.partition_key.unwrap_or_default(),
            tags: event.tags,
        }),
    }
}

/// None is longer than a hundred years.
fn duration(span: Duration) -> prost_types::Duration {
    let (seconds, nanos) = (i64::try_from(span.as_secs()).unwrap_or(i64::MAX), span.subsec_nanos() as i32);
    prost_types::Duration { seconds, nanos }
}
