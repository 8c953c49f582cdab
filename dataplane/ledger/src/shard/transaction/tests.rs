//! Rules of half messages, as data: what is asked, and what is said.

use std::{collections::HashSet, time::Duration};

use evhub_event::Record;

use crate::{
    Answer, Command, TimerId, When,
    command::Verb,
    half::{
        self, Callback, Checked, Commit, Decide, Decision, Exhausted, Line, Prepare, Standing, State, Wanted,
        Which,
    },
    leader::Planted,
    series::NEVER,
    shard::{Draft, REMEMBER, Shard},
    state::Entry,
};

fn id(n: u32) -> TimerId {
    TimerId::half("uid", None, "/s", &n.to_string(), 1)
}

fn prepare(n: u32, when: Option<When>) -> Command {
    let record = Record { value: Some(n.to_string().into()), ..Record::default() };
    let prepare = Prepare {
        producer: "uid".to_owned(),
        topic: "due".to_owned(),
        event_id: n.to_string(),
        digest: half::digest(&record, when, None),
        record,
        when,
        max_delay: Duration::from_secs(100),
        max_pending: 3,
        interval: Duration::from_secs(2),
        callback: None,
    };
    Command { id: id(n), verb: Verb::Prepare(Box::new(prepare)) }
}

/// Asks as it says itself, for the first time after a second.
fn prepare_own(n: u32) -> Command {
    let callback = Callback {
        way: 0,
        url: "http://tx.shop/".to_owned(),
        timeout: Duration::from_secs(1),
        interval: Duration::from_secs(1),
    };
    match prepare(n, None) {
        Command { id, verb: Verb::Prepare(prepare) } => {
            let (interval, callback) = (callback.interval, Some(callback));
            Command { id, verb: Verb::Prepare(Box::new(Prepare { interval, callback, ..*prepare })) }
        }
        other => other,
    }
}

fn decide(n: u32, decide: Decide) -> Command {
    let producer = "uid".to_owned();
    Command { id: id(n), verb: Verb::Decide(Box::new(Decision { producer, decide })) }
}

fn commit(n: u32) -> Command {
    decide(n, Decide::Commit(Commit::default()))
}

fn commit_after(n: u32, seconds: u64) -> Command {
    let when = Some(When::After(Duration::from_secs(seconds)));
    decide(n, Decide::Commit(Commit { when, ..Commit::default() }))
}

fn checked(n: u32, checks: u32, decide: Option<Decide>, on_exhausted: Exhausted) -> Command {
    let (interval, max_checks) = (Duration::from_secs(2), 2);
    Command {
        id: id(n),
        verb: Verb::Checked(Box::new(Checked { checks, decide, interval, max_checks, on_exhausted })),
    }
}

/// A shard, what it said, and how often something was published.
struct Told {
    shard: Shard,
    answers: Vec<Answer>,
    fired: usize,
    puts: Vec<Entry>,
}

/// Applies commands one by one, one a millisecond from 1000 on, and fires what is due after each.
fn told(commands: impl IntoIterator<Item = Command>) -> Told {
    let shard = Shard::new(1 << 20, Planted::NONE);
    let mut told = Told { shard, answers: Vec::new(), fired: 0, puts: Vec::new() };
    for (offset, command) in (0..).zip(commands) {
        let (mut draft, at) = (Draft::default(), 1_000 + offset as i64);
        told.shard.apply((offset, at), command, |_| 0, &mut draft);
        told.shard.fire(at, |_| false, &mut draft);
        told.answers.extend(draft.answers.into_iter().map(|(_, answer)| answer));
        told.fired += draft.fires.len();
        told.puts.extend(draft.puts.into_values());
    }
    told
}

fn half(state: State, at: i64, due: i64, first: bool) -> Answer {
    Answer::Half(Standing { state, at, due, first })
}

#[test]
fn the_first_decision_counts_and_every_later_one_is_told_of_it() {
    use State::{Committed, Prepared, RolledBack};
    let told = told([
        prepare(1, None),
        prepare(1, None),
        commit(1),
        decide(1, Decide::Rollback),
        commit(1),
        prepare(1, None),
        prepare(2, None),
        decide(2, Decide::Rollback),
        commit(2),
        commit(3),
        decide(3, Decide::Rollback),
    ]);
    assert_eq!(
        told.answers,
        [
            half(Prepared, 1_000, 0, true),
            half(Prepared, 1_000, 0, false),
            half(Committed, 1_002, 1_002, true),
            half(Committed, 1_002, 1_002, false),
            half(Committed, 1_002, 1_002, false),
            half(Committed, 1_002, 1_002, false),
            half(Prepared, 1_006, 0, true),
            half(RolledBack, 1_007, 0, true),
            half(RolledBack, 1_007, 0, false),
            Answer::Unknown,
            Answer::Unknown,
        ]
    );
    assert_eq!((told.fired, told.shard.pending(), told.shard.prepared()), (1, 0, (0, 0)));
}

