//! Which generation runs on which live replica, from what dataplanes say. Pure.

use std::{collections::BTreeMap, sync::Arc};

use evhub_proto::control::{self, Hello, Kind, Observed, Report, Trouble, report::What};
use evhub_routing::{
    Generation, Name,
    wire::{self, Digest},
};

/// What all replicas together come to. A replica that is not connected is not in it: what it runs nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    replicas: BTreeMap<String, Replica>,
}

/// One replica, as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its connection: of two that claim one name, the newer one counts.
    session: u64,
    /// The version of its program.
    pub version: String,
    /// What it runs. It is live once it has said that since it connected; until then this is what it began with.
    pub running: Option<Running>,
    /// Whether it has said so.
    pub is_live: bool,
    /// What of that is not ready.
    pub unready: Vec<Unready>,
    /// How many more are not, and were too many to tell.
    pub untold: u32,
    /// What it refused last, and why.
    pub refused: Option<(Generation, String)>,
    /// The Processors that are not at rest there; nothing while it has not said so.
    pub doing: Option<Arc<BTreeMap<Name, Doing>>>,
}

/// How a Processor is doing, in orders of magnitude.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doing {
    /// How many events lie before it, wherever they are delivered.
    pub backlog: u64,
    /// When the log took the oldest of them, in milliseconds since the Unix epoch.
    pub oldest: Option<i64>,
    /// How many wait for another attempt.
    pub parked: u64,
    /// About how many dead letters it has.
    pub dead_lettered: u64,
    /// It keeps its events, because one was exhausted.
    pub exhausted: bool,
    /// What is not as it should be.
    pub troubles: Vec<Trouble>,
}

/// What runs somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its generation.
    pub generation: Generation,
    /// What it says.
    pub digest: Digest,
}

/// A resource that is not ready on a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
    /// `Producer` or `Processor`.
    pub kind: &'static str,
    /// Its name.
    pub name: Name,
    /// Why not.
    pub reason: String,
}

impl Rollout {
    /// All replicas that are connected, by name.
    pub fn replicas(&self) -> impl Iterator<Item = (&str, &Replica)> {
        self.replicas.iter().map(|(name, replica)| (name.as_str(), replica))
    }

    /// Whether there are live replicas, and each runs this generation, or a later one, and all of it is ready.
    pub fn is_at(&self, generation: Generation) -> bool {
        let mut live = self.replicas.values().filter(|replica| replica.is_live).peekable();
        live.peek().is_some()
            && live.all(|replica| {
                replica.running.is_some_and(|running| running.generation >= generation)
                    && replica.unready.is_empty()
                    && replica.untold == 0
            })
    }

    /// A replica has connected.
    pub(crate) fn joined(&mut self, session: u64, hello: Hello) {
        let replica = Replica {
            session,
            version: hello.version,
            running: hello.running.as_ref().and_then(running),
            is_live: false,
            unready: Vec::new(),
            untold: 0,
            refused: None,
            doing: None,
        };
        self.replicas.insert(hello.replica, replica);
    }

    /// It has said something.
    pub(crate) fn said(&mut self, session: u64, name: &str, report: Report) {
        let Some(replica) = self.replicas.get_mut(name).filter(|replica| replica.session == session) else {
            return;
        };
        match report.what {
            Some(What::Applied(applied)) => {
                let runs = applied.running.as_ref().and_then(running);
                // What is said again of what ran already says nothing of what was refused.
                if runs != replica.running {
                    replica.refused = None;
                }
                replica.running = runs;
                replica.is_live = runs.is_some();
                replica.untold = applied.untold;
                replica.unready = applied.unready.into_iter().filter_map(unready).collect();
            }
            Some(What::Refused(refused)) => {
                replica.refused = Some((wire::generation_of(refused.generation), refused.reason));
            }
            Some(What::Observed(observed)) => replica.observed(observed),
            Some(What::Hello(_)) | None => {}
        }
    }

    /// It has gone, unless it came back meanwhile.
    pub(crate) fn left(&mut self, session: u64, name: &str) {
        if self.replicas.get(name).is_some_and(|replica| replica.session == session) {
            self.replicas.remove(name);
        }
    }
}

impl Replica {
    fn observed(&mut self, observed: Observed) {
        if observed.whole {
            self.doing = Some(Arc::default());
        }
        let doing = Arc::make_mut(self.doing.get_or_insert_default());
        for (name, one) in observed.processors.into_iter().filter_map(|progress| doing_of(&progress)) {
            if one == Doing::default() {
                doing.remove(&name);
            } else {
                doing.insert(name, one);
            }
        }
    }
}

fn doing_of(message: &control::Progress) -> Option<(Name, Doing)> {
    let control::Name { namespace, name } = message.name.clone()?;
    // What a newer dataplane knows beside these is not told.
    let troubles = message.troubles().filter(|trouble| *trouble != Trouble::Unspecified).collect();
    let &control::Progress { backlog, oldest, parked, dead_lettered, exhausted, .. } = message;
    Some((Name { namespace, name }, Doing { backlog, oldest, parked, dead_lettered, exhausted, troubles }))
}

