//! Events as they come.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use evhub_routing::{Name, Snapshot};

use super::{
    rig::{Rig, SINK},
    wire::{Wire, get, request},
};

async fn watch(rig: &Rig) -> Wire {
    let mut wire = Wire::connect(rig.api).await;
    wire.send(get(&format!("{SINK}/tail"))).await;
    let answer = wire.answer().await.unwrap();
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "text/event-stream"));
    wire.until(": what is published to shop/orders from now on").await;
    wire
}

#[tokio::test]
async fn events_are_shown_from_now_on_with_their_place() {
    let rig = Rig::start().await;
    assert_eq!(rig.ask(rig.http, request("POST", SINK, &[], "before")).await.status, 202);
    let mut wire = watch(&rig).await;
    let answer = rig
        .ask(rig.http, request("POST", &format!("{SINK}?key=k"), &[("content-type", "text/plain")], "after"));
    let answer = answer.await;
    let shown = wire.until("after").await;
    let (partition, offset) = (&answer.headers["evhub-partition"], &answer.headers["evhub-offset"]);
    assert!(
        shown.contains(&format!("id: {partition}:{offset}\ndata: {{\"partition\":{partition},")),
        "{shown}"
    );
    assert!(shown.contains(&answer.headers["evhub-id"]) && shown.contains("\"key\":\"k\""), "{shown}");
    assert!(!shown.contains("before"), "{shown}");
    let two = [request("POST", SINK, &[], "second"), request("POST", SINK, &[], "third")];
    for one in two {
        assert_eq!(rig.ask(rig.http, one).await.status, 202);
    }
    wire.until("}\n\n").await;
}

#[tokio::test]
async fn a_watcher_is_told_that_the_producer_is_gone() {
    let rig = Rig::start().await;
    let mut wire = watch(&rig).await;
    rig.snapshots.send_modify(|snapshot| {
        let mut producers = snapshot.producers.clone();
        producers.remove(&Name::new("shop", "orders"));
        *snapshot = Arc::new(Snapshot { producers, ..Snapshot::clone(snapshot) });
    });
    wire.until("event: ended\ndata: {\"reason\":\"UNKNOWN_PRODUCER\"}").await;
    let answer = rig.ask(rig.api, get(&format!("{SINK}/tail"))).await;
    assert_eq!(answer.problem().1, "UNKNOWN_PRODUCER");
}

/// A connection on which nothing comes shows that it lives. It takes ten seconds: no clock is ours to turn here.
#[tokio::test]
async fn silence_is_broken_by_a_comment() {
    let rig = Rig::start().await;
    let mut wire = watch(&rig).await;
    let since = Instant::now();
    wire.until(": alive\n\n").await;
    let waited = since.elapsed();
    assert!(waited > Duration::from_secs(9), "{waited:?}");
}

#[tokio::test]
async fn only_so_many_may_watch_at_once() {
    let rig = Rig::start().await;
    let mut watchers = Vec::new();
    for _ in 0..32 {
        watchers.push(watch(&rig).await);
    }
    let tail = || get(&format!("{SINK}/tail"));
    let answer = rig.ask(rig.api, tail()).await;
    assert_eq!(answer.problem(), (429, "BUSY".to_owned(), "rejected".to_owned(), None));
    drop(watchers);
    // Whoever has left is noticed when something is to be sent.
    let mut wire = Wire::connect(rig.api).await;
    let there_is_room = async {
        loop {
            assert_eq!(rig.ask(rig.http, request("POST", SINK, &[], "x")).await.status, 202);
            wire.send(tail()).await;
            if wire.answer().await.unwrap().status == 200 {
                break;
            }
        }
    };
    tokio::time::timeout(super::wire::PATIENCE, there_is_room).await.unwrap();
}