#[test]
fn one_that_is_committed_with_a_delay_is_a_timer() {
    let told = told([prepare(1, None), commit_after(1, 101), commit_after(1, 50), commit(1)]);
    assert_eq!(
        told.answers[1..],
        [
            Answer::TooLong,
            half(State::Committed, 1_002, 51_002, true),
            half(State::Committed, 1_002, 51_002, false)
        ]
    );
    assert_eq!(told.shard.look(id(1).published()).map(|timer| timer.due), Ok(51_002));
    assert_eq!((told.fired, told.shard.pending()), (0, 1));
    let told = self::told([prepare(2, Some(When::After(Duration::from_secs(9)))), commit(2)]);
    assert_eq!(told.answers[1], half(State::Committed, 1_001, 10_001, true), "as it was prepared");
}

#[test]
fn keys_of_processors_are_those_of_the_commit() {
    let delay_keys = vec![("reminder".to_owned(), Duration::from_secs(100))];
    let too_long = vec![("reminder".to_owned(), Duration::from_secs(101))];
    let with = |delay_keys| decide(1, Decide::Commit(Commit { delay_keys, ..Commit::default() }));
    let mut draft = Draft::default();
    let mut told = told([prepare(1, None), with(too_long)]);
    assert_eq!(told.answers[1], Answer::TooLong);
    told.shard.apply((2, 2_000), with(delay_keys), |_| 0, &mut draft);
    told.shard.fire(2_000, |_| false, &mut draft);
    let (_, record) = &draft.fires[0];
    assert_eq!(record.header("evhub-delay-keys").map(|keys| &keys[..]), Some(&b"reminder=1m40s"[..]));
}

#[test]
fn a_publisher_that_does_not_know_is_asked_again_and_then_the_policy_decides() {
    let unknown = |checks, policy| checked(1, checks, None, policy);
    for (policy, last) in [
        (Exhausted::Rollback, half(State::RolledBack, 1_004, 0, true)),
        (Exhausted::Commit, half(State::Committed, 1_004, 1_004, true)),
        (Exhausted::Hold, half(State::Prepared, 1_000, 0, true)),
    ] {
        let told = told([
            prepare(1, None),
            unknown(0, policy),
            // Of a question that somebody else asked at the same time.
            unknown(0, policy),
            checked(2, 0, None, policy),
            unknown(1, policy),
        ]);
        assert_eq!(
            told.answers[1..4],
            [half(State::Prepared, 1_000, 0, true), half(State::Prepared, 1_000, 0, false), Answer::Unknown,]
        );
        assert_eq!(told.answers[4], last, "{policy:?}");
        let held = told.shard.list_halves("uid", Which::Held, None, 9);
        assert_eq!(held.len(), usize::from(policy == Exhausted::Hold));
        assert_eq!(told.shard.next_check(), None);
        assert!(held.iter().all(|(_, half)| (half.checks, half.next) == (2, NEVER)));
    }
}

#[test]
fn a_publisher_that_decides_what_cannot_be_is_asked_as_one_that_does_not_know() {
    let when = Some(When::After(Duration::from_secs(101)));
    let too_long = || Some(Decide::Commit(Commit { when, ..Commit::default() }));
    let told = told([
        prepare(1, None),
        checked(1, 0, too_long(), Exhausted::Rollback),
        checked(1, 1, too_long(), Exhausted::Rollback),
    ]);
    let expected = [half(State::Prepared, 1_000, 0, true), half(State::RolledBack, 1_002, 0, true)];
    assert_eq!((&told.answers[1..], told.fired), (&expected[..], 0));
}

#[test]
fn an_answer_that_comes_after_a_decision_changes_nothing() {
    let told = told([
        prepare(1, None),
        commit(1),
        checked(1, 0, Some(Decide::Rollback), Exhausted::Rollback),
        checked(1, 0, None, Exhausted::Rollback),
        prepare(2, None),
        checked(2, 7, Some(Decide::Rollback), Exhausted::Rollback),
        commit(2),
    ]);
    let committed = half(State::Committed, 1_001, 1_001, false);
    assert_eq!(told.answers[2..4], [committed.clone(), committed]);
    assert_eq!(told.answers[5], half(State::RolledBack, 1_005, 0, true), "a decision is one whoever asked");
    assert_eq!(told.answers[6], half(State::RolledBack, 1_005, 0, false));
    assert_eq!(told.fired, 1);
}

