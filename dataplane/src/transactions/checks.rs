//! Asks publishers that have not decided on their half messages, and tells the ledger what they said. I/O.
//!
//! Whoever leads a shard asks about what is in it. A question that is under way is nothing that is kept: whoever leads next asks
//! again. What came of it is a command, and counts if nobody has decided by then.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use evhub_dispatch::sender::{Senders, check::Asker};
use evhub_event::{Controls, kafka};
use evhub_journal::Journal;
use evhub_ledger::{
    Command, TimerId,
    command::Verb,
    half::{Checked, Decide, Doubtful, Exhausted},
};
use evhub_lifecycle::Drain;
use evhub_routing::{CheckBack, CheckProtocol, Producer, Target, Undecided};
use tokio::{task::JoinSet, time::sleep};
use tracing::{debug, info, warn};

use super::callback::{self, Question, understand, understand_message};
use crate::{Hub, timers::ask::in_time};

/// How many questions are under way at once: in all, and of one Producer.
const MOST: (usize, usize) = (256, 32);
/// How soon is looked again while something is due that cannot be asked now.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a Producer's half messages wait of which nobody here knows whom to ask.
const UNKNOWN: Duration = Duration::from_secs(10);
/// The longest sleep.
const LONGEST: Duration = Duration::from_mins(1);
/// How many publishers' connections are kept.
const MOST_ASKERS: usize = 256;
/// What holds of a half message that says itself whom to ask, where its Producer says nothing.
const DEFAULTS: (u32, Exhausted) = (15, Exhausted::Rollback);

/// What is under way, and what waits.
struct Round<J: Journal> {
    hub: Hub<J>,
    senders: Senders,
    askers: HashMap<(String, u32, Duration), Asker>,
    /// The half messages that are asked about now.
    flying: HashSet<TimerId>,
    /// How many of each Producer are.
    busy: BTreeMap<String, usize>,
    /// The Producers of which nobody can be asked before then.
    blocked: BTreeMap<String, Instant>,
    tasks: JoinSet<Ended>,
}

/// A question that ended: of which Producer, and when it may be asked again if its answer did not get to the ledger.
struct Ended {
    id: TimerId,
    producer: String,
    again: Option<Instant>,
}

/// Asks until the drain begins.
pub async fn run<J: Journal>(hub: Hub<J>, drain: Drain) {
    let mut checks = hub.ledger.checks();
    let mut round = Round {
        hub,
        senders: Senders::default(),
        askers: HashMap::new(),
        flying: HashSet::new(),
        busy: BTreeMap::new(),
        blocked: BTreeMap::new(),
        tasks: JoinSet::new(),
    };
    loop {
        checks.mark_unchanged();
        round.ask().await;
        let next = checks.borrow().values().min().copied();
        let wait = round.wait(next);
        tokio::select! {
            () = drain.begun() => return,
            Some(ended) = round.tasks.join_next() => round.ended(ended),
            changed = checks.changed() => if changed.is_err() { return },
            () = sleep(wait) => {}
        }
    }
}

impl<J: Journal> Round<J> {
    /// Begins as many questions as may be.
    async fn ask(&mut self) {
        let now = Instant::now();
        self.blocked.retain(|_, until| *until > now);
        if self.flying.len() >= MOST.0 {
            return;
        }
        let full = self.busy.iter().filter(|(_, count)| **count >= MOST.1).map(|(producer, _)| producer);
        let except: Vec<String> = full.chain(self.blocked.keys()).cloned().collect();
        let by = self.hub.ledger.clock().now();
        // Those that are asked about now are among them.
        for doubt in self.hub.ledger.doubtful(by, 2 * MOST.1, except).await {
            let busy = self.busy.get(&doubt.producer).copied().unwrap_or(0);
            let full = self.flying.len() >= MOST.0 || busy >= MOST.1;
            if !full && !self.flying.contains(&doubt.id) && !self.blocked.contains_key(&doubt.producer) {
                self.begin(doubt);
            }
        }
    }

    fn begin(&mut self, doubt: Doubtful) {
        let running = self.hub.running();
        let found = running.producers.values().find(|one| *one.uid == *doubt.producer);
        let check_back = found.and_then(|producer| producer.ledger.check_back.clone());
        let whom =
            doubt.callback.as_deref().map_or_else(|| check_back.as_ref().map(callback::of), callback::own);
        let (Some(producer), Some((protocol, target))) = (found.cloned(), whom) else {
            debug!(half = %doubt.id, "it is not known whom to ask about a half message");
            self.blocked.insert(doubt.producer, Instant::now() + UNKNOWN);
            return;
        };
        let allowed = self.hub.egress.allows(&target);
        let asker = self.asker(&target, protocol);
        // What is the Producer's is worth waiting for; a publisher of its own is its own.
        let mut permit = None;
        if allowed && doubt.callback.is_none() {
            match asker.endpoint().admit(Instant::now()) {
                Ok(admitted) => permit = Some(admitted),
                Err(until) => {
                    self.blocked.insert(doubt.producer, until);
                    return;
                }
            }
        }
        self.flying.insert(doubt.id);
        *self.busy.entry(doubt.producer.clone()).or_default() += 1;
        let hub = self.hub.clone();
        self.tasks.spawn(async move {
            let asked = if allowed {
                ask(&asker, protocol, &target, &doubt, &producer).await
            } else {
                Err(Failed {
                    why: format!("{} is not allowed by --egress-allow", target.url),
                    trouble: false,
                })
            };
            if let Some(permit) = permit {
                permit.ended(Instant::now(), asked.as_ref().is_err_and(|failed| failed.trouble));
            }
            let decide = asked.unwrap_or_else(|Failed { why, .. }| {
                let (half, checks) = (doubt.id, doubt.checks + 1);
                info!(producer = %producer.name, %half, checks, why, "nobody decided on a half message");
                None
            });
            tell(&hub, doubt, decide, check_back.as_ref()).await
        });
    }

