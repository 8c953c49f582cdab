//! What came of a question about a half message, as the ledger is told of it. I/O.

use std::{future::Future, time::Duration};

use evhub_ledger::{
    Answer, Command,
    command::Verb,
    half::{Checked, Decide, Doubtful, Exhausted},
};
use evhub_routing::{CheckBack, Undecided};
use tracing::{debug, info};

use crate::problem::{Problem, reason};

/// What holds of a half message of which its Producer says nothing: how often is asked, and what becomes of it then.
const DEFAULTS: (u32, Exhausted) = (15, Exhausted::Rollback);
/// The interval of questions that can be put to nobody.
const ORPHANED: Duration = Duration::from_mins(1);

/// The terms on which is asked, as they are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    interval: Duration,
    max_checks: u32,
    on_exhausted: Exhausted,
}

/// What follows from what the ledger said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It knows.
    Told,
    /// It will never take this decision: so there is none.
    Undecided,
    /// It is told another time.
    Later,
}

impl Terms {
    /// Those of one whose publisher is asked.
    pub(super) fn of(doubt: &Doubtful, check_back: Option<&CheckBack>) -> Self {
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
        Self { interval, max_checks, on_exhausted }
    }

    /// The same where nobody knows whom to ask.
    pub(super) fn orphaned(self) -> Self {
        Self { interval: ORPHANED, ..self }
    }
}

/// Tells the ledger what came of a question, as `ask` asks it; says whether it knows now. An answer that it will never take is
/// none: it would be given again, and refused again, for ever.
pub(super) async fn tell<F, Told>(ask: F, doubt: &Doubtful, decide: Option<Decide>, terms: Terms) -> bool
where
    F: Fn(Command) -> Told,
    Told: Future<Output = Result<Answer, Problem>>,
{
    let Terms { interval, max_checks, on_exhausted } = terms;
    let command = |decide| {
        let checked = Checked { checks: doubt.checks, decide, interval, max_checks, on_exhausted };
        Command { id: doubt.id, verb: Verb::Checked(Box::new(checked)) }
    };
    let decided = decide.is_some();
    let mut told = ask(command(decide)).await;
    if next(&told, decided) == Next::Undecided {
        info!(half = %doubt.id, checks = doubt.checks + 1, ?told, "an answer about a half message cannot be obeyed");
        told = ask(command(None)).await;
    }
    let knows = next(&told, false) == Next::Told;
    if !knows {
        debug!(half = %doubt.id, ?told, "the ledger was not told of an answer");
    }
    knows
}

fn next(told: &Result<Answer, Problem>, decided: bool) -> Next {
    match told {
        Ok(Answer::Half(_)) => Next::Told,
        // There is nothing to decide on, or it cannot be read now.
        Ok(Answer::Unknown) => Next::Later,
        Ok(_) if decided => Next::Undecided,
        Err(problem) if decided && problem.reason == reason::EVENT_TOO_LARGE => Next::Undecided,
        Ok(_) | Err(_) => Next::Later,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use evhub_event::Record;
    use evhub_ledger::{
        TimerId,
        half::{Callback, Commit, Standing, State},
    };
    use evhub_routing::CheckProtocol;

    use super::*;

    fn doubt(callback: Option<Callback>) -> Doubtful {
        Doubtful {
            id: TimerId::half_alone("a", 1),
            producer: "uid".to_owned(),
            record: Record::default(),
            checks: 3,
            next: 0,
            callback: callback.map(Into::into),
        }
    }

    fn check_back(on_exhausted: Undecided) -> CheckBack {
        CheckBack {
            url: "http://tx.shop/".parse().unwrap(),
            service: None,
            protocol: CheckProtocol::CloudEvents,
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(7),
            max_checks: 4,
            on_exhausted,
        }
    }

    #[test]
    fn the_terms_are_the_producers_but_for_an_interval_of_its_own() {
        let own = || Callback {
            way: 0,
            url: "http://tx.shop/".to_owned(),
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(2),
        };
        let terms = |seconds, max_checks, on_exhausted| Terms {
            interval: Duration::from_secs(seconds),
            max_checks,
            on_exhausted,
        };
        let hold = check_back(Undecided::Hold);
        for (callback, check_back, expected) in [
            (None, Some(&hold), terms(7, 4, Exhausted::Hold)),
            (Some(own()), Some(&hold), terms(2, 4, Exhausted::Hold)),
            (Some(own()), None, terms(2, 15, Exhausted::Rollback)),
        ] {
            assert_eq!(Terms::of(&doubt(callback), check_back), expected);
        }
        let orphaned = Terms::of(&doubt(None), None).orphaned();
        assert_eq!(orphaned, terms(60, 15, Exhausted::Rollback), "nobody is left to say");
    }

    #[tokio::test]
    async fn an_answer_that_is_never_taken_counts_as_none() {
        let stands = || Ok(Answer::Half(Standing { state: State::Prepared, at: 1, due: 0, first: true }));
        let problem = |reason| Err(Problem::new(reason, "why"));
        let commit = || Some(Decide::Commit(Commit::default()));
        for (decide, said, knows, asked) in [
            (commit(), vec![stands()], true, vec![true]),
            (None, vec![stands()], true, vec![false]),
            (commit(), vec![Ok(Answer::Unreadable), stands()], true, vec![true, false]),
            (commit(), vec![problem(reason::EVENT_TOO_LARGE), stands()], true, vec![true, false]),
            (commit(), vec![Ok(Answer::Unreadable), Ok(Answer::Unreadable)], false, vec![true, false]),
            // What the log refuses for now is told again: a publisher that has decided is not one that has not.
            (commit(), vec![problem(reason::LOG_FULL)], false, vec![true]),
            (commit(), vec![problem(reason::LOG_UNAVAILABLE)], false, vec![true]),
            (commit(), vec![Ok(Answer::Unknown)], false, vec![true]),
            (None, vec![Ok(Answer::Unreadable)], false, vec![false]),
        ] {
            let shown = format!("{decide:?} {said:?}");
            let (left, commands) = (RefCell::new(said), RefCell::new(Vec::new()));
            let ask = |command: Command| {
                commands.borrow_mut().push(command);
                std::future::ready(left.borrow_mut().remove(0))
            };
            let terms = Terms::of(&doubt(None), Some(&check_back(Undecided::Hold)));
            assert_eq!(tell(ask, &doubt(None), decide, terms).await, knows, "{shown}");
            let told: Vec<(u32, bool)> = commands
                .into_inner()
                .into_iter()
                .map(|command| match command.verb {
                    Verb::Checked(checked) => (checked.checks, checked.decide.is_some()),
                    verb => panic!("{verb:?}"),
                })
                .collect();
            assert_eq!(told, asked.into_iter().map(|decided| (3, decided)).collect::<Vec<_>>(), "{shown}");
        }
    }
}
