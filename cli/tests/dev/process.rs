//! A running `evhub`, killed when it goes out of scope, and what it says. Starts processes.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Far beyond what anything here takes: whoever waits so long has found a defect, or a machine that stands still.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A process whose every line can be waited for.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    /// All that was said so far, for whoever reads why a test failed.
    said: Vec<String>,
}

/// The tool under test, in an environment that says nothing to it.
pub(crate) fn evhub() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evhub"));
    command.env_remove("EVHUB_SERVER").env_remove("EVHUB_LOG").env_remove("RUST_BACKTRACE");
    command
}

/// Runs a verb to its end, which must be this one.
#[track_caller]
pub(crate) fn exits(code: i32, command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{}{}", out(&output), err(&output));
    output
}

/// Runs a verb that prints JSON and succeeds.
#[track_caller]
pub(crate) fn json(command: &mut Command) -> Value {
    let output = exits(0, command);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", out(&output)))
}

pub(crate) fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Asks again until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "not after {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

// === impl Process ===

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let (sender, lines) = channel();
        pass_on(child.stdout.take().unwrap(), sender.clone());
        pass_on(child.stderr.take().unwrap(), sender);
        Self { child, lines, said: Vec::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that is looked for.
    #[track_caller]
    pub(crate) fn line(&mut self, looked_for: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("it never said what is waited for, but:\n{}", self.said.join("\n"))
            };
            self.said.push(line.clone());
            if looked_for(&line) {
                return line;
            }
        }
    }

    /// The next log line with this message.
    #[track_caller]
    pub(crate) fn logs(&mut self, message: &str) -> Value {
        let line = self.line(|line| message_of(line).as_deref() == Some(message));
        serde_json::from_str(&line).unwrap()
    }

    /// Everything that was read so far.
    pub(crate) fn said(&self) -> &[String] {
        &self.said
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits until it has ended by itself; its exit code and all that it said.
    #[track_caller]
    pub(crate) fn ended(mut self) -> (Option<i32>, Vec<String>) {
        let status = eventually("the process ends", || self.child.try_wait().unwrap());
        let mut said = std::mem::take(&mut self.said);
        said.extend(self.lines.iter());
        (status.code(), said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone when the test ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pass_on(stream: impl Read + Send + 'static, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
}

fn message_of(line: &str) -> Option<String> {
    serde_json::from_str::<Value>(line).ok()?["message"].as_str().map(ToOwned::to_owned)
}