fn running(message: &control::Running) -> Option<Running> {
    let digest = Digest::from_bytes(&message.digest)?;
    Some(Running { generation: wire::generation_of(message.generation), digest })
}

fn unready(message: control::Unready) -> Option<Unready> {
    let kind = match message.kind() {
        Kind::Producer => "Producer",
        Kind::Processor => "Processor",
        Kind::Unspecified => return None,
    };
    let control::Name { namespace, name } = message.name?;
    Some(Unready { kind, name: Name { namespace, name }, reason: message.reason })
}

#[cfg(test)]
mod tests {
    use evhub_proto::control::{Applied, Refused};

    use super::*;

    fn generation(revision: u64) -> Generation {
        Generation { epoch: 1, revision }
    }

    fn runs(revision: u64) -> control::Running {
        control::Running {
            generation: Some(wire::generation(generation(revision))),
            digest: vec![1; 16].into(),
        }
    }

    fn hello(running: Option<control::Running>) -> Hello {
        Hello { replica: "a".into(), version: "1".into(), running }
    }

    fn applied(revision: u64, unready: Vec<control::Unready>) -> Report {
        Report { what: Some(What::Applied(Applied { running: Some(runs(revision)), unready, untold: 0 })) }
    }

    fn refused(revision: u64) -> Report {
        let generation = Some(wire::generation(generation(revision)));
        Report { what: Some(What::Refused(Refused { generation, reason: "planted".into() })) }
    }

    #[test]
    fn a_replica_is_live_after_its_first_answer() {
        let mut rollout = Rollout::default();
        assert!(!rollout.is_at(generation(1)), "nobody is there");
        rollout.joined(1, hello(Some(runs(1))));
        assert!(!rollout.is_at(generation(1)), "it has not said so yet");
        rollout.said(1, "a", applied(1, Vec::new()));
        assert!(rollout.is_at(generation(1)) && !rollout.is_at(generation(2)));
        let name = Some(control::Name { namespace: "shop".into(), name: "billing".into() });
        let billing = control::Unready { kind: Kind::Processor.into(), name, reason: "NotListening".into() };
        rollout.said(1, "a", applied(2, vec![billing]));
        assert!(!rollout.is_at(generation(2)), "one of its Processors does not listen");
        rollout.said(1, "a", applied(2, Vec::new()));
        assert!(rollout.is_at(generation(2)));
        rollout.left(1, "a");
        assert_eq!(rollout, Rollout::default());
    }

    #[test]
    fn what_an_older_connection_says_counts_no_more() {
        let mut rollout = Rollout::default();
        rollout.joined(1, hello(None));
        rollout.joined(2, hello(None));
        rollout.said(1, "a", applied(7, Vec::new()));
        rollout.left(1, "a");
        assert!(!rollout.is_at(generation(1)) && rollout.replicas().count() == 1);
        rollout.said(2, "a", applied(1, Vec::new()));
        assert!(rollout.is_at(generation(1)));
    }

    #[test]
    fn how_processors_do_is_known_once_that_was_said_and_until_something_else_is() {
        let mut rollout = Rollout::default();
        rollout.joined(1, hello(None));
        let known = |rollout: &Rollout| {
            let doing = rollout.replicas().find_map(|(_, replica)| replica.doing.clone())?;
            Some(doing.iter().map(|(name, one)| (name.name.clone(), one.parked)).collect::<Vec<_>>())
        };
        rollout.said(1, "a", applied(1, Vec::new()));
        assert_eq!(known(&rollout), None);
        let mut say = |whole, parked: &[(&str, u64)]| {
            let one = |(name, parked): &(&str, u64)| control::Progress {
                name: Some(control::Name { namespace: "shop".into(), name: (*name).into() }),
                parked: *parked,
                ..control::Progress::default()
            };
            let observed = Observed { whole, processors: parked.iter().map(one).collect() };
            rollout.said(1, "a", Report { what: Some(What::Observed(observed)) });
            known(&rollout).unwrap()
        };
        assert_eq!(say(true, &[("a", 1), ("b", 2)]), [("a".into(), 1), ("b".into(), 2)]);
        assert_eq!(say(false, &[("a", 0), ("c", 3)]), [("b".into(), 2), ("c".into(), 3)]);
        assert_eq!(say(true, &[]), []);
    }

    #[test]
    fn a_refusal_is_told_until_something_else_runs() {
        let mut rollout = Rollout::default();
        rollout.joined(1, hello(None));
        rollout.said(1, "a", applied(5, Vec::new()));
        let told = |rollout: &Rollout| rollout.replicas().find_map(|(_, replica)| replica.refused.clone());
        for revision in [6, 4] {
            rollout.said(1, "a", refused(revision));
            rollout.said(1, "a", applied(5, Vec::new()));
            assert_eq!(told(&rollout), Some((generation(revision), "planted".to_owned())));
        }
        rollout.said(1, "a", applied(7, Vec::new()));
        assert_eq!(told(&rollout), None);
    }
}
