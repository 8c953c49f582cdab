//! What a resource's author is told in its status, and when that is worth writing. Pure; the time is handed in.
//!
//! Nothing is told that is told already: a condition whose status stays keeps its time. What others wrote beside ours is
//! left alone; what they wrote in place of ours is not.

mod schedules;

use evhub_compile::Verdict;
use evhub_crds::{
    Condition, ConditionType, Kind, Reason, Stands,
    condition::Status::{self, False, True, Unknown},
};
use evhub_routing::{Generation, Name, Processor, Producer};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use crate::{
    doing::{self, Observed},
    fleet::{Fleet, State},
    index::Before,
};

/// A status as it is, or as it should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// The generation of which it speaks.
    pub observed_generation: Option<i64>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// Everything else.
    pub rest: Map<String, Value>,
}

/// What runs of a resource.
#[derive(Clone, Copy, Debug)]
pub enum Runs<'a> {
    /// Nothing does.
    Nothing,
    /// A Producer, since a generation.
    Producer(&'a Producer, Generation),
    /// A Processor, since a generation.
    Processor(&'a Processor, Generation),
}

/// All that a status follows from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What kind of a resource it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'a Name,
    /// The generation of its spec.
    pub generation: i64,
    /// What was decided on it.
    pub verdict: &'a Verdict,
    /// What runs of it.
    pub runs: Runs<'a>,
    /// Whether that is what it said earlier, because what it says now is refused or waits.
    pub stands: bool,
    /// What dataplanes say.
    pub fleet: &'a Fleet,
    /// Where applications publish, if that is known.
    pub publish: Option<&'a str>,
    /// What it said when it was accepted last, if it says something else now.
    pub before: Option<&'a Before>,
    /// Whether nobody is ready behind the Service that is its target.
    pub unreached: bool,
    /// How it is doing, where that was ever worth telling.
    pub observed: Option<&'a Observed>,
}

/// The types of conditions that are ours to write.
const OURS: [ConditionType; 8] = [
    ConditionType::Ready,
    ConditionType::Accepted,
    ConditionType::ResolvedRefs,
    ConditionType::TopicReady,
    ConditionType::Programmed,
    ConditionType::Suspended,
    ConditionType::Degraded,
    ConditionType::Stalled,
];
/// The longest message of a condition, in characters of which each may take four bytes.
const MESSAGE: usize = 1_000;

/// A condition that is still to get its time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Says {
    type_: ConditionType,
    status: Status,
    reason: Reason,
    message: String,
}

impl Told {
    /// A status as an API server has it. What makes no sense of it is as if it were not there, and is written anew.
    pub fn read(status: &Value) -> Self {
        let Some(status) = status.as_object() else { return Self::default() };
        let mut rest = status.clone();
        let observed_generation = rest.remove("observedGeneration").and_then(|value| value.as_i64());
        let conditions = rest.remove("conditions");
        let conditions = conditions.as_ref().and_then(Value::as_array).into_iter().flatten();
        let conditions = conditions.filter_map(|one| serde_json::from_value(one.clone()).ok()).collect();
        Self { observed_generation, conditions, rest }
    }

    /// The status as it is merged over another one: what that one has beside it goes, but for conditions that are not ours.
    pub fn over(&self, known: &Self) -> Value {
        let mut status: Map<String, Value> =
            known.rest.keys().map(|key| (key.clone(), Value::Null)).collect();
        for (key, value) in &self.rest {
            let mut value = value.clone();
            forget(&mut value, known.rest.get(key));
            status.insert(key.clone(), value);
        }
        let is_theirs = |one: &&Condition| OURS.iter().all(|ours| ours.as_str() != one.type_);
        let theirs = known.conditions.iter().filter(is_theirs);
        let conditions: Vec<&Condition> = self.conditions.iter().chain(theirs).collect();
        status.insert("observedGeneration".to_owned(), json!(self.observed_generation));
        status.insert("conditions".to_owned(), json!(conditions));
        Value::Object(status)
    }

