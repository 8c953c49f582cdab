//! Targets that fail, hang, break off and answer nonsense.

use std::time::Duration;

use evhub_dispatch::dead::{DeadLetter, Reason};
use http::{HeaderName, HeaderValue};

use crate::{
    target::{Reply, Target},
    world::{World, until, until_async},
};

/// Sends one event to a target that always answers so; returns its dead letter.
async fn dead_letter_of(reply: Reply, timeout: Duration) -> (DeadLetter, Target) {
    let target = Target::new(move |_| reply.clone()).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.target.timeout = timeout;
    world.retry(2, Duration::from_millis(10));
    let running = world.start();
    world.publish("e", None).await;
    until_async("there is a dead letter", async || !world.letters().await.is_empty()).await;
    running.stop().await;
    let (letter, _) = world.letters().await.remove(0);
    (letter, target)
}

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(100);

#[track_caller]
fn check(letter: &DeadLetter, status: Option<u16>, text: &str) {
    assert_eq!((letter.reason, letter.attempts), (Reason::MaxAttempts, 2));
    for cause in &letter.causes {
        assert_eq!(cause.status, status, "{cause:?}");
        assert!(cause.text.contains(text), "{cause:?} lacks {text:?}");
    }
}

#[tokio::test]
async fn no_answer_in_time() {
    let (letter, _target) = dead_letter_of(Reply::Hang, SHORT).await;
    check(&letter, None, "no answer within 100ms");
}

#[tokio::test]
async fn a_connection_that_is_reset() {
    let (letter, _target) = dead_letter_of(Reply::Reset, LONG).await;
    check(&letter, None, "connection");
}

#[tokio::test]
async fn an_answer_that_is_no_http() {
    let (letter, _target) = dead_letter_of(Reply::Raw(b"\x00\xffgarbage\r\n\r\n".to_vec()), LONG).await;
    check(&letter, None, "invalid HTTP");
}

#[tokio::test]
async fn half_an_answer() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-le".to_vec();
    let (letter, _target) = dead_letter_of(Reply::Raw(half), LONG).await;
    check(&letter, None, "connection closed");
}

#[tokio::test]
async fn a_failing_body_that_does_not_come_has_a_status_still() {
    let (letter, _target) = dead_letter_of(Reply::Bodiless(503), SHORT).await;
    check(&letter, Some(503), "took longer than 100ms");
}

#[tokio::test]
async fn a_failing_body_without_an_end_is_read_in_part() {
    let (letter, target) = dead_letter_of(Reply::Endless(500), LONG).await;
    check(&letter, Some(500), "xxxx");
    // What the sockets hold comes on top of what is read, and nothing else does.
    assert!(target.sent() < 2 * (8 << 20), "{} bytes sent", target.sent());
    assert!(letter.causes[0].text.len() < 1100);
}

#[tokio::test]
async fn a_failing_text_is_kept_short_and_printable() {
    let (letter, _target) = dead_letter_of(Reply::Text(500, vec![0xff; 4096]), LONG).await;
    check(&letter, Some(500), "\u{fffd}");
    let text = &letter.causes[0].text;
    assert!(text.len() <= 1024 + "the target answered 500: ".len(), "{} bytes", text.len());
    let (letter, _target) = dead_letter_of(Reply::Text(500, b"a\x1b[31m\nb".to_vec()), LONG).await;
    assert!(!letter.causes[0].text.contains(char::is_control), "{:?}", letter.causes[0].text);
}

#[tokio::test]
async fn nobody_listens() {
    let mut world = World::new(&Target::nowhere().await, 1).await;
    world.retry(2, Duration::from_millis(10));
    let running = world.start();
    world.publish("e", None).await;
    until_async("there is a dead letter", async || !world.letters().await.is_empty()).await;
    running.stop().await;
    check(&world.letters().await[0].0, None, "refused");
}

/// Sends one event to a target that always answers so; returns how long its delivery took.
async fn delivery_of(reply: Reply) -> (Duration, Target) {
    let target = Target::new(move |_| reply.clone()).await;
    let world = World::new(&target.url, 1).await;
    let running = world.start();
    world.publish("e", None).await;
    let began = std::time::Instant::now();
    until("it is delivered", || running.delivered() == 1).await;
    running.stop().await;
    assert!(world.letters().await.is_empty());
    (began.elapsed(), target)
}

#[tokio::test]
async fn delivered_whatever_becomes_of_the_body() {
    for reply in [Reply::Bodiless(200), Reply::Endless(202)] {
        let (took, target) = delivery_of(reply).await;
        // The target's time-out is 10 s; the body does not get that long.
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!(target.count(), 1);
    }
}

#[tokio::test]
async fn what_need_not_be_repeated_is_not() {
    let elsewhere = Target::new(|_| Reply::Status(200)).await;
    let cases = [
        (Reply::Status(400), 400, "answered 400"),
        (Reply::Text(422, b"no such customer".to_vec()), 422, "no such customer"),
        (Reply::Redirect(elsewhere.url.clone()), 307, "redirects are not followed"),
    ];
    for (reply, status, text) in cases {
        let (letter, target) = dead_letter_of(reply, LONG).await;
        assert_eq!((letter.reason, letter.attempts), (Reason::NotRetryable, 1));
        assert_eq!(letter.causes[0].status, Some(status));
        assert!(letter.causes[0].text.contains(text), "{:?}", letter.causes[0].text);
        assert_eq!(target.count(), 1);
    }
    assert_eq!(elsewhere.count(), 0);
}

/// A target, or a proxy before it, may answer with the very request that it got.
#[tokio::test]
async fn what_goes_with_every_attempt_is_not_kept_when_it_comes_back() {
    let target = Target::new(|attempt| {
        let echo: Vec<String> =
            attempt.headers.iter().map(|(name, value)| format!("{name} is {value} here")).collect();
        Reply::Text(400, echo.join("; ").into_bytes())
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.target.headers =
        [("x-team", "aGVsbG8gd29ybGQ"), ("authorization", "Custom s3cr3t/value")]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .into();
    let running = world.start();
    world.publish("e", None).await;
    until_async("there is a dead letter", async || !world.letters().await.is_empty()).await;
    running.stop().await;
    let (letter, _) = world.letters().await.remove(0);
    let text = &letter.causes[0].text;
    assert!(text.contains("x-team is … here") && text.contains("authorization is … here"), "{text}");
    assert!(!text.contains("aGVsbG8") && !text.contains("s3cr3t"), "{text}");
}
