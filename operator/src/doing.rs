//! How Processors are doing, as their authors are told: coarse, and only what has lasted. Pure; the time is handed in.
//!
//! Dataplanes speak in orders of magnitude. What is of another order than what is told is told when it has been so for a minute:
//! so thousands of objects at rest, or in a rollout, cost no write at all, and one that is busy no more than one a minute.
//! While a dataplane has not said how it does, nothing is known, and what is told stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use evhub_control::{Doing, Trouble};
use evhub_crds::{ConditionType, Reason};
use evhub_routing::Name;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::told::Told;

/// How long something must last.
pub const LASTS: Duration = Duration::from_mins(1);

/// How one is doing, as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// How.
    pub doing: Doing,
    /// When that was so.
    pub time: Timestamp,
}

/// What is told of all, and what waits to be.
#[derive(Debug, Default)]
pub struct Watched {
    /// Those that are not at rest, if that is known of all.
    now: Option<BTreeMap<Name, Doing>>,
    told: BTreeMap<Name, Observed>,
    /// Since when they do otherwise than is told.
    waits: BTreeMap<Name, Instant>,
}

/// What is told while it lasts, the gravest first.
pub const TROUBLES: [(Trouble, Reason, &str); 4] = [
    (
        Trouble::RetentionRisk,
        Reason::RetentionRisk,
        "its oldest event has lived for four fifths of what its Producer keeps events for; what becomes older is lost to it",
    ),
    (
        Trouble::TargetFailing,
        Reason::TargetFailing,
        "its target fails so often that it is spoken to little or not at all",
    ),
    (
        Trouble::DeadLettering,
        Reason::DeadLettering,
        "events were given up lately; `evhub dead list` shows them",
    ),
    (Trouble::BacklogGrowing, Reason::BacklogGrowing, "events come faster than they are delivered"),
];

impl Watched {
    /// Takes what dataplanes say.
    pub fn hear(&mut self, now: Option<BTreeMap<Name, Doing>>) {
        self.now = now;
    }

    /// How one is doing, as it is to be told; nothing for one that always was at rest.
    pub fn of(&self, name: &Name) -> Option<&Observed> {
        self.told.get(name)
    }

    /// Looks at what has lasted, of the Processors that there are. Says whether anything else is to be told.
    pub fn look<'a>(
        &mut self,
        all: impl Iterator<Item = (&'a Name, &'a Told)>,
        (now, time): (Instant, Timestamp),
    ) -> bool {
        let mut there = BTreeSet::new();
        for (name, told) in all {
            // What an earlier leader told.
            if !self.told.contains_key(name)
                && let Some(observed) = read(told)
            {
                self.told.insert(name.clone(), observed);
            }
            there.insert(name);
        }
        self.told.retain(|name, _| there.contains(name));
        self.waits.retain(|name, _| there.contains(name));
        let Some(doing) = &self.now else { return false };
        let rest = Doing::default();
        let mut is_new = false;
        for name in there {
            let now_doing = doing.get(name).unwrap_or(&rest);
            let told = self.told.get(name).map_or(&rest, |told| &told.doing);
            if is_like(now_doing, told) {
                self.waits.remove(name);
                continue;
            }
            let since = *self.waits.entry(name.clone()).or_insert(now);
            // That nothing is delivered any more, or again, is for somebody to know.
            if now_doing.exhausted == told.exhausted && now.duration_since(since) < LASTS {
                continue;
            }
            self.waits.remove(name);
            self.told.insert(name.clone(), Observed { doing: now_doing.clone(), time });
            is_new = true;
        }
        is_new
    }
}

/// Whether they say the same to somebody who wants to know the order.
fn is_like(one: &Doing, other: &Doing) -> bool {
    let orders = |doing: &Doing| [doing.backlog, doing.parked, doing.dead_lettered].map(u64::checked_ilog10);
    let gravest = |doing: &Doing| troubles(doing).next().map(|(reason, _)| reason);
    orders(one) == orders(other) && one.exhausted == other.exhausted && gravest(one) == gravest(other)
}

