//! What SIGTERM and SIGINT do: the first begins the drain, the second ends the process. Does I/O: it handles signals,
//! writes one line to standard error and exits.

use std::{
    io::{self, Write},
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Trigger;

/// A signal that comes again this soon is the first one's echo: terminals and tools such as `timeout` send it to a process
/// and to its group. Nobody who wants to abort is that quick.
const ECHO: Duration = Duration::from_millis(100);

/// Begins the drain at the first SIGTERM or SIGINT; at the second ends the process, at once and without any clean-up,
/// with the exit code that a shell gives to a process killed by that signal. The first one's echo does not count as a
/// second. Never returns by itself; spawn it.
///
/// The signals are handled from this call on, not only once the future is polled, so that none that comes during start-up
/// ends the process in the old way.
///
/// # Panics
///
/// Outside of a tokio runtime with its signal driver.
pub fn signals(trigger: Trigger) -> impl Future<Output = ()> + Send + 'static {
    let mut terminate = handle(SignalKind::terminate());
    let mut interrupt = handle(SignalKind::interrupt());
    async move {
        let first = next(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = first.name(), "draining; a second signal ends the process at once");
        trigger.begin();
        let echo = tokio::time::sleep(ECHO);
        let second = async {
            loop {
                match next(&mut terminate, &mut interrupt).await {
                    again if again == first => {}
                    other => return other,
                }
            }
        };
        tokio::select! {
            second = second => abort(second),
            () = echo => {}
        }
        abort(next(&mut terminate, &mut interrupt).await);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Terminate,
    Interrupt,
}

impl Ending {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }

    /// 128 and the signal's number, as shells say it.
    fn exit_code(self) -> i32 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
        }
    }
}

fn handle(kind: SignalKind) -> Signal {
    signal(kind).expect("the kernel lets every process handle SIGTERM and SIGINT")
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> Ending {
    tokio::select! {
        _ = terminate.recv() => Ending::Terminate,
        _ = interrupt.recv() => Ending::Interrupt,
    }
}

fn abort(by: Ending) -> ! {
    // Written plainly, because `eprintln!` panics when nobody reads standard error any more.
    let _ = writeln!(io::stderr(), "{} while draining: aborted", by.name());
    std::process::exit(by.exit_code());
}