    /// A condition of this type.
    pub fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_.as_str())
    }

    /// Whether it said that every dataplane runs it.
    pub fn is_programmed(&self) -> bool {
        self.condition(ConditionType::Programmed).is_some_and(|condition| condition.status == True)
    }

    /// What `Ready` says.
    pub fn ready(&self) -> Option<(Status, &str)> {
        self.condition(ConditionType::Ready).map(|ready| (ready.status, ready.reason.as_str()))
    }

    /// How many partitions were recorded of what this is told of.
    pub fn partitions(&self, kind: Kind) -> Option<u32> {
        let recorded = match kind {
            Kind::Producer => self.rest.get("topic")?.get("partitions"),
            Kind::Processor => self.rest.get("partitions"),
        };
        recorded?.as_u64().and_then(|count| u32::try_from(count).ok())
    }

    /// What this says that was accepted last, while something else is written.
    pub fn stands(&self) -> Option<Before> {
        let stands: Stands = serde_json::from_value(self.rest.get("stands")?.clone()).ok()?;
        Some(Before { generation: stands.generation, spec: Some(stands.spec.into_boxed_str()) })
    }

    /// Whether somebody who reads this learns the same as from the other one, as far as it is ours.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.observed_generation == other.observed_generation
            && self.rest == other.rest
            && OURS.into_iter().all(|type_| self.condition(type_) == other.condition(type_))
    }

    /// What is to be told, where this is told now. Conditions whose status stays keep their time.
    #[must_use]
    pub fn next(&self, facts: &Facts<'_>, now: Timestamp) -> Self {
        let conditions = says(facts).into_iter().map(|says| {
            let known = self.condition(says.type_).filter(|known| known.status == says.status);
            Condition {
                type_: says.type_.to_string(),
                status: says.status,
                observed_generation: Some(facts.generation),
                last_transition_time: known.map_or(Time(now), |known| known.last_transition_time.clone()),
                reason: says.reason.to_string(),
                message: says.message,
            }
        });
        Self {
            observed_generation: Some(facts.generation),
            conditions: conditions.collect(),
            rest: rest(facts, &self.rest, now),
        }
    }
}

/// A merge leaves what it does not name, so that it has to name what is to go.
fn forget(value: &mut Value, known: Option<&Value>) {
    let (Value::Object(value), Some(Value::Object(known))) = (value, known) else { return };
    for (key, known) in known {
        forget(value.entry(key.clone()).or_insert(Value::Null), Some(known));
    }
}

// === conditions ===

fn says(facts: &Facts<'_>) -> Vec<Says> {
    let accepted = accepted(facts);
    let mut all = vec![resolved(facts)];
    if facts.kind == Kind::Producer {
        all.push(topic_ready(facts));
    }
    let programmed = programmed(facts);
    // Before dataplanes run it, nothing has been suspended.
    let suspended = suspended(facts, programmed.status == True);
    all.push(programmed);
    let is_accepted = accepted.status == True;
    all.insert(0, accepted);
    let degraded = degraded(facts);
    let nothing_runs = matches!(facts.runs, Runs::Nothing);
    let ready = match &degraded {
        // Then this is why.
        Some(says) if nothing_runs && all.iter().take(2).all(|says| says.status == True) => {
            Says { type_: ConditionType::Ready, status: False, ..says.clone() }
        }
        _ => ready(&all, suspended.as_ref(), facts.unreached, facts.stands),
    };
    all.extend(degraded);
    all.extend(suspended);
    if !is_accepted {
        let Says { reason, message, .. } = all[0].clone();
        all.push(Says { type_: ConditionType::Stalled, status: True, reason, message });
    }
    all.insert(0, ready);
    all
}

fn suspended(facts: &Facts<'_>, is_programmed: bool) -> Option<Says> {
    let Runs::Processor(processor, _) = facts.runs else { return None };
    let is_exhausted = facts.observed.is_some_and(|observed| observed.doing.exhausted);
    let (reason, message) = if processor.suspend && is_programmed {
        (Reason::Suspended, "nothing is delivered, because spec.suspend says so; its events are kept")
    } else if is_exhausted {
        (Reason::Exhausted, EXHAUSTED)
    } else {
        return None;
    };
    Some(Says { type_: ConditionType::Suspended, status: True, reason, message: message.to_owned() })
}