    fn asker(&mut self, target: &Target, protocol: CheckProtocol) -> Asker {
        let key = (target.url.to_string(), callback::way(protocol), target.timeout);
        if self.askers.len() >= MOST_ASKERS && !self.askers.contains_key(&key) {
            self.askers.clear();
        }
        self.askers.entry(key).or_insert_with(|| self.senders.asker(target)).clone()
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ended { id, producer, again } = match ended {
            Ok(ended) => ended,
            Err(error) => {
                warn!(%error, "a question about a half message failed");
                // Which it was is not known: all are asked again that are not done.
                self.tasks = JoinSet::new();
                self.flying.clear();
                self.busy.clear();
                return;
            }
        };
        if !self.flying.remove(&id) {
            return;
        }
        if let Some(count) = self.busy.get_mut(&producer) {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(&producer);
            }
        }
        if let Some(again) = again {
            self.blocked.insert(producer, again);
        }
    }

    /// How long there is nothing to do.
    fn wait(&self, next: Option<i64>) -> Duration {
        let Some(next) = next else { return LONGEST };
        let left = next.saturating_sub(self.hub.ledger.clock().now());
        match u64::try_from(left) {
            Ok(left) if left > 0 => Duration::from_millis(left).min(LONGEST),
            // What is due is under way, or cannot be asked now.
            _ => AGAIN,
        }
    }
}

/// A question that nobody answered.
struct Failed {
    why: String,
    /// Whether that says something about whoever is asked.
    trouble: bool,
}

async fn ask(
    asker: &Asker,
    protocol: CheckProtocol,
    target: &Target,
    doubt: &Doubtful,
    producer: &Producer,
) -> Result<Option<Decide>, Failed> {
    let failed = |trouble| move |why| Failed { why, trouble };
    let event = kafka::decode(&doubt.record).map_err(|error| failed(false)(error.to_string()))?;
    let controls = Controls::of(&doubt.record);
    let (id, checks) = (doubt.id.to_string(), doubt.checks);
    let question = Question { id, checks, event: &event, controls: &controls, producer: &producer.evhub };
    if protocol == CheckProtocol::EvHubGrpc {
        let answer = asker.call(target, question.callback()).await.map_err(failed(true))?;
        return understand_message(answer).map_err(failed(false));
    }
    let (headers, body) = question.request(protocol);
    let (status, body) = asker.post(target, headers, body).await.map_err(failed(true))?;
    understand(protocol, status, &body).map_err(failed(status >= 500))
}

/// Tells the ledger what came of a question.
async fn tell<J: Journal>(
    hub: &Hub<J>,
    doubt: Doubtful,
    decide: Option<Decide>,
    check_back: Option<&CheckBack>,
) -> Ended {
    let own = doubt.callback.as_ref().map(|callback| callback.interval);
    let interval = own.or(check_back.map(|check_back| check_back.interval)).unwrap_or_default();
    let (max_checks, on_exhausted) = check_back.map_or(DEFAULTS, |check_back| {
        let on_exhausted = match check_back.on_exhausted {
            Undecided::Rollback => Exhausted::Rollback,
            Undecided::Commit => Exhausted::Commit,
            Undecided::Hold => Exhausted::Hold,
        };
        (check_back.max_checks, on_exhausted)
    });
    let checked = Checked { checks: doubt.checks, decide, interval, max_checks, on_exhausted };
    let command = Command { id: doubt.id, verb: Verb::Checked(Box::new(checked)) };
    let told = in_time(hub.ledger.decide(command)).await;
    let again = match told {
        Ok(evhub_ledger::Answer::Half(_)) => None,
        // It would be asked again at once, and say the same.
        Ok(answer) => {
            debug!(half = %doubt.id, ?answer, "an answer about a half message came to nothing");
            Some(Instant::now() + AGAIN)
        }
        Err(problem) => {
            debug!(half = %doubt.id, detail = problem.detail, "the ledger was not told of an answer");
            Some(Instant::now() + AGAIN)
        }
    };
    Ended { id: doubt.id, producer: doubt.producer, again }
}
