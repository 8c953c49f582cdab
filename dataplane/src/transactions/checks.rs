//! Asks publishers that have not decided on their half messages. I/O.
//!
//! Whoever leads a shard asks about what is in it. A question that is under way is nothing that is kept: whoever leads next asks
//! again. What came of it is a command, and counts if nobody has decided by then.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use evhub_dispatch::sender::{Senders, check::Asker};
use evhub_event::{Controls, kafka};
use evhub_journal::Journal;
use evhub_ledger::{
    TimerId,
    half::{Decide, Doubtful, Line, Wanted},
};
use evhub_lifecycle::Drain;
use evhub_routing::{CheckProtocol, Generation, Producer, Snapshot, Target};
use tokio::{task::JoinSet, time::sleep};
use tracing::{info, warn};

use super::{
    callback::{self, Question, understand, understand_message},
    verdict::{Terms, tell},
};
use crate::{
    Hub,
    follow::{Source, Status},
    hub::{Of, Unserved},
    timers::ask::in_time,
};

/// How many questions are under way at once: in all, and of one line.
const MOST: (usize, usize) = (256, 32);
/// How many bytes the events have that are asked about at once.
const MOST_BYTES: usize = 16 << 20;
/// How soon is looked again while something is due that cannot be asked now.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a line waits of which nobody here knows for now whom to ask.
const UNKNOWN: Duration = Duration::from_secs(10);
/// The longest sleep.
const LONGEST: Duration = Duration::from_mins(1);
/// How many publishers' connections are kept.
const MOST_ASKERS: usize = 256;

/// What is under way, and what waits.
struct Round<J: Journal> {
    hub: Hub<J>,
    senders: Senders,
    askers: HashMap<(String, u32, Duration), Asker>,
    /// The half messages that are asked about now.
    flying: HashMap<TimerId, Flight>,
    /// How many of each line are.
    busy: HashMap<Line, usize>,
    /// How many bytes their events have.
    bytes: usize,
    /// The lines of which nobody can be asked before then.
    blocked: HashMap<Line, Instant>,
    /// How often the ledger could not be told, since it was last.
    untold: u32,
    tasks: JoinSet<Ended>,
}

/// A question that is under way.
struct Flight {
    line: Line,
    bytes: usize,
}

/// A question that ended, and whether the ledger knows what came of it.
struct Ended {
    id: TimerId,
    told: bool,
}

/// Asks until the drain begins.
pub async fn run<J: Journal>(hub: Hub<J>, drain: Drain) {
    let mut checks = hub.ledger.checks();
    let mut round = Round::new(hub);
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
        // All that have ended are looked at once, and not each of them.
        while let Some(ended) = round.tasks.try_join_next() {
            round.ended(ended);
        }
    }
}

impl<J: Journal> Round<J> {
    fn new(hub: Hub<J>) -> Self {
        Self {
            hub,
            senders: Senders::default(),
            askers: HashMap::new(),
            flying: HashMap::new(),
            busy: HashMap::new(),
            bytes: 0,
            blocked: HashMap::new(),
            untold: 0,
            tasks: JoinSet::new(),
        }
    }