#[test]
fn as_many_are_prepared_as_may_be_and_others_publishers_have_no_say() {
    let other = Decision { producer: "other".to_owned(), decide: Decide::Rollback };
    let other = Command { id: id(1), verb: Verb::Decide(Box::new(other)) };
    let changed = match prepare(2, None) {
        Command { verb: Verb::Prepare(prepare), .. } => {
            Command { id: id(1), verb: Verb::Prepare(Box::new(Prepare { digest: 7, ..*prepare })) }
        }
        other => other,
    };
    let told = told([prepare(1, None), prepare(2, None), prepare(3, None), prepare(4, None), other, changed]);
    assert_eq!(told.answers[3..], [Answer::TooMany, Answer::Unknown, Answer::Conflict]);
    assert_eq!(told.shard.tallies().map(|(_, pending)| pending).sum::<u64>(), 3);
}

#[test]
fn what_is_read_back_is_what_was_known() {
    let first = told([
        prepare(1, None),
        prepare(2, None),
        prepare(3, None),
        checked(1, 0, None, Exhausted::Hold),
        checked(1, 1, None, Exhausted::Hold),
        commit_after(2, 50),
        decide(3, Decide::Rollback),
    ]);
    let mut again = Shard::new(0, Planted::NONE);
    for (at, entry) in (0..).zip(first.puts) {
        let entry = Entry::decode(&entry.encode()).unwrap();
        again.load(at, entry, 2_000);
    }
    again.loaded();
    for n in 1..=3 {
        let (before, after) = (first.shard.look_half(id(n)).unwrap(), again.look_half(id(n)).unwrap());
        assert_eq!((before.standing, before.checks, before.next), (after.standing, after.checks, after.next));
    }
    assert_eq!((again.prepared(), again.pending()), ((1, 1), 1));
    let lacks = |command| again.lacks(&command).map(|(id, _)| id);
    assert_eq!(lacks(commit(1)), Some(id(1)), "its event is not in memory");
    assert_eq!(lacks(prepare(1, None)), None);
    // What was decided is forgotten after a day, and the timer is not.
    let mut draft = Draft::default();
    assert!(again.must_forget(1_006 + REMEMBER + 3_600_000));
    again.forget(1_006 + REMEMBER, &mut draft);
    assert_eq!((again.look_half(id(2)), again.look_half(id(3))), (None, None));
    assert_eq!((again.prepared(), again.pending(), draft.puts.len()), ((1, 1), 1, 2));
}

#[test]
fn publishers_are_asked_line_by_line_and_within_bounds() {
    let shard = told([prepare(1, None), prepare_own(2), prepare(3, None)]).shard;
    let everything = || Wanted {
        by: i64::MAX - 1,
        each: 9,
        all: 9,
        bytes: 1 << 20,
        except: Vec::new(),
        flying: HashSet::new(),
    };
    let line = |producer: &str, own| Line { producer: producer.to_owned(), own };
    let size = shard.doubt(id(1)).unwrap().0.record.size();
    for (what, wanted, expected) in [
        ("who waits longest first", everything(), &[2, 1, 3][..]),
        ("by then", Wanted { by: 3_000, ..everything() }, &[2, 1]),
        ("by before", Wanted { by: 2_000, ..everything() }, &[]),
        ("so many of a line", Wanted { each: 1, ..everything() }, &[2, 1]),
        ("so many", Wanted { all: 2, ..everything() }, &[2, 1]),
        ("so many bytes", Wanted { bytes: 2 * size, ..everything() }, &[2, 1]),
        ("one that is larger", Wanted { bytes: 1, ..everything() }, &[2]),
        ("not the Producer's", Wanted { except: vec![line("uid", false)], ..everything() }, &[2]),
        ("not those of their own", Wanted { except: vec![line("uid", true)], ..everything() }, &[1, 3]),
        (
            "not another's",
            Wanted { except: vec![line("u", false), line("u", true)], ..everything() },
            &[2, 1, 3],
        ),
        ("none that is asked about", Wanted { each: 1, flying: [id(1)].into(), ..everything() }, &[2, 3]),
    ] {
        let expected: Vec<TimerId> = expected.iter().map(|n| id(*n)).collect();
        assert_eq!(shard.doubtful(&wanted), expected, "{what}");
    }
    let lines = [1, 2].map(|n| shard.doubt(id(n)).unwrap().0.line());
    assert_eq!(lines, [line("uid", false), line("uid", true)]);
}

