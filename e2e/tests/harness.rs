//! Who checks the harness: what a target writes down is what it did, and HTTP by hand reads what others write.

#![allow(missing_docs)]

use std::time::Duration;

use evhub_e2e::{
    event::Event,
    history::{Answer, Rec},
    nemesis::{Kind, schedule},
    recorder::Recorder,
    script::{Mode, Script},
    target::Target,
    wire::{self, Connection, escape, unescape},
};
use proptest::prelude::*;
use tokio::time::timeout;

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_escaped_reads_back(text: String) {
        let escaped = escape(&text);
        prop_assert!(escaped.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert_eq!(unescape(&escaped), text);
    }

    #[test]
    fn a_seed_decides_everything(seed: u64, n in 0u64..1000) {
        let (one, two) = (Event::new(seed, "c1", n, None, true), Event::new(seed, "c1", n, None, true));
        prop_assert_eq!(one.request("/"), two.request("/"));
        prop_assert_ne!(one.hash(), Event::new(seed, "c1", n + 1, None, true).hash());
        let script = Script::new(&Mode::MIXED, seed);
        prop_assert_eq!(script.act(None, &one.id, 1, 0, false), script.act(None, &one.id, 1, 0, false));
        let blows = || schedule(seed, &[Kind::Kill, Kind::Pause], 5, (10, 20), (0, 1));
        prop_assert_eq!(blows(), blows());
    }
}

#[tokio::test]
async fn bodies_of_both_framings_are_read() {
    let both: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nHTTP/1.1 204 No\r\n\r\nHTTP/1.1 \
        503 X\r\nContent-Length: 2\r\n\r\nhi";
    let mut reader = both;
    let mut seen = Vec::new();
    while let Some(message) = wire::read(&mut reader).await.expect("it is HTTP") {
        seen.push((message.status(), String::from_utf8_lossy(&message.body).into_owned()));
    }
    assert_eq!(seen, [(Some(200), "abcde".into()), (Some(204), String::new()), (Some(503), "hi".into())]);
}

#[tokio::test]
async fn a_message_cut_short_is_an_error() {
    let mut short: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi";
    wire::read(&mut short).await.expect_err("three bytes are missing");
}

/// Sends one attempt to a target of this mode; the status, if one came within 300 ms, and what the target wrote down.
async fn attempt(mode: Mode, number: u32) -> (Option<u16>, Vec<Rec>, Vec<String>) {
    let recorder = Recorder::default();
    let target = Target::start("shop/billing", Script::new(&[(mode, 1)], 1), recorder.clone())
        .await
        .expect("a port is free");
    let event = Event::new(1, "c", 1, Some("k".into()), true);
    let ours = format!(
        "evhub-attempt: {number}\r\nevhub-epoch: 7\r\nevhub-delivery: d\r\nevhub-processor: shop/billing\r\n\
         evhub-generation: 1\r\nhost: x\r\n"
    );
    let request = String::from_utf8_lossy(&event.request("/")).replace("host: localhost\r\n", &ours);
    let mut connection = Connection::open(target.port).await.expect("it listens");
    let answer = timeout(Duration::from_millis(300), connection.exchange(request.as_bytes())).await;
    drop(connection);
    let since = std::time::Instant::now();
    let done = |rec: &Rec| matches!(rec, Rec::Done { .. });
    while recorder.count(done) == 0 && since.elapsed() < Duration::from_secs(5) {
        tokio::task::yield_now().await;
    }
    target.confess();
    let status = answer.ok().and_then(Result::ok).and_then(|message| message.status());
    (status, recorder.history().0.into_iter().map(|entry| entry.rec).collect(), recorder.complaints())
}

#[tokio::test]
async fn a_target_writes_down_what_it_did() {
    for (mode, number, status, answer) in [
        (Mode::Fine, 1, Some(()), Answer::Success),
        (Mode::Slow, 1, Some(()), Answer::Success),
        (Mode::Refuses, 1, Some(()), Answer::Failure(400)),
        (Mode::Broken, 9, Some(()), Answer::Failure(503)),
        (Mode::Missing, 1, Some(()), Answer::Failure(404)),
        (Mode::Missing, 2, Some(()), Answer::Success),
        (Mode::Hangs, 1, None, Answer::PeerGone),
        (Mode::Drips, 1, None, Answer::PeerGone),
        (Mode::Resets, 1, None, Answer::Cut),
        (Mode::Tears, 1, None, Answer::Ambiguous),
        (Mode::Hangs, 2, Some(()), Answer::Success),
    ] {
        let (got, recs, complaints) = attempt(mode, number).await;
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!(got.map(drop), status, "{mode:?}");
        let event = Event::new(1, "c", 1, Some("k".into()), true);
        let arrived = recs.iter().any(|rec| {
            matches!(rec, Rec::Recv { id, key: Some(key), hash, number: n, epoch: 7, .. }
                if *id == event.id && key == "k" && *hash == event.hash() && *n == number)
        });
        assert!(arrived, "{mode:?}: {recs:?}");
        let done = recs.iter().any(|rec| matches!(rec, Rec::Done { answer: a, .. } if *a == answer));
        assert!(done, "{mode:?}: {recs:?}");
        let confessed = recs.iter().any(|rec| matches!(rec, Rec::Fault { effect: 1, .. }));
        assert_eq!(confessed, mode != Mode::Fine, "{mode:?}: {recs:?}");
    }
}

#[tokio::test]
async fn nonsense_is_no_http() {
    let (status, recs, _) = attempt(Mode::Babbles, 1).await;
    assert_eq!(status, None);
    assert!(recs.iter().any(|rec| matches!(rec, Rec::Done { answer: Answer::Cut, .. })), "{recs:?}");
}

#[tokio::test]
async fn what_is_no_delivery_is_complained_of() {
    let recorder = Recorder::default();
    let target = Target::start("shop/billing", Script::new(&[(Mode::Fine, 1)], 1), recorder.clone())
        .await
        .expect("a port is free");
    let mut connection = Connection::open(target.port).await.expect("it listens");
    connection.exchange(&wire::request("POST", "/", &[], b"hello")).await.expect_err("it hangs up");
    assert_eq!(recorder.complaints().len(), 1);
}
