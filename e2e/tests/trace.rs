//! The reader of system-call traces: what it accepts, and every way in which it must not be fooled.

#![allow(missing_docs)]

use evhub_e2e::trace::prove;

const DATA: &str = "/tmp/x/data";

/// Two requests that share one sync; the second's write was interrupted.
const GOOD: &str = r#"11 1.000001 recvfrom(9<socket:[5]>, "POST /e HTTP/1.1\r\nce-id: s-1001\r\nce-type: t\r\n\r\n", 8192, 0, NULL, NULL) = 70
12 1.000002 recvfrom(10<socket:[6]>,  <unfinished ...>
11 1.000003 write(7</tmp/x/data/journal/0>, "\0\0ce_ids-1001\1", 14) = 14
12 1.000004 <... recvfrom resumed>"POST /e HTTP/1.1\r\nce-id: s-1002\r\n\r\n", 8192, 0, NULL, NULL) = 60
12 1.000005 write(7</tmp/x/data/journal/0>, "\0\0ce_ids-1002\1", 14 <unfinished ...>
11 1.000006 --- SIGCHLD {si_signo=SIGCHLD} ---
12 1.000007 <... write resumed>)          = 14
13 1.000008 fdatasync(7</tmp/x/data/journal/0> <unfinished ...>
13 1.000009 <... fdatasync resumed>)      = 0
11 1.000010 sendto(9<socket:[5]>, "HTTP/1.1 202 Accepted\r\n\r\n{\"id\":\"s-1001\"}", 40, MSG_NOSIGNAL, NULL, 0) = 40
12 1.000011 writev(10<socket:[6]>, [{iov_base="HTTP/1.1 202 Accepted\r\n\r\n", iov_len=25}, {iov_base="{\"id\":\"s-1002\"}", iov_len=15}], 2) = 40
11 1.000012 +++ exited with 0 +++
"#;

#[track_caller]
fn refuses(doctored: &str, why: &str) {
    assert_ne!(doctored, GOOD, "nothing was doctored");
    let found = prove(doctored, DATA).expect_err("the doctored trace was believed");
    assert!(found.contains(why), "{found}");
}

/// The trace with this line moved to another place.
fn moved(from: usize, to: usize) -> String {
    let mut lines: Vec<_> = GOOD.lines().collect();
    let line = lines.remove(from);
    lines.insert(to, line);
    lines.join("\n")
}

#[test]
fn a_good_trace_is_believed() {
    let proof = prove(GOOD, DATA).expect("it is good");
    assert_eq!(proof.acked, ["s-1001", "s-1002"]);
    assert_eq!(proof.syncs, 1);
}

#[test]
fn no_sync() {
    let doctored: Vec<_> = GOOD.lines().filter(|line| !line.contains("fdatasync")).collect();
    refuses(&doctored.join("\n"), "was not synced");
}

#[test]
fn a_sync_that_failed() {
    refuses(
        &GOOD.replace("resumed>)      = 0", "resumed>)      = -1 EIO (Input/output error)"),
        "was not synced",
    );
}

#[test]
fn a_sync_of_another_file() {
    refuses(
        &GOOD.replace("fdatasync(7</tmp/x/data/journal/0>", "fdatasync(8</tmp/x/data/journal/1>"),
        "was not synced",
    );
}

#[test]
fn a_sync_outside_the_data() {
    refuses(&GOOD.replace("fdatasync(7</tmp/x/data/", "fdatasync(7</tmp/y/data/"), "was not synced");
}

#[test]
fn an_acknowledgement_before_the_sync_was_over() {
    refuses(&moved(9, 8), "s-1001 was acknowledged");
}

#[test]
fn a_sync_that_began_before_the_write_was_over() {
    refuses(&moved(7, 6), "s-1002 was acknowledged");
}

#[test]
fn an_acknowledgement_without_a_write() {
    refuses(&GOOD.replace("ce_ids-1002", "ce_ids-9999"), "no write before holds it");
}

#[test]
fn a_write_before_the_request() {
    refuses(&moved(2, 0), "no write before holds it");
}

#[test]
fn an_acknowledgement_without_a_request() {
    refuses(&GOOD.replace("ce-id: s-1001", "ce-no: s-1001"), "without a request");
}

#[test]
fn an_acknowledgement_that_was_cut_off_counts() {
    let cut =
        GOOD.replace("\", 40, MSG_NOSIGNAL, NULL, 0) = 40", "\", 40, MSG_NOSIGNAL, NULL, 0 <unfinished ...>");
    assert_eq!(prove(&cut, DATA).map(|proof| proof.acked.len()), Ok(2));
    let early = cut.lines().filter(|line| !line.contains("fdatasync")).collect::<Vec<_>>().join("\n");
    refuses(&early, "was not synced");
}

#[test]
fn what_is_no_trace() {
    for line in ["hello", "11 1.0 what is this", "x 1.0 fsync(3</a>) = 0", "11 1.0 <... fsync resumed>) = 0"]
    {
        refuses(&format!("{GOOD}{line}\n"), "is no line of a trace");
    }
}
