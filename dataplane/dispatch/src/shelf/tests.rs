//! It behaves as a `BTreeMap` does, and is full where entries come in order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{RUN, SMALL, Shelf};

/// What is done, again and again: keys come in order, anywhere, or go.
fn steps() -> impl Strategy<Value = Vec<(u8, u16)>> {
    prop::collection::vec((0u8..8, 0u16..4000), 0..200)
}

proptest! {
    #[test]
    fn it_is_a_sorted_map(steps in steps()) {
        let (mut shelf, mut model) = (Shelf::default(), BTreeMap::new());
        let mut next = 0u16;
        for (what, key) in steps {
            match what {
                0 => for _ in 0..key {
                    // So many at once, so often, that a few cases come to the last key there is.
                    let Some(after) = next.checked_add(1) else { break };
                    next = after;
                    prop_assert_eq!(shelf.insert(next, key), model.insert(next, key));
                },
                1..=3 => prop_assert_eq!(shelf.insert(key, 7), model.insert(key, 7)),
                4 => for key in (0..key).step_by(3) {
                    prop_assert_eq!(shelf.remove(key), model.remove(&key));
                },
                5 => prop_assert_eq!(shelf.pop_first(), model.pop_first()),
                6 => {
                    let range = key..=key.saturating_add(700);
                    let keys: Vec<u16> = model.range(range.clone()).map(|(key, _)| *key).collect();
                    model.retain(|key, _| !range.contains(key));
                    prop_assert_eq!(shelf.drain_keys(range), keys);
                }
                _ => {
                    shelf.retain(|one| one % 5 != key % 5);
                    model.retain(|one, _| one % 5 != key % 5);
                }
            }
            prop_assert_eq!(shelf.get(key), model.get(&key));
            prop_assert_eq!(shelf.first(), model.first_key_value().map(|(key, value)| (*key, value)));
            prop_assert_eq!((shelf.len(), shelf.is_empty()), (model.len(), model.is_empty()));
        }
        prop_assert!(shelf.iter().eq(model.iter().map(|(key, value)| (*key, value))));
        prop_assert!(shelf.runs.iter().all(|run| !run.keys.is_empty() && run.keys.len() <= RUN));
        // However it came to be.
        prop_assert_eq!(&shelf, &model.clone().into_iter().collect());
        prop_assert!(shelf.into_iter().eq(model));
    }
}

#[test]
fn what_comes_in_order_fills_every_run_and_what_goes_leaves_few() {
    let mut shelf: Shelf<u32, ()> = (0..100 * RUN as u32).map(|key| (key, ())).collect();
    assert_eq!(shelf.runs.len(), 100);
    // Two sources, one after the other in the order of keys, grow at once.
    for key in 0..10 * RUN as u32 {
        shelf.insert(1_000_000 + key, ());
        shelf.insert(100 * RUN as u32 + key, ());
    }
    assert!(shelf.runs.len() <= 121, "{}", shelf.runs.len());
    shelf.retain(|key| key % 100 == 0);
    let least = shelf.len() / SMALL;
    assert!(shelf.runs.len() <= 5 * least, "{} runs for {} entries", shelf.runs.len(), shelf.len());
}