const EXHAUSTED: &str = "nothing is delivered, because an event's attempts are used up and delivery.onExhausted says so; its \
                         events are kept, and `evhub resume` goes on";

fn accepted(facts: &Facts<'_>) -> Says {
    let type_ = ConditionType::Accepted;
    let findings = facts.verdict.findings.iter().filter(|finding| finding.condition == type_);
    let mut findings: Vec<_> = findings.collect();
    // What denies goes before what is only not obeyed.
    findings.sort_by_key(|finding| !finding.stands_in_the_way());
    let reason = findings.first().map_or(Reason::Accepted, |finding| finding.reason);
    let message = if findings.is_empty() { "the spec can be obeyed".to_owned() } else { listed(&findings) };
    Says { type_, status: if facts.verdict.accepted { True } else { False }, reason, message }
}

fn resolved(facts: &Facts<'_>) -> Says {
    let type_ = ConditionType::ResolvedRefs;
    let findings = facts.verdict.findings.iter().filter(|finding| finding.condition == type_);
    let findings: Vec<_> = findings.collect();
    let (status, reason, message) = match findings.first() {
        Some(first) => (False, first.reason, listed(&findings)),
        None if facts.verdict.accepted => {
            (True, Reason::ResolvedRefs, "everything that it names is there".to_owned())
        }
        None => (Unknown, Reason::Pending, "not looked at while the spec is not accepted".to_owned()),
    };
    Says { type_, status, reason, message }
}

fn degraded(facts: &Facts<'_>) -> Option<Says> {
    let type_ = ConditionType::Degraded;
    let findings: Vec<_> =
        facts.verdict.findings.iter().filter(|finding| finding.condition == type_).collect();
    if let Some(first) = findings.first() {
        return Some(Says { type_, status: True, reason: first.reason, message: listed(&findings) });
    }
    let Runs::Processor(..) = facts.runs else { return None };
    let nobody = facts.unreached.then_some((Reason::NoEndpoints, UNREACHED));
    let observed = facts.observed.into_iter().flat_map(|observed| doing::troubles(&observed.doing));
    let all: Vec<_> = nobody.into_iter().chain(observed).collect();
    let message = all.iter().map(|(_, message)| *message).collect::<Vec<_>>().join("; ");
    Some(Says { type_, status: True, reason: all.first()?.0, message })
}

const UNREACHED: &str = "nobody is ready behind its Service; attempts are made all the same, and fail";

fn listed(findings: &[&evhub_compile::Finding]) -> String {
    let lines = findings.iter().map(|finding| match &finding.field {
        Some(field) => format!("{field}: {}", finding.message),
        None => finding.message.clone(),
    });
    shortened(&lines.collect::<Vec<_>>().join("; "))
}

fn topic_ready(facts: &Facts<'_>) -> Says {
    let type_ = ConditionType::TopicReady;
    let says = |status, reason, message: String| Says { type_, status, reason, message };
    let Runs::Producer(producer, since) = facts.runs else {
        return says(Unknown, Reason::Pending, "the Producer does not run".to_owned());
    };
    match facts.fleet.state(facts.kind, facts.name, since) {
        State::Unready { replica, reason } => {
            says(False, Reason::TopicNotReady, shortened(&format!("{reason} (said by {replica})")))
        }
        State::Ready => says(True, Reason::TopicReady, format!("topic {} is there", producer.topic)),
        State::Behind { .. } | State::Gathering | State::Refused { .. } => {
            says(Unknown, Reason::Programming, "not every dataplane has looked at it yet".to_owned())
        }
        State::Nobody => says(Unknown, Reason::NoDataplane, NOBODY.to_owned()),
    }
}

const NOBODY: &str = "no dataplane is connected to the operator";

