//! When schedules would fire, had their Producers been created at a given instant. Pure.

use evhub_compile::Verdict;
use evhub_crds::Kind;
use evhub_routing::{Name, Producer, Schedule, Snapshot};
use jiff::{Timestamp, tz};
use serde::Serialize;

use crate::{
    output::Table,
    style::{Style, Tone},
};

/// A verdict, and what its Producer's schedules have in store.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Checked<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedules: Option<Vec<Upcoming>>,
}

/// What one schedule has in store.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Upcoming {
    name: String,
    /// Universal time, to the millisecond.
    next: Vec<String>,
    /// The same by its own clocks, for people.
    #[serde(skip)]
    local: Vec<String>,
    #[serde(skip)]
    zone: &'static str,
    #[serde(skip)]
    suspended: bool,
}

/// So many are told.
const FIRINGS: usize = 10;

/// Each verdict, a Producer's with what its schedules have in store after `now`.
pub(super) fn find<'a>(verdicts: &'a [Verdict], snapshot: &Snapshot, now: i64) -> Vec<Checked<'a>> {
    let schedules = |verdict: &Verdict| {
        if !verdict.accepted || verdict.kind != Some(Kind::Producer) {
            return None;
        }
        let name = Name::new(verdict.namespace.as_ref()?, verdict.name.as_ref()?);
        Some(of(snapshot.producers.get(&name)?, now)).filter(|schedules| !schedules.is_empty())
    };
    verdicts.iter().map(|verdict| Checked { verdict, schedules: schedules(verdict) }).collect()
}

fn of(producer: &Producer, now: i64) -> Vec<Upcoming> {
    producer.ledger.schedules.iter().map(|schedule| upcoming(schedule, now)).collect()
}

fn upcoming(schedule: &Schedule, now: i64) -> Upcoming {
    let zone = schedule.zone();
    let instants = schedule.instants().filter(|_| !schedule.suspend);
    let next: Vec<i64> =
        instants.map(|instants| instants.after(now, 0).take(FIRINGS).collect()).unwrap_or_default();
    Upcoming {
        name: schedule.name.clone(),
        next: next.iter().filter_map(|at| shown(*at, 0, "%Y-%m-%dT%H:%M:%S.%3fZ")).collect(),
        local: next
            .iter()
            .filter_map(|at| shown(*at, zone.offset(*at), "%a %Y-%m-%d %H:%M:%S%.f %:z"))
            .collect(),
        zone: zone.name(),
        suspended: schedule.suspend,
    }
}

fn shown(at: i64, offset: i32, form: &str) -> Option<String> {
    let offset = tz::Offset::from_seconds(offset).ok()?;
    let at = Timestamp::from_millisecond(at).ok()?.to_zoned(tz::TimeZone::fixed(offset));
    Some(at.strftime(form).to_string())
}

/// A line for each firing; nothing where there are no schedules.
pub(super) fn table(checked: &[Checked<'_>], style: Style) -> String {
    let mut table = Table::new(["PRODUCER", "SCHEDULE", "TIME ZONE", "NEXT"]);
    let mut any = false;
    for Checked { verdict, schedules } in checked {
        for schedule in schedules.iter().flatten() {
            any = true;
            let mut cells = [super::name(verdict), schedule.name.clone(), schedule.zone.to_owned()];
            let nothing = if schedule.suspended { "suspended" } else { "none" };
            let lines =
                if schedule.local.is_empty() { vec![nothing.to_owned()] } else { schedule.local.clone() };
            for line in lines {
                let [producer, name, zone] = std::mem::take(&mut cells);
                table.row(Tone::Plain, [producer, name, zone, line]);
            }
        }
    }
    if any { format!("\n{}", table.render(style)) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{tests::manifests, verdicts};

    const NOW: &str = "2026-10-24T12:00:00Z";

    const SCHEDULES: &str = "\
apiVersion: evhub.dev/v1alpha1
kind: Producer
metadata: { name: orders, namespace: shop }
spec:
  schedules:
  - { name: nightly, cron: '30 2 * * *', timeZone: Europe/Berlin, end: { count: 3 }, event: { type: a } }
  - { name: often, every: 90m, end: { time: '2026-10-24T16:00:00Z' }, event: { type: a } }
  - { name: asleep, cron: '@daily', suspend: true, event: { type: a } }
";

    fn checked(test: impl FnOnce(&[Checked<'_>])) {
        let now = NOW.parse::<Timestamp>().unwrap().as_millisecond();
        let compiled = verdicts(manifests(SCHEDULES), Some(now));
        assert!(compiled.is_sound(), "{:?}", compiled.verdicts);
        test(&find(&compiled.verdicts, &compiled.snapshot, now));
    }

    #[test]
    fn programs_are_told_universal_time() {
        checked(|found| {
            let found = serde_json::to_value(found).unwrap();
            assert_eq!(
                found[0]["schedules"],
                serde_json::json!([
                    { "name": "nightly", "next": [
                        "2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z", "2026-10-27T01:30:00.000Z",
                    ] },
                    { "name": "often", "next": ["2026-10-24T13:30:00.000Z", "2026-10-24T15:00:00.000Z"] },
                    { "name": "asleep", "next": [] },
                ])
            );
        });
    }

    #[test]
    fn people_are_told_by_the_clocks_that_are_meant() {
        checked(|found| {
            assert_eq!(
                table(found, Style::none()),
                "\nPRODUCER     SCHEDULE  TIME ZONE      NEXT\n\
                 shop/orders  nightly   Europe/Berlin  Sun 2026-10-25 02:30:00 +02:00\n\
                 \u{20}                                     Mon 2026-10-26 02:30:00 +01:00\n\
                 \u{20}                                     Tue 2026-10-27 02:30:00 +01:00\n\
                 shop/orders  often     UTC            Sat 2026-10-24 13:30:00 +00:00\n\
                 \u{20}                                     Sat 2026-10-24 15:00:00 +00:00\n\
                 shop/orders  asleep    UTC            suspended\n"
            );
        });
    }
}
