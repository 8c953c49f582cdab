//! What is decided exactly once, and its message. Pure.

use evhub_cron::{Dialect, End, MissedRuns, Policy, Rule, Zone, missed};
use evhub_messages as proto;
use http::Uri;

use super::{Invalid, Wire, list, needed, optional, parsed, unknown};
use crate::{
    CheckBack, CheckProtocol, Crontab, Deduplication, DeduplicationKey, Ledger, Pace, Schedule,
    ScheduledData, ScheduledEvent, Undecided,
};

impl Wire for Ledger {
    type Message = proto::Ledger;

    fn encode(&self) -> proto::Ledger {
        proto::Ledger {
            deduplication: Some(self.deduplication.encode()),
            check_back: self.check_back.as_ref().map(Wire::encode),
            schedules: self.schedules.iter().map(Wire::encode).collect(),
        }
    }

    fn decode(message: proto::Ledger) -> Result<Self, Invalid> {
        Ok(Self {
            deduplication: needed("deduplication", message.deduplication)?,
            check_back: optional("checkBack", message.check_back)?,
            schedules: list("schedules", message.schedules)?,
        })
    }
}

impl Wire for Deduplication {
    type Message = proto::Deduplication;

    fn encode(&self) -> proto::Deduplication {
        let by = match self.by {
            DeduplicationKey::IdempotencyKey => proto::DeduplicationKey::IdempotencyKey,
            DeduplicationKey::SourceAndId => proto::DeduplicationKey::SourceAndId,
        };
        proto::Deduplication { by: by.into(), window: Some(self.window.encode()) }
    }

    fn decode(message: proto::Deduplication) -> Result<Self, Invalid> {
        let by = match proto::DeduplicationKey::try_from(message.by) {
            Ok(proto::DeduplicationKey::IdempotencyKey) => DeduplicationKey::IdempotencyKey,
            Ok(proto::DeduplicationKey::SourceAndId) => DeduplicationKey::SourceAndId,
            Ok(proto::DeduplicationKey::Unspecified) | Err(_) => return Err(unknown("by", message.by)),
        };
        Ok(Self { by, window: needed("window", message.window)? })
    }
}

impl Wire for CheckBack {
    type Message = proto::CheckBack;

    fn encode(&self) -> proto::CheckBack {
        let protocol = match self.protocol {
            CheckProtocol::CloudEvents => proto::CheckProtocol::CloudEvents,
            CheckProtocol::EvHubHttp => proto::CheckProtocol::EvhubHttp,
            CheckProtocol::EvHubHttpProtobuf => proto::CheckProtocol::EvhubHttpProtobuf,
            CheckProtocol::EvHubGrpc => proto::CheckProtocol::EvhubGrpc,
        };
        let on_exhausted = match self.on_exhausted {
            Undecided::Rollback => proto::Undecided::Rollback,
            Undecided::Commit => proto::Undecided::Commit,
            Undecided::Hold => proto::Undecided::Hold,
        };
        proto::CheckBack {
            url: self.url.to_string(),
            service: self.service.as_ref().map(Wire::encode),
            protocol: protocol.into(),
            timeout: Some(self.timeout.encode()),
            interval: Some(self.interval.encode()),
            max_checks: self.max_checks,
            on_exhausted: on_exhausted.into(),
        }
    }

    fn decode(message: proto::CheckBack) -> Result<Self, Invalid> {
        let url: Uri = parsed("url", &message.url)?;
        if url.scheme().is_none() || url.authority().is_none() {
            return Err(Invalid::new(format!("must be absolute (got {url})")).within("url"));
        }
        Ok(Self {
            url,
            service: optional("service", message.service)?,
            protocol: match proto::CheckProtocol::try_from(message.protocol) {
                Ok(proto::CheckProtocol::CloudEvents) => CheckProtocol::CloudEvents,
                Ok(proto::CheckProtocol::EvhubHttp) => CheckProtocol::EvHubHttp,
                Ok(proto::CheckProtocol::EvhubHttpProtobuf) => CheckProtocol::EvHubHttpProtobuf,
                Ok(proto::CheckProtocol::EvhubGrpc) => CheckProtocol::EvHubGrpc,
                Ok(proto::CheckProtocol::Unspecified) | Err(_) => {
                    return Err(unknown("protocol", message.protocol));
                }
            },
            timeout: needed("timeout", message.timeout)?,
            interval: needed("interval", message.interval)?,
            max_checks: message.max_checks,
            on_exhausted: match proto::Undecided::try_from(message.on_exhausted) {
                Ok(proto::Undecided::Rollback) => Undecided::Rollback,
                Ok(proto::Undecided::Commit) => Undecided::Commit,
                Ok(proto::Undecided::Hold) => Undecided::Hold,
                Ok(proto::Undecided::Unspecified) | Err(_) => {
                    return Err(unknown("onExhausted", message.on_exhausted));
                }
            },
        })
    }
}