fn programmed(facts: &Facts<'_>) -> Says {
    let type_ = ConditionType::Programmed;
    let says = |status, reason, message: String| Says { type_, status, reason, message };
    let since = match facts.runs {
        Runs::Nothing => {
            return says(False, Reason::Pending, "nothing of it runs; see the other conditions".to_owned());
        }
        Runs::Producer(_, since) | Runs::Processor(_, since) => since,
    };
    match facts.fleet.state(facts.kind, facts.name, since) {
        // A Producer without its topic is programmed all the same.
        State::Unready { .. } if facts.kind == Kind::Producer => {
            says(True, Reason::Programmed, "every dataplane runs it".to_owned())
        }
        State::Unready { replica, reason } => {
            says(False, Reason::NotListening, shortened(&format!("{reason} (said by {replica})")))
        }
        State::Ready if facts.stands => {
            says(True, Reason::Programmed, "every dataplane runs it as it was accepted last".to_owned())
        }
        State::Ready => says(True, Reason::Programmed, "every dataplane runs it".to_owned()),
        State::Behind { count } => {
            says(Unknown, Reason::Programming, format!("{count} dataplanes do not run it yet"))
        }
        State::Gathering => {
            let message = "who leads has changed, and dataplanes may still come back to the new one";
            says(Unknown, Reason::Programming, message.to_owned())
        }
        State::Refused { replica, reason } => {
            let message = format!("{replica} refuses what is new: {reason}");
            says(False, Reason::DataplaneRefused, shortened(&message))
        }
        State::Nobody => says(False, Reason::NoDataplane, NOBODY.to_owned()),
    }
}

/// The first of the others that is not well, or that all are.
fn ready(others: &[Says], suspended: Option<&Says>, unreached: bool, stands: bool) -> Says {
    let type_ = ConditionType::Ready;
    let says = |status, reason, message: &str| Says { type_, status, reason, message: message.to_owned() };
    if let Some(Says { status, reason, message, .. }) = others.iter().find(|says| says.status != True) {
        let stands = if stands { "; it runs on as it was accepted last" } else { "" };
        return says(*status, *reason, &format!("{message}{stands}"));
    }
    match suspended.map(|says| says.reason) {
        Some(Reason::Suspended) => {
            says(True, Reason::Suspended, "it is set up, and keeps its events; nothing is delivered")
        }
        Some(reason) => says(False, reason, EXHAUSTED),
        None if unreached => says(False, Reason::NoEndpoints, UNREACHED),
        None => says(True, Reason::Ready, "it works"),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

// === the rest ===

fn rest(facts: &Facts<'_>, before: &Map<String, Value>, now: Timestamp) -> Map<String, Value> {
    let mut rest = Map::new();
    match facts.runs {
        Runs::Producer(producer, _) => {
            if let Some(publish) = facts.publish {
                let Name { namespace, name } = facts.name;
                let url = format!("{publish}/namespaces/{namespace}/producers/{name}");
                rest.insert("address".to_owned(), json!({ "url": url }));
            }
            let topic = json!({ "name": producer.topic, "partitions": producer.partitions });
            rest.insert("topic".to_owned(), topic);
            let upcoming = schedules::next(producer, before.get("schedules"), now);
            rest.extend(upcoming.map(|upcoming| ("schedules".to_owned(), upcoming)));
        }
        Runs::Processor(processor, _) => {
            let sources = processor.routes.iter().map(|route| {
                let Name { namespace, name } = &route.producer;
                let is_own = *namespace == facts.name.namespace;
                if is_own { name.clone() } else { route.producer.to_string() }
            });
            let sources = sources.collect::<Vec<_>>().join(", ");
            rest.insert("sources".to_owned(), json!(shortened(&sources)));
            rest.insert("target".to_owned(), json!(shortened(&processor.target.url.to_string())));
            rest.insert("partitions".to_owned(), json!(processor.partitions));
            if let Some(observed) = facts.observed {
                rest.insert("observed".to_owned(), observed.value());
            }
        }
        // How many partitions there were is to be known when it runs again.
        Runs::Nothing => {
            for recorded in ["topic", "partitions", "observed"] {
                if let Some(value) = before.get(recorded) {
                    rest.insert(recorded.to_owned(), value.clone());
                }
            }
        }
    }
    // So that whoever leads next knows what is to run.
    if let Some(Before { generation, spec: Some(spec) }) = facts.before.filter(|_| facts.stands) {
        rest.insert("stands".to_owned(), json!({ "generation": generation, "spec": spec }));
    }
    rest
}

#[cfg(test)]
mod tests;
