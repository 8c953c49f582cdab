//! Logs, on standard error: JSON for machines, lines for a terminal. `EVHUB_LOG` says which.

use std::{env, ffi::OsString, fmt, io, io::IsTerminal};

use jiff::Zoned;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::{format::Writer, time::FormatTime},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Longer filters are garbage; nobody types 4 KiB.
const LONGEST: usize = 4096;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts logging for the whole process; `quiet` leaves out what only informs, unless `EVHUB_LOG` asks for it.
pub fn init(quiet: bool) {
    let chosen = env::var_os("EVHUB_LOG").map_or(Ok(None), filter);
    let warn = chosen.is_err();
    let filter = chosen.unwrap_or(None).unwrap_or_else(|| fallback(quiet));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    if io::stderr().is_terminal() {
        let layer = layer.with_ansi(colours()).with_target(false).with_timer(Clock);
        registry.with(layer).init();
    } else {
        registry.with(layer.json().flatten_event(true)).init();
    }
    if warn {
        tracing::warn!(
            allowed = "LEVEL or target=LEVEL, with commas between; levels: off error warn info debug trace",
            "EVHUB_LOG makes no sense, logging at info"
        );
    }
}

/// Whether the environment lets us use colours at all.
pub fn colours() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// The time of day here: who looks on knows the date, and no place in the code is of interest to them.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", Zoned::now().strftime("%H:%M:%S%.3f"))
    }
}

#[derive(Debug, PartialEq)]
struct Garbage;

fn fallback(quiet: bool) -> Targets {
    Targets::new().with_default(if quiet { LevelFilter::WARN } else { LevelFilter::INFO })
}

/// Stricter than the library, which takes any word for a target whose events are all wanted.
fn filter(text: OsString) -> Result<Option<Targets>, Garbage> {
    let text = text.into_string().map_err(|_| Garbage)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let known = |level: &str| LEVELS.contains(&level.to_ascii_lowercase().as_str());
    let sound = |part: &str| known(part.rsplit_once('=').map_or(part, |(_, level)| level));
    if text.len() > LONGEST || !text.split(',').all(|part| sound(part.trim())) {
        return Err(Garbage);
    }
    text.parse().map(Some).map_err(|_| Garbage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_understood() {
        let targets = filter("warn,evhub_dispatch=debug".into()).unwrap().unwrap();
        assert!(targets.would_enable("evhub_dispatch::worker", &tracing::Level::DEBUG));
        assert!(!targets.would_enable("evhub_journal", &tracing::Level::INFO));
    }

    #[test]
    fn without_a_filter_only_the_quiet_leave_out_what_informs() {
        assert_eq!(filter(" ".into()), Ok(None));
        assert!(fallback(false).would_enable("any", &tracing::Level::INFO));
        assert!(!fallback(true).would_enable("any", &tracing::Level::INFO));
        assert!(fallback(true).would_enable("any", &tracing::Level::WARN));
    }

    #[test]
    fn garbage_is_noticed() {
        for text in ["verbose", "evhub=loud", ",,", "info,", "=", &"info,".repeat(1_000_000)] {
            assert_eq!(filter(text.into()).err(), Some(Garbage), "{text:.40}");
        }
    }
}
