//! What the runs of a schedule have in common, as a record, and a schedule again from what the ledger keeps of it. Pure.

use evhub_event::{Event, Header, Record, kafka, record::TAGS};
use evhub_ledger::series::{Dynamic, Pace, Rule};
use evhub_routing::{Name, Schedule, ScheduledData, ScheduledEvent, written::Written};

/// What is said of data that are JSON.
const JSON: &str = "application/json";

/// What all runs of a schedule have in common: everything but the id and the time.
pub(super) fn template(producer: &Name, event: &ScheduledEvent) -> Record {
    let (datacontenttype, data) = match &event.data {
        None => (None, None),
        Some(ScheduledData::Json(text)) => (Some(JSON.to_owned()), Some(text.clone().into_bytes().into())),
        Some(ScheduledData::Binary(bytes)) => (None, Some(bytes.clone().into())),
    };
    let key = event.partition_key.iter().map(|key| ("partitionkey".to_owned(), key.clone()));
    let mut record = kafka::encode(&Event {
        id: String::new(),
        source: format!("/namespaces/{}/producers/{}", producer.namespace, producer.name),
        kind: event.kind.clone(),
        subject: None,
        time: None,
        datacontenttype,
        dataschema: None,
        extensions: key.collect(),
        data,
    });
    record.headers.retain(|header| header.name != "ce_id");
    if !event.tags.is_empty() {
        record.headers.push(Header { name: TAGS.to_owned(), value: event.tags.join(",").into() });
    }
    record
}

/// When a schedule fires, as the ledger has it.
pub(super) fn rule(schedule: &Schedule) -> Rule {
    Rule {
        pace: match &schedule.pace {
            evhub_routing::Pace::Cron(crontab) => {
                Pace::Cron(crontab.text().to_owned(), crontab.zone().to_string())
            }
            evhub_routing::Pace::Every { anchor, period } => Pace::Every(*anchor, period.as_millis() as u64),
        },
        start: schedule.start,
        end: schedule.end,
        missed: schedule.missed_runs,
        jitter: schedule.jitter,
        suspended: schedule.suspend,
    }
}

/// The schedule that somebody put.
pub(super) fn restored(dynamic: &Dynamic) -> Written {
    let Rule { pace, start, end, missed, jitter, suspended } = dynamic.series.rule.clone();
    let (cron, every, time_zone) = match pace {
        Pace::Cron(text, zone) => (Some(text), None, Some(zone)),
        Pace::Every(_, period) => (None, Some(std::time::Duration::from_millis(period)), None),
    };
    Written {
        name: dynamic.series.name.clone(),
        cron,
        every,
        time_zone,
        start,
        end,
        missed_runs: missed,
        jitter,
        suspend: suspended,
        event: event(dynamic.record.as_ref()),
    }
}

fn event(record: Option<&Record>) -> ScheduledEvent {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let header = |name: &str| record.and_then(|record| record.header(name)).map(|value| text(value));
    let value = record.and_then(|record| record.value.clone()).filter(|value| !value.is_empty());
    let is_json = header("content-type").is_some_and(|media| media == JSON);
    ScheduledEvent {
        kind: header("ce_type").unwrap_or_default(),
        data: value.map(|value| {
            if is_json { ScheduledData::Json(text(&value)) } else { ScheduledData::Binary(value.to_vec()) }
        }),
        partition_key: record.and_then(|record| record.key.as_deref()).map(text),
        tags: header(TAGS)
            .into_iter()
            .flat_map(|tags| tags.split(',').map(str::to_owned).collect::<Vec<_>>())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evhub_ledger::series::Series;

    use super::*;

    #[test]
    fn what_is_kept_of_one_is_all_of_it() {
        let plain =
            ScheduledEvent { kind: "a".to_owned(), data: None, partition_key: None, tags: Vec::new() };
        let data = |data| ScheduledEvent { data: Some(data), ..plain.clone() };
        let tagged = ScheduledEvent {
            partition_key: Some("k".to_owned()),
            tags: vec!["paid".to_owned(), "eu west".to_owned()],
            ..plain.clone()
        };
        let cron = |event: ScheduledEvent| Written {
            name: "nightly".to_owned(),
            cron: Some("0 2 * * *".to_owned()),
            every: None,
            time_zone: Some("Europe/Berlin".to_owned()),
            start: Some(5),
            end: None,
            missed_runs: evhub_cron::MissedRuns::default(),
            jitter: Duration::from_millis(7),
            suspend: true,
            event,
        };
        let every = |event| Written {
            cron: None,
            every: Some(Duration::from_millis(90_500)),
            time_zone: None,
            end: Some(evhub_cron::End::Count(3)),
            suspend: false,
            ..cron(event)
        };
        let json = data(ScheduledData::Json(r#"{"a":[1,null]}"#.to_owned()));
        let bytes = data(ScheduledData::Binary(vec![0, 255]));
        for written in [cron(plain), cron(json), every(bytes), every(tagged)] {
            let schedule = written.clone().schedule(0, 1 << 20).unwrap();
            let record = template(&Name::new("shop", "orders"), &schedule.event);
            let series = Series::begun("uid", "nightly", rule(&schedule), (1, 1), 0).unwrap();
            assert_eq!(restored(&Dynamic { series, record: Some(record) }), written);
        }
    }
}