    /// Begins as many questions as may be.
    async fn ask(&mut self) {
        let now = Instant::now();
        self.blocked.retain(|_, until| *until > now);
        if !self.has_room() {
            return;
        }
        let full = self.busy.iter().filter(|(_, count)| **count >= MOST.1).map(|(line, _)| line);
        let wanted = Wanted {
            by: self.hub.ledger.clock().now(),
            each: MOST.1,
            all: MOST.0 - self.flying.len(),
            bytes: MOST_BYTES - self.bytes,
            except: full.chain(self.blocked.keys()).cloned().collect(),
            flying: self.flying.keys().copied().collect(),
        };
        for doubt in self.hub.ledger.doubtful(wanted).await {
            let line = doubt.line();
            let full = !self.has_room() || self.busy.get(&line).is_some_and(|count| *count >= MOST.1);
            if !full && !self.flying.contains_key(&doubt.id) && !self.blocked.contains_key(&line) {
                self.begin(line, doubt);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.flying.len() < MOST.0 && self.bytes < MOST_BYTES
    }

    fn begin(&mut self, line: Line, doubt: Doubtful) {
        let running = self.hub.running();
        let found = running.producers.values().find(|one| *one.uid == *doubt.producer);
        let check_back = found.and_then(|producer| producer.ledger.check_back.as_ref());
        let terms = Terms::of(&doubt, check_back);
        let whom = doubt.callback.as_deref().map_or_else(|| check_back.map(callback::of), callback::own);
        let (Some(producer), Some((protocol, target))) = (found.cloned(), whom) else {
            return self.orphaned(line, doubt, terms.orphaned());
        };
        let barred = if !self.hub.egress.allows(&target) {
            Some(format!("{} is not allowed by --egress-allow", target.url))
        } else if line.own && self.hub.tools.are_at(&target.url) {
            Some(format!("{} is this hub's own, for tools", target.url))
        } else {
            None
        };
        let asker = self.asker(&target, protocol);
        // What is the Producer's is worth waiting for; a publisher of its own is its own.
        let mut permit = None;
        if barred.is_none() && !line.own {
            match asker.endpoint().admit(Instant::now()) {
                Ok(admitted) => permit = Some(admitted),
                Err(until) => {
                    self.blocked.insert(line, until);
                    return;
                }
            }
        }
        let hub = self.hub.clone();
        self.fly(line, &doubt);
        self.tasks.spawn(async move {
            let asked = match barred {
                None => ask(&asker, protocol, &target, &doubt, &producer).await,
                Some(why) => Err(Failed { why, trouble: false }),
            };
            if let Some(permit) = permit {
                permit.ended(Instant::now(), asked.as_ref().is_err_and(|failed| failed.trouble));
            }
            let decide = asked.unwrap_or_else(|Failed { why, .. }| {
                let (half, checks) = (doubt.id, doubt.checks + 1);
                info!(producer = %producer.name, %half, checks, why, "nobody decided on a half message");
                None
            });
            end(&hub, &doubt, decide, terms).await
        });
    }

    /// Nobody knows whom to ask: its Producer is gone, or says no more who is. That counts as a question that nobody answers, for
    /// it is to end as well; but not where a Producer may be there of which nothing is known here for now.
    fn orphaned(&mut self, line: Line, doubt: Doubtful, terms: Terms) {
        let following = self.hub.following.as_ref().map(|following| following.borrow().clone());
        let unserved = self.hub.unserved.borrow().clone();
        if !knows_all(&self.hub.running(), following.as_ref(), &unserved) {
            self.blocked.insert(line, Instant::now() + UNKNOWN);
            return;
        }
        let (half, checks) = (doubt.id, doubt.checks + 1);
        info!(producer = doubt.producer, %half, checks, "nobody knows whom to ask about a half message");
        let hub = self.hub.clone();
        self.fly(line, &doubt);
        self.tasks.spawn(async move { end(&hub, &doubt, None, terms).await });
    }

    fn fly(&mut self, line: Line, doubt: &Doubtful) {
        let bytes = doubt.record.size();
        self.bytes += bytes;
        *self.busy.entry(line.clone()).or_default() += 1;
        self.flying.insert(doubt.id, Flight { line, bytes });
    }

    fn asker(&mut self, target: &Target, protocol: CheckProtocol) -> Asker {
        let key = (target.url.to_string(), callback::way(protocol), target.timeout);
        if self.askers.len() >= MOST_ASKERS && !self.askers.contains_key(&key) {
            self.askers.clear();
        }
        self.askers.entry(key).or_insert_with(|| self.senders.asker(target)).clone()
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ended { id, told } = match ended {
            Ok(ended) => ended,
            Err(error) => {
                warn!(%error, "a question about a half message failed");
                // Which it was is not known: all are asked again that are not done.
                self.tasks = JoinSet::new();
                self.flying.clear();
                self.busy.clear();
                self.bytes = 0;
                return;
            }
        };
        let Some(Flight { line, bytes }) = self.flying.remove(&id) else { return };
        self.bytes -= bytes;
        if let Some(count) = self.busy.get_mut(&line) {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(&line);
            }
        }
        if told {
            self.untold = 0;
        } else if !self.blocked.contains_key(&line) {
            // It would be asked again at once, and the ledger as little there.
            self.blocked.insert(line, Instant::now() + rest(self.untold));
            self.untold = self.untold.saturating_add(1);
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

/// How long a line rests when the ledger could not be told, after so many times before.
fn rest(untold: u32) -> Duration {
    AGAIN.saturating_mul(1 << untold.min(6)).min(LONGEST)
}

/// Whether every Producer is known here that is written: something was received, it is what whoever says what to run says now, and
/// no Producer is left out of it.
fn knows_all(running: &Snapshot, following: Option<&Status>, unserved: &[Unserved]) -> bool {
    let is_new =
        |status: &Status| status.connected && status.source == Source::Control && status.refused.is_none();
    running.generation != Generation::default()
        && following.is_none_or(is_new)
        && unserved.iter().all(|one| one.of != Of::Producer)
}

/// Tells the ledger what came of a question.
async fn end<J: Journal>(hub: &Hub<J>, doubt: &Doubtful, decide: Option<Decide>, terms: Terms) -> Ended {
    let told = tell(|command| in_time(hub.ledger.decide(command)), doubt, decide, terms).await;
    Ended { id: doubt.id, told }
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

#[cfg(test)]
mod tests {
    use evhub_routing::Name;

    use super::*;
    use crate::follow::Refusal;

    #[test]
    fn the_ledger_is_left_alone_longer_each_time_up_to_a_bound() {
        let rests = [0, 1, 2, 5, 6, 99].map(|untold| rest(untold).as_secs());
        assert_eq!(rests, [1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn a_producer_is_gone_only_where_all_are_known() {
        let generation = Generation { epoch: 1, revision: 1 };
        let running = Snapshot { generation, ..Snapshot::default() };
        let follows = Status { connected: true, source: Source::Control, ..Status::default() };
        let refused = Some(Refusal { generation, reason: "why".to_owned() });
        let left_out = |of| {
            let (name, reason) = (Name::new("shop", "orders"), "Invalid".to_owned());
            vec![Unserved { of, name, accepted: false, reason }]
        };
        for (what, running, following, unserved, knows) in [
            ("nobody to follow", &running, None, vec![], true),
            ("following", &running, Some(follows.clone()), vec![], true),
            ("nothing yet", &Snapshot::default(), None, vec![], false),
            ("not connected", &running, Some(Status { connected: false, ..follows.clone() }), vec![], false),
            ("a copy", &running, Some(Status { source: Source::Disk, ..follows.clone() }), vec![], false),
            ("a newer one", &running, Some(Status { refused, ..follows }), vec![], false),
            ("a Producer that does not run", &running, None, left_out(Of::Producer), false),
            ("a Processor that does not run", &running, None, left_out(Of::Processor), true),
        ] {
            assert_eq!(knows_all(running, following.as_ref(), &unserved), knows, "{what}");
        }
    }
}
