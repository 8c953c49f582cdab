//! What subscribers send back that is no plain answer: a row each, and after each a good delivery to the same target.

use std::time::Duration;

use evhub_dispatch::dead::Reason;

use crate::{
    target::{Reply, Target},
    world::{World, until},
};

/// What the event comes to whose attempt is answered so.
enum End {
    Delivered,
    /// With this in its cause, and none of that.
    Dead(Reason, &'static str, &'static [&'static str]),
}

struct Row {
    what: &'static str,
    reply: Reply,
    end: End,
}

fn raw(text: &str) -> Reply {
    Reply::Raw(text.as_bytes().to_vec())
}

fn whole(status: u16, headers: &str, body: &str) -> Reply {
    raw(&format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))
}

fn again(text: &'static str) -> End {
    End::Dead(Reason::MaxAttempts, text, &[])
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let row = |what, reply, end| Row { what, reply, end };
    let reply_event = "ce-specversion: 1.0\r\nce-id: r\r\nce-source: /r\r\nce-type: t\r\n";
    let state = "set-cookie: a=b\r\nalt-svc: h3=\":443\"\r\nstrict-transport-security: max-age=9\r\nwww-authenticate: Basic\r\n";
    let headers: String = "x: y\r\n".repeat(50_000);
    let long = "x-long: ".to_owned() + &"y".repeat(1 << 20) + "\r\n";
    vec![
        // Bodies without an end.
        row("an endless success", Reply::Endless(200), End::Delivered),
        row("an endless failure", Reply::Endless(500), again("answered 500: xxx")),
        row("ten gibibytes announced", raw("HTTP/1.1 500 x\r\ncontent-length: 10737418240\r\n\r\nxxx"), again("answered 500")),
        row("an endless chunk", raw("HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\nxxx"), End::Delivered),
        row("a chunk that is none", raw("HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), End::Delivered),
        // Reply events.
        row("a reply event", whole(200, reply_event, "{}"), End::Delivered),
        row("half a reply event", whole(200, "ce-specversion: 9.9\r\nce-id:\r\n", "{"), End::Delivered),
        row("a page", whole(200, "content-type: text/html\r\n", "<html>"), End::Delivered),
        // What asks for state to be kept.
        row("state to keep", whole(200, state, ""), End::Delivered),
        row("state to keep, refused", whole(401, state, ""), End::Dead(Reason::NotRetryable, "answered 401", &[])),
        // Heads.
        row("headers without an end", raw(&format!("HTTP/1.1 200 x\r\n{headers}")), again("message head")),
        row("a header without an end", raw(&format!("HTTP/1.1 200 x\r\n{long}")), again("message head")),
        row("a smuggled second answer", raw("HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\nHTTP/1.1 500 x\r\n\r\n"), End::Delivered),
        row("two lengths", raw("HTTP/1.1 200 x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx"), again("")),
        row("a status of two digits", raw("HTTP/1.1 99 x\r\n\r\n"), again("invalid HTTP status")),
        row("a switch of protocols", raw("HTTP/1.1 101 x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"), End::Dead(Reason::NotRetryable, "answered 101", &[])),
        row("HTTP/2 where HTTP/1 is spoken", raw("\0\0\x12\x04\0\0\0\0\0"), again("")),
        row("a drip", Reply::Drip(Duration::from_millis(20)), again("no answer within")),
        // Connections.
        row("a reset at once", Reply::Reset, again("connection")),
        row("an end at once", raw(""), again("connection closed")),
        row("nothing", Reply::Hang, again("no answer within")),
        // Texts.
        row("a text for terminals", whole(500, "", "a\x1b[31mred\x07\r\nset: b"), End::Dead(Reason::MaxAttempts, "a [31mred   set: b", &["\x1b", "\r", "\n", "\x07"])),
        row("a text with secrets", whole(500, "", "Authorization: Bearer abc.def token=t0k3n&x password: hunter2"),
            End::Dead(Reason::MaxAttempts, "Bearer …", &["abc.def", "t0k3n", "hunter2"])),
        row("a text that is none", Reply::Text(500, vec![0xff; 4096]), again("\u{fffd}")),
    ]
}

#[tokio::test]
async fn what_subscribers_send_back_and_the_good_delivery_after_it() {
    for Row { what, reply, end } in rows() {
        let target = Target::new(move |attempt| match attempt.id() {
            "bad" => reply.clone(),
            _ => Reply::Status(204),
        })
        .await;
        let mut world = World::new(&target.url, 1).await;
        world.retry(1, Duration::from_millis(10));
        world.processor.target.timeout = Duration::from_millis(700);
        world.publish("bad", None).await;
        let running = world.start();
        world.until_committed(1).await;
        let letters = world.letters().await;
        match end {
            End::Delivered => assert_eq!((running.delivered(), letters.len()), (1, 0), "{what}: {letters:?}"),
            End::Dead(reason, part, never) => {
                let (letter, _) = letters.first().unwrap_or_else(|| panic!("{what}: it was delivered"));
                let text = &letter.causes[0].text;
                assert_eq!(letter.reason, reason, "{what}: {text}");
                assert!(
                    text.contains(part) && !never.iter().any(|never| text.contains(never)),
                    "{what}: {text:?}"
                );
                assert!(text.len() < 1200, "{what}: {} bytes", text.len());
            }
        }
        let delivered = running.delivered();
        world.publish("good", None).await;
        until(what, || running.delivered() == delivered + 1).await;
        running.stop().await;
        let good = target.attempts().pop().unwrap();
        assert_eq!(
            (good.id(), good.header("cookie"), good.header("authorization")),
            ("good", "", ""),
            "{what}"
        );
    }
}