// === schedules ===

impl Wire for Schedule {
    type Message = proto::Schedule;

    fn encode(&self) -> proto::Schedule {
        proto::Schedule {
            name: self.name.clone(),
            pace: Some(match &self.pace {
                Pace::Cron(crontab) => proto::schedule::Pace::Cron(crontab.encode()),
                Pace::Every { anchor, period } => {
                    let period = Some(period.encode());
                    proto::schedule::Pace::Every(proto::Every { anchor: *anchor, period })
                }
            }),
            start: self.start,
            end: self.end.map(|end| match end {
                End::Time(time) => proto::schedule::End::EndTime(time),
                End::Count(count) => proto::schedule::End::EndCount(count),
            }),
            missed_runs: Some(self.missed_runs.encode()),
            jitter: Some(self.jitter.encode()),
            suspend: self.suspend,
            event: Some(self.event.encode()),
        }
    }

    fn decode(message: proto::Schedule) -> Result<Self, Invalid> {
        Ok(Self {
            name: message.name,
            pace: match message.pace {
                Some(proto::schedule::Pace::Cron(crontab)) => Pace::Cron(needed("cron", Some(crontab))?),
                Some(proto::schedule::Pace::Every(proto::Every { anchor, period })) => {
                    Pace::Every { anchor, period: needed("every.period", period)? }
                }
                None => return Err(unknown("pace", 0)),
            },
            start: message.start,
            end: message.end.map(|end| match end {
                proto::schedule::End::EndTime(time) => End::Time(time),
                proto::schedule::End::EndCount(count) => End::Count(count),
            }),
            missed_runs: needed("missedRuns", message.missed_runs)?,
            jitter: needed("jitter", message.jitter)?,
            suspend: message.suspend,
            event: needed("event", message.event)?,
        })
    }
}

impl Wire for Crontab {
    type Message = proto::Crontab;

    fn encode(&self) -> proto::Crontab {
        proto::Crontab { text: self.text().to_owned(), time_zone: self.zone().to_string() }
    }

    fn decode(message: proto::Crontab) -> Result<Self, Invalid> {
        let zone: Zone = parsed("timeZone", &message.time_zone)?;
        match Dialect::Standard.parse(&message.text) {
            Ok(expression) => match expression.rule {
                Rule::Cron(cron) => Ok(Self::new(message.text, cron, zone)),
                Rule::Every(_) => Err(Invalid::new("an interval is no crontab").within("text")),
            },
            Err(error) => Err(Invalid::new(error).within("text")),
        }
    }
}

impl Wire for MissedRuns {
    type Message = proto::MissedRuns;

    fn encode(&self) -> proto::MissedRuns {
        let policy = match self.policy {
            Policy::Skip => proto::MissedPolicy::Skip,
            Policy::Latest => proto::MissedPolicy::Latest,
            Policy::All => proto::MissedPolicy::All,
        };
        proto::MissedRuns { policy: policy.into(), max: self.max, deadline: Some(self.deadline.encode()) }
    }

    fn decode(message: proto::MissedRuns) -> Result<Self, Invalid> {
        let policy = match proto::MissedPolicy::try_from(message.policy) {
            Ok(proto::MissedPolicy::Skip) => Policy::Skip,
            Ok(proto::MissedPolicy::Latest) => Policy::Latest,
            Ok(proto::MissedPolicy::All) => Policy::All,
            Ok(proto::MissedPolicy::Unspecified) | Err(_) => return Err(unknown("policy", message.policy)),
        };
        if message.max > missed::MOST {
            let problem = format!("must be at most {} (got {})", missed::MOST, message.max);
            return Err(Invalid::new(problem).within("max"));
        }
        Ok(Self { policy, max: message.max, deadline: needed("deadline", message.deadline)? })
    }
}

impl Wire for ScheduledEvent {
    type Message = proto::ScheduledEvent;

    fn encode(&self) -> proto::ScheduledEvent {
        proto::ScheduledEvent {
            r#type: self.kind.clone(),
            data: self.data.as_ref().map(|data| match data {
                ScheduledData::Json(text) => proto::scheduled_event::Data::Json(text.clone()),
                ScheduledData::Binary(bytes) => proto::scheduled_event::Data::Binary(bytes.clone().into()),
            }),
            partition_key: self.partition_key.clone(),
            tags: self.tags.clone(),
        }
    }

    fn decode(message: proto::ScheduledEvent) -> Result<Self, Invalid> {
        Ok(Self {
            kind: message.r#type,
            data: message.data.map(|data| match data {
                proto::scheduled_event::Data::Json(text) => ScheduledData::Json(text),
                proto::scheduled_event::Data::Binary(bytes) => ScheduledData::Binary(bytes.to_vec()),
            }),
            partition_key: message.partition_key,
            tags: message.tags,
        })
    }
}
