//! What is in memory, by an oracle: the events that fire first.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evhub_event::Record;
use proptest::prelude::*;

use super::{Shard, Timer};
use crate::{TimerId, leader::Planted, shard::Draft, state::Entry};

/// How many are in memory at the most.
const ROOM: usize = 8;

fn timer(n: u64, due: i64) -> Timer {
    let record = Record { value: Some(Bytes::from(vec![0; 10])), ..Record::default() };
    Timer {
        id: TimerId::of("uid", None, "/s", &n.to_string(), 1),
        producer: Arc::from("uid"),
        topic: Arc::from(if n.is_multiple_of(2) { "even" } else { "odd" }),
        due,
        seq: n,
        generation: 0,
        digest: 0,
        max_delay: Duration::from_mins(1).as_millis() as u64,
        event_id: format!("{n:04}"),
        record,
        series: None,
        claimed: false,
        chain: None,
    }
}

/// The numbers of those in memory, soonest first.
fn held(shard: &Shard) -> Vec<u64> {
    let held: Vec<u64> = shard.held.iter().map(|((_, seq), _)| *seq).collect();
    let whole = shard.timers.iter().filter(|(_, pending)| pending.whole.is_some());
    let mut whole: Vec<_> = whole.map(|(_, pending)| pending.slot).collect();
    whole.sort_unstable();
    assert_eq!(held, whole.into_iter().map(|(_, seq)| seq).collect::<Vec<_>>());
    assert_eq!(shard.cached.0, held.len() * timer(0, 0).footprint());
    held
}

/// A shard that has read these from its log, each at the offset of its number.
fn loaded(dues: &[i64]) -> Shard {
    let mut shard = Shard::new(ROOM * timer(0, 0).footprint(), Planted::NONE);
    for (n, due) in (0..).zip(dues) {
        shard.load(n, Entry::Pending(Box::new(timer(n, *due))), 0);
    }
    shard.loaded();
    shard
}

proptest! {
    #[test]
    fn what_fires_first_is_in_memory_and_comes_back_as_there_is_room(dues in prop::collection::vec(1_i64..50, 0..60)) {
        let mut shard = loaded(&dues);
        let mut expected: Vec<(i64, u64)> = dues.iter().copied().zip(0..).collect();
        expected.sort_unstable();
        while !expected.is_empty() {
            let held = held(&shard);
            let soonest: Vec<u64> = expected.iter().take(held.len()).map(|(_, n)| *n).collect();
            prop_assert_eq!(&held, &soonest);
            // As long as there is room for a quarter, which is two.
            prop_assert!(held.len() + 2 > ROOM || held.len() == expected.len(), "{held:?} of {expected:?}");
            // What is in memory fires, as far as an instant; the next ones are read back.
            let mut draft = Draft::default();
            shard.fire(expected[0].0, |_| false, &mut draft);
            prop_assert!(!draft.fires.is_empty());
            let gone: Vec<TimerId> = draft.puts.keys().copied().collect();
            expected.retain(|(due, n)| !gone.contains(&timer(*n, *due).id));
            loop {
                let places = shard.ahead();
                if places.is_empty() {
                    break;
                }
                let due = |n: u64| expected.iter().find(|(_, other)| *other == n).map(|(due, _)| *due);
                let read = places.into_iter().map(|(_, at)| (at, timer(at, due(at).unwrap())));
                shard.came(read.collect());
            }
        }
    }
}

#[test]
fn what_was_read_from_where_it_lies_no_more_is_not_taken() {
    let mut shard = loaded(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(held(&shard), [0, 1, 2, 3, 4, 5, 6, 7]);
    let mut draft = Draft::default();
    shard.fire(3, |_| false, &mut draft);
    let places = shard.ahead();
    let id = timer(8, 9).id;
    assert_eq!(places, [(id, 8)]);
    assert_eq!(shard.ahead(), [], "it is asked for once");
    // Meanwhile it was rescheduled, and left memory again.
    shard.load(20, Entry::Pending(Box::new(timer(8, 90))), 0);
    if let Some(pending) = shard.timers.get_mut(&id) {
        shard.cached.0 -= pending.whole.take().map_or(0, |timer| timer.footprint());
        shard.held.remove(&(pending.slot, id));
    }
    shard.came(vec![(8, timer(8, 9))]);
    assert_eq!(held(&shard), [3, 4, 5, 6, 7]);
    shard.came(vec![(20, timer(8, 90))]);
    assert_eq!(held(&shard), [3, 4, 5, 6, 7, 8]);
}
