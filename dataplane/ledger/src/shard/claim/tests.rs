//! What is said to publishes under a key, and what is published.

use std::time::Duration;

use evhub_event::Record;

use super::super::{Draft, Shard};
use crate::{
    Answer, Command, Submit, TimerId, When,
    claim::{By, Claim, Claimed, Receipt, digest},
    command::{self, Verb},
    leader::Planted,
    state::Entry,
};

const WINDOW: i64 = 1_000;

fn key(name: &str) -> TimerId {
    TimerId::of_claim("uid", By::Key(name), 1)
}

fn claim(name: &str, event: &str, value: &str, delay: Option<u64>) -> Command {
    let record = Record { value: Some(value.to_owned().into()), ..Record::default() };
    let when = When::After(Duration::from_millis(delay.unwrap_or_default()));
    let submit = Submit {
        producer: "uid".to_owned(),
        topic: "due".to_owned(),
        event_id: event.to_owned(),
        digest: command::digest(&record, when),
        when,
        repeat: None,
        max_delay: Duration::from_secs(100),
        max_pending: 1,
        record: record.clone(),
    };
    let timer = delay.map(|_| key(name).beside("/s", event));
    let window = Duration::from_millis(WINDOW as u64);
    let claim = Claim { submit, timer, window, digest: digest(&record, delay.map(|_| when), None) };
    Command { id: key(name), verb: Verb::Claim(Box::new(claim)) }
}

fn at(shard: &mut Shard, offset: u64, taken: i64, command: Command) -> (Answer, Draft) {
    let mut draft = Draft::default();
    shard.apply((offset, taken), command, |_| 0, &mut draft);
    shard.fire(taken, |_| false, &mut draft);
    (draft.answers[0].1.clone(), draft)
}

fn published(event_id: &str) -> Answer {
    Answer::Claimed(Box::new(Receipt { event_id: event_id.to_owned(), timer: None }))
}

#[test]
fn the_first_is_published_and_the_others_are_told_of_it_until_the_window_has_passed() {
    let mut shard = Shard::new(1 << 20, Planted::NONE);
    let cases = [
        (0, claim("k", "1", "x", None), published("1"), 1),
        (1, claim("k", "2", "x", None), published("1"), 0),
        (2, claim("k", "1", "y", None), Answer::Conflict, 0),
        (3, claim("other", "3", "y", None), published("3"), 1),
        (WINDOW - 1, claim("k", "4", "x", None), published("1"), 0),
        (WINDOW, claim("k", "5", "y", None), published("5"), 1),
        (WINDOW + 1, claim("k", "5", "x", None), Answer::Conflict, 0),
    ];
    for (n, (time, command, answer, fires)) in cases.into_iter().enumerate() {
        let (told, draft) = at(&mut shard, n as u64, time, command);
        assert_eq!((told, draft.fires.len()), (answer, fires), "at {time}");
        assert_eq!(shard.pending(), 0, "nothing is left to come due");
    }
}

#[test]
fn what_is_published_leaves_its_key_alone_behind_and_that_is_read_back() {
    let mut shard = Shard::new(1 << 20, Planted::NONE);
    let (_, draft) = at(&mut shard, 0, 0, claim("k", "1", "x", None));
    let puts: Vec<Entry> = draft.puts.into_values().collect();
    let [Entry::Claimed(id, claimed)] = &puts[..] else { panic!("{puts:?}") };
    assert_eq!((*id, claimed.until), (key("k"), WINDOW));
    let mut again = Shard::new(1 << 20, Planted::NONE);
    let entry = Entry::decode(&puts[0].clone().encode()).unwrap();
    again.load(0, entry, 0);
    assert_eq!(again.taken(), shard.taken());
    let (told, draft) = at(&mut again, 1, 5, claim("k", "2", "x", None));
    assert_eq!((told, draft.fires.len()), (published("1"), 0));
    let (_, draft) = at(&mut again, 2, WINDOW, claim("z", "3", "x", None));
    assert!(draft.puts.values().any(|entry| *entry == Entry::Free(key("k"))), "{:?}", draft.puts);
    let free = Entry::decode(&Entry::Free(key("k")).encode()).unwrap();
    shard.load(1, free, 0);
    assert_eq!((again.keys(), shard.keys()), (1, 0));
}

#[test]
fn a_delayed_one_comes_due_once_and_its_timer_is_in_the_receipt() {
    let mut shard = Shard::new(1 << 20, Planted::NONE);
    let (told, draft) = at(&mut shard, 0, 0, claim("k", "1", "x", Some(50)));
    let timer = key("k").beside("/s", "1");
    let receipt = Answer::Claimed(Box::new(Receipt { event_id: "1".to_owned(), timer: Some((timer, 50)) }));
    assert_eq!((told, draft.fires.len()), (receipt.clone(), 0));
    assert_eq!(at(&mut shard, 1, 9, claim("k", "2", "x", Some(50))).0, receipt);
    assert_eq!(
        at(&mut shard, 2, 9, claim("k", "2", "x", None)).0,
        Answer::Conflict,
        "at once is something else"
    );
    assert_eq!(
        at(&mut shard, 3, 9, claim("l", "3", "x", Some(50))).0,
        Answer::TooMany,
        "no key is taken by it"
    );
    assert_eq!(shard.keys(), 1);
    let mut draft = Draft::default();
    shard.fire(50, |_| false, &mut draft);
    assert_eq!(draft.fires.len(), 1);
}

#[test]
fn one_whose_topic_takes_nothing_waits_unseen_and_is_published_later() {
    let mut shard = Shard::new(1 << 20, Planted::NONE);
    let mut draft = Draft::default();
    shard.apply((7, 0), claim("k", "1", "x", None), |_| 0, &mut draft);
    shard.fire(0, |_| true, &mut draft);
    assert_eq!((draft.answers[0].1.clone(), draft.fires.len()), (published("1"), 0));
    let id = key("k").at(7);
    assert!(matches!(draft.puts.get(&id), Some(Entry::Pending(_))));
    shard.settled(id, 3);
    assert_eq!((shard.list("uid", None, 9), shard.look(id)), (Vec::new(), Err(Answer::Unknown)));
    assert_eq!(shard.tallies().map(|(_, pending)| pending).sum::<u64>(), 0);
    let mut draft = Draft::default();
    shard.fire(0, |_| false, &mut draft);
    assert_eq!((draft.fires.len(), draft.puts.get(&id)), (1, Some(&Entry::Gone(id))));
}

#[test]
fn more_keys_than_there_is_room_for_are_refused() {
    let mut shard = Shard::new(1 << 20, Planted::NONE);
    let claimed = |event_id: String| Claimed {
        producer: "uid".into(),
        until: 1_000_000,
        digest: 0,
        receipt: Receipt { event_id, timer: None },
    };
    for n in 0..super::MOST_KEYS.1 {
        let id = key("k").at(n as u64);
        shard.load(0, Entry::Claimed(id, Box::new(claimed("1".to_owned()))), 0);
    }
    assert_eq!(at(&mut shard, 0, 0, claim("one more", "1", "x", None)).0, Answer::TooManyKeys);
    assert_eq!(at(&mut shard, 1, 1_000_000, claim("one more", "1", "x", None)).0, published("1"));
    let id = key("long");
    shard.load(0, Entry::Claimed(id, Box::new(claimed("1".repeat(super::MOST_KEYS.0 * 128)))), 0);
    assert_eq!(at(&mut shard, 2, 5, claim("yet one more", "1", "x", None)).0, Answer::TooManyKeys);
}