#[test]
fn an_interval_of_its_own_is_the_least_that_is_waited() {
    let unknown = |seconds| {
        let (checks, decide, max_checks, on_exhausted) = (0, None, 9, Exhausted::Hold);
        let interval = Duration::from_secs(seconds);
        let checked = Checked { checks, decide, interval, max_checks, on_exhausted };
        Command { id: id(1), verb: Verb::Checked(Box::new(checked)) }
    };
    for (seconds, next) in [(0, 3_001), (1, 3_001), (60, 121_001)] {
        let shard = told([prepare_own(1), unknown(seconds)]).shard;
        assert_eq!(shard.next_check(), Some(next), "{seconds}");
    }
}

#[test]
fn who_heard_nothing_is_told_what_became_of_it() {
    let after = |seconds| Some(When::After(Duration::from_secs(seconds)));
    let unknown = || checked(2, 0, None, Exhausted::Hold);
    let told = told([
        prepare(1, after(101)),
        prepare(2, None),
        prepare(3, None),
        prepare(4, None),
        prepare(5, None),
        unknown(),
        commit(3),
    ]);
    assert_eq!((&told.answers[0], &told.answers[4]), (&Answer::TooLong, &Answer::TooMany));
    for (offset, command, answer) in [
        (0, prepare(1, after(101)), Answer::TooLong),
        (4, prepare(5, None), Answer::TooMany),
        (1, prepare(2, None), half(State::Prepared, 1_001, 0, true)),
        (5, unknown(), half(State::Prepared, 1_001, 0, false)),
        (7, checked(3, 0, None, Exhausted::Hold), half(State::Committed, 1_006, 1_006, false)),
        (7, checked(9, 0, None, Exhausted::Hold), Answer::Unknown),
    ] {
        assert_eq!(told.shard.recall(offset, &command), answer, "{offset} {command:?}");
    }
}

/// A key says in which shard one is, and a shard knows nothing of what is in others.
#[test]
fn one_that_is_prepared_under_another_key_is_another_one_in_another_shard() {
    let of = |key: u32, shards| TimerId::half("uid", Some(&key.to_le_bytes()), "/s", "1", shards);
    for shards in [1, 16] {
        let ids: HashSet<TimerId> = (0..1_000).map(|key| of(key, shards)).collect();
        assert_eq!(ids.len(), shards as usize);
    }
    let keyed = |key: &str| match prepare(1, None) {
        Command { id, verb: Verb::Prepare(prepare) } => {
            let record = Record { key: Some(key.to_owned().into()), ..prepare.record };
            let digest = half::digest(&record, None, None);
            Command { id, verb: Verb::Prepare(Box::new(Prepare { record, digest, ..*prepare })) }
        }
        other => other,
    };
    let told = told([keyed("a"), keyed("b")]);
    assert_eq!(told.answers[1], Answer::Conflict, "in the same one it is refused");
}

/// A delay may be longer than decisions are remembered. Whoever took it for a new one would put it in the timer's place.
#[test]
fn one_that_is_prepared_again_before_it_is_published_is_no_other() {
    let mut shard =
        told([prepare(1, None), commit_after(1, 90), prepare(2, None), commit_after(2, 50)]).shard;
    let mut draft = Draft::default();
    shard.fire(60_000, |_| false, &mut draft);
    assert_eq!((draft.fires.len(), shard.pending()), (1, 1), "the second one is published");
    shard.forget(1_010 + REMEMBER, &mut draft);
    assert_eq!((shard.look_half(id(1)), shard.look_half(id(2))), (None, None), "its decision is forgotten");
    let mut ask = |command| {
        let mut draft = Draft::default();
        shard.apply((100, 90_000_000), command, |_| 0, &mut draft);
        assert!(draft.puts.is_empty(), "nothing changes");
        draft.answers.remove(0).1
    };
    let committed = |answer: &Answer| matches!(answer, Answer::Half(half) if half.state == State::Committed);
    for n in [1, 2] {
        assert!(committed(&ask(prepare(n, None))), "{n}");
        let other = prepare(n, Some(When::After(Duration::from_secs(1))));
        assert_eq!(ask(other), Answer::Conflict, "{n}");
    }
}
