//! Whether a system-call trace shows an acknowledgement that left before its event was on the disk. Pure.
//!
//! The trace is that of `strace -f -y -ttt -o FILE`. One tracer sees every thread, and writes a call's begin before the
//! kernel acts and its end after; so if a sync's end stands above a send's begin, the sync was over before the send began.
//! Each acknowledgement must have, in this order: its request read to the end; a write to a file of the data folder that
//! holds the event's id; a sync of that very file, begun after that write had ended, and ended with success; the send.

use std::collections::HashMap;

/// What a trace proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// The ids acknowledged, in the order of their acknowledgement.
    pub acked: Vec<String>,
    /// Syncs that covered an acknowledgement. Fewer than `acked` when several shared one.
    pub syncs: usize,
}

/// What the kernel was asked.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    /// Everything between the parentheses.
    args: String,
    /// What it returned; `None` if it never did.
    result: Option<i64>,
    /// The lines on which it began and ended.
    begin: usize,
    end: usize,
}

impl Call {
    /// What the first argument, a descriptor, stands for.
    fn file(&self) -> Option<&str> {
        let (number, rest) = self.args.split_once('<')?;
        let file =
            number.bytes().all(|byte| byte.is_ascii_digit()).then(|| rest.split('>').next()).flatten()?;
        (!number.is_empty()).then_some(file)
    }

    fn name_is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    fn is(&self, names: &[&str]) -> bool {
        self.name_is(names) && self.result.is_some_and(|result| result >= 0)
    }
}

const READS: [&str; 4] = ["read", "readv", "recvfrom", "recvmsg"];
const SENDS: [&str; 4] = ["write", "writev", "sendto", "sendmsg"];
const WRITES: [&str; 5] = ["write", "writev", "pwrite64", "pwritev", "pwritev2"];
const SYNCS: [&str; 2] = ["fsync", "fdatasync"];

/// Holds each acknowledgement of a trace against the rule. `data` is the hub's data folder. An error names the first
/// acknowledgement that came too early, or the line that could not be read.
pub fn prove(trace: &str, data: &str) -> Result<Proof, String> {
    let calls = calls(trace)?;
    let in_data = |call: &&Call| call.file().is_some_and(|file| file.starts_with(data));
    let writes: Vec<_> = calls.iter().filter(|call| call.is(&WRITES)).filter(in_data).collect();
    let syncs: Vec<_> = calls.iter().filter(|call| call.name_is(&SYNCS)).filter(in_data).collect();
    let mut asked: HashMap<&str, (&str, usize)> = HashMap::new();
    let mut proof = Proof::default();
    let mut used = Vec::new();
    for call in &calls {
        let Some(socket) = call.file() else { continue };
        if call.is(&READS)
            && let Some(id) = between(&call.args, "ce-id: ", "\\r")
        {
            asked.insert(socket, (id, call.end));
        }
        if call.name_is(&SENDS) && call.args.contains("\"HTTP/1.1 202 ") {
            let (id, read) = asked
                .remove(socket)
                .ok_or_else(|| format!("line {}: a 202 without a request", call.begin))?;
            used.push(covering(id, read, call.begin, &writes, &syncs)?);
            proof.acked.push(id.to_owned());
        }
    }
    used.sort_unstable();
    used.dedup();
    proof.syncs = used.len();
    Ok(proof)
}

/// The line of the sync that was over before the acknowledgement at `ack` and begun after the event was written.
fn covering(id: &str, read: usize, ack: usize, writes: &[&Call], syncs: &[&Call]) -> Result<usize, String> {
    let holds = |write: &&&Call| write.begin > read && write.end < ack && write.args.contains(id);
    let mut found = Err(format!("line {ack}: {id} was acknowledged, but no write before holds it"));
    for write in writes.iter().filter(holds) {
        let covers = |sync: &&&Call| {
            let over = sync.result == Some(0) && sync.begin > write.end && sync.end < ack;
            over && sync.file() == write.file()
        };
        if let Some(sync) = syncs.iter().find(covers) {
            return Ok(sync.begin);
        }
        found = Err(format!(
            "line {ack}: {id} was acknowledged, but its write on line {} was not synced",
            write.begin
        ));
    }
    found
}

/// Every call of the trace, in the order of their ends.
fn calls(trace: &str) -> Result<Vec<Call>, String> {
    let mut open: HashMap<&str, Call> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let wrong = || format!("line {at} is no line of a trace: {line:.120}");
        let (thread, rest) = line.trim_start().split_once(' ').ok_or_else(wrong)?;
        let (_, said) = rest.trim_start().split_once(' ').ok_or_else(wrong)?;
        let numeric = !thread.is_empty() && thread.bytes().all(|byte| byte.is_ascii_digit());
        if !numeric {
            return Err(wrong());
        }
        if said.starts_with("+++ ") || said.starts_with("--- ") {
            continue;
        }
        if let Some(resumed) = said.strip_prefix("<... ") {
            let (name, tail) = resumed.split_once(" resumed>").ok_or_else(wrong)?;
            let mut call = open.remove(thread).filter(|call| call.name == name).ok_or_else(wrong)?;
            let (args, result) = ending(tail).ok_or_else(wrong)?;
            call.args.push_str(args);
            calls.push(Call { result, end: at, ..call });
        } else {
            let (name, tail) = said.split_once('(').ok_or_else(wrong)?;
            let call = Call { name: name.to_owned(), args: String::new(), result: None, begin: at, end: at };
            if let Some(args) = tail.strip_suffix("<unfinished ...>") {
                open.insert(thread, Call { args: args.trim_end().to_owned(), ..call });
            } else {
                let (args, result) = ending(tail).ok_or_else(wrong)?;
                calls.push(Call { args: args.to_owned(), result, ..call });
            }
        }
    }
    // What never ended began all the same: an acknowledgement cut off by a kill may have left.
    calls.extend(open.into_values().map(|call| Call { end: usize::MAX, ..call }));
    calls.sort_by_key(|call| call.end);
    Ok(calls)
}

/// The arguments before the closing parenthesis, and the result behind it.
fn ending(tail: &str) -> Option<(&str, Option<i64>)> {
    let close = tail.rfind(") = ").map(|at| (at, 4)).or_else(|| {
        // Short calls are padded before the equals sign.
        let at = tail.rfind(" = ")?;
        let close = tail[..at].trim_end().rfind(')')?;
        tail[close + 1..at].trim().is_empty().then_some((close, at + 3 - close))
    })?;
    let result = tail[close.0 + close.1..].split(' ').next()?;
    let result = if result == "?" { None } else { Some(result.parse().ok()?) };
    Some((&tail[..close.0], result))
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}