/// What is not as it should be, the gravest first.
pub fn troubles(doing: &Doing) -> impl Iterator<Item = (Reason, &'static str)> {
    let holds = |one: &&(Trouble, Reason, &'static str)| doing.troubles.contains(&one.0);
    TROUBLES.iter().filter(holds).map(|(_, reason, message)| (*reason, *message))
}

impl Observed {
    /// As a status has it.
    pub fn value(&self) -> Value {
        let Doing { backlog, oldest, parked, dead_lettered, .. } = &self.doing;
        let mut value = json!({
            "time": Time(self.time),
            "backlog": backlog,
            "parked": parked,
            "deadLettered": dead_lettered,
        });
        if let Some(oldest) = oldest.and_then(|oldest| Timestamp::from_millisecond(oldest).ok()) {
            value["oldestTime"] = json!(Time(oldest));
        }
        value
    }
}

/// What a status tells of how one is doing, if it tells anything.
fn read(told: &Told) -> Option<Observed> {
    let reason = |type_| told.condition(type_).map(|condition| condition.reason.as_str());
    let degraded = reason(ConditionType::Degraded);
    let troubles: Vec<Trouble> =
        TROUBLES.iter().filter(|one| degraded == Some(one.1.as_str())).map(|one| one.0).collect();
    let exhausted = reason(ConditionType::Suspended) == Some(Reason::Exhausted.as_str());
    let observed = told.rest.get("observed");
    if observed.is_none() && troubles.is_empty() && !exhausted {
        return None;
    }
    let field = |name: &str| observed.and_then(|observed| observed.get(name));
    let count = |name: &str| field(name).and_then(Value::as_u64).unwrap_or(0);
    let instant = |name: &str| field(name).and_then(|time| serde_json::from_value::<Time>(time.clone()).ok());
    let doing = Doing {
        backlog: count("backlog"),
        oldest: instant("oldestTime").map(|time| time.0.as_millisecond()),
        parked: count("parked"),
        dead_lettered: count("deadLettered"),
        exhausted,
        troubles,
    };
    Some(Observed { doing, time: instant("time").map(|time| time.0).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        Name::new("shop", "billing")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn parked(count: u64) -> BTreeMap<Name, Doing> {
        BTreeMap::from([(name(), Doing { parked: count, ..Doing::default() })])
    }

    #[test]
    fn what_is_of_another_order_is_told_when_it_has_lasted() {
        let (mut watched, began, told) = (Watched::default(), Instant::now(), Told::default());
        let look = |watched: &mut Watched, after: u64| {
            let now = (began + Duration::from_secs(after), at(after.cast_signed()));
            watched.look([(&name(), &told)].into_iter(), now)
        };
        watched.hear(Some(parked(12)));
        assert!(!look(&mut watched, 0) && !look(&mut watched, 59));
        watched.hear(Some(parked(80)));
        assert!(look(&mut watched, 60), "it was of that order all the time");
        assert_eq!(watched.of(&name()).unwrap().value()["parked"], 80);
        watched.hear(Some(parked(13)));
        assert!(!look(&mut watched, 200), "that is of the same order");
        // It passes, and comes back before that has lasted.
        watched.hear(Some(BTreeMap::new()));
        assert!(!look(&mut watched, 210));
        watched.hear(Some(parked(13)));
        assert!(!look(&mut watched, 269));
        watched.hear(Some(BTreeMap::new()));
        assert!(!look(&mut watched, 271) && look(&mut watched, 331));
        assert_eq!(watched.of(&name()).unwrap().doing, Doing::default());
    }

    #[test]
    fn a_suspension_by_an_exhausted_event_is_told_at_once() {
        let (mut watched, told) = (Watched::default(), Told::default());
        let exhausted = Doing { exhausted: true, ..Doing::default() };
        watched.hear(Some(BTreeMap::from([(name(), exhausted)])));
        assert!(watched.look([(&name(), &told)].into_iter(), (Instant::now(), at(0))));
        watched.hear(Some(BTreeMap::new()));
        assert!(watched.look([(&name(), &told)].into_iter(), (Instant::now(), at(0))));
    }

    #[test]
    fn what_an_earlier_leader_told_stays_until_dataplanes_say_otherwise() {
        let first =
            Observed { doing: Doing { backlog: 12, oldest: Some(5_000), ..Doing::default() }, time: at(10) };
        let rest = json!({ "observed": first.value() });
        let told = Told { rest: rest.as_object().unwrap().clone(), ..Told::default() };
        let (mut watched, began) = (Watched::default(), Instant::now());
        let look = |watched: &mut Watched, after: Duration| {
            watched.look([(&name(), &told)].into_iter(), (began + after, at(100)))
        };
        assert!(!look(&mut watched, Duration::ZERO) && !look(&mut watched, LASTS * 2));
        assert_eq!(watched.of(&name()), Some(&first));
        watched.hear(Some(BTreeMap::new()));
        assert!(!look(&mut watched, LASTS * 2) && look(&mut watched, LASTS * 3));
        assert_eq!(watched.of(&name()).unwrap().value()["oldestTime"], Value::Null);
    }
}
