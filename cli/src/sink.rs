//! `evhub sink`: a receiver to try deliveries against, that shows what it gets and fails when asked to.

mod grpc;
mod record;
mod server;

use std::{
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context as _;
use evhub_lifecycle::Trigger;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use self::record::Recorder;
pub(crate) use self::server::{Answer, Attempt, Sink};
use crate::{
    exit::Exit,
    output::{self, or_dash, printable},
    style::{Style, Tone},
};

/// Longer delays outlast every time-out and only look like a hang.
const LONGEST_DELAY: SignedDuration = SignedDuration::from_hours(1);

/// Receive deliveries, show each attempt, and fail when asked to
///
/// Over HTTP, and on the same port over gRPC: EvHub's Dispatch, and evhub's own stream of deliveries (what
/// `target.protocol` calls `EvHubGRPC` and `Stream`).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  evhub sink                                  take everything on port 8089\n  \
    evhub sink --fail 0.2 --delay 5ms           fail a fifth of the attempts, slowly\n  \
    evhub sink --status 500 --record seen.jsonl refuse everything and write it down"
)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT", value_parser = evhub_dataplane::process::address::parse, default_value = "127.0.0.1:8089")]
    listen: String,
    /// Which share of the attempts fails, from 0 to 1 [default: 0, or 1 with --status]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    fail: Option<f64>,
    /// How long to take for every answer
    #[arg(long, value_name = "DURATION", value_parser = delay, default_value = "0s")]
    delay: Duration,
    /// What a failing attempt is answered [default: 503]
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<StatusCode>,
    /// Write every attempt to this file too, one JSON object a line
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Receives until told to stop.
pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let (trigger, drain) = evhub_lifecycle::channel();
    tokio::spawn(evhub_lifecycle::signals(trigger.clone()));
    let recorder = args.record.as_deref().map(Recorder::append).transpose()?;
    let report = Report { recorder, style: Style::stdout(), trigger, trouble: Mutex::new(None) };
    let report = std::sync::Arc::new(report);
    let (chance, reporter) = (Chance::new(&args), std::sync::Arc::clone(&report));
    let sink = Sink::bind(&args.listen, move |attempt| reporter.note(attempt, chance.decide()))
        .await
        .with_context(|| format!("could not listen on {}", args.listen))?;
    eprintln!("listening on http://{}; ctrl-c ends it", sink.address()?);
    sink.serve(drain).await;
    match report.trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(trouble) => Err(trouble),
        None => Ok(Exit::Success),
    }
}

/// Decides by chance.
struct Chance {
    fail: f64,
    status: StatusCode,
    delay: Duration,
    random: RandomState,
    drawn: AtomicU64,
}

/// Shows and writes down every attempt before it is answered, so that nothing answered is missing.
struct Report {
    recorder: Option<Recorder>,
    style: Style,
    trigger: Trigger,
    trouble: Mutex<Option<anyhow::Error>>,
}

impl Chance {
    fn new(args: &Args) -> Self {
        let fail = args.fail.unwrap_or(if args.status.is_some() { 1.0 } else { 0.0 });
        let status = args.status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Self { fail, status, delay: args.delay, random: RandomState::new(), drawn: AtomicU64::new(0) }
    }

    fn decide(&self) -> Answer {
        // A keyed hash of a counter is as random as a test receiver needs; its top 53 bits fill a float exactly.
        let bits = self.random.hash_one(self.drawn.fetch_add(1, Relaxed)) >> 11;
        let draw = bits as f64 / (1_u64 << 53) as f64;
        let status = if draw < self.fail { self.status } else { StatusCode::OK };
        Answer { status, delay: self.delay }
    }
}

impl Report {
    fn note(&self, attempt: &Attempt, answer: Answer) -> Answer {
        let written =
            self.recorder.as_ref().map_or(Ok(()), |recorder| recorder.write(attempt, answer.status));
        match written.and_then(|()| output::text(&line(attempt, answer.status, self.style))) {
            Ok(()) => answer,
            Err(error) => {
                self.trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                self.trigger.begin();
                Answer::now(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// One attempt in one line: when, for whom, key, event, which attempt, and the answer.
pub(crate) fn line(attempt: &Attempt, status: StatusCode, style: Style) -> String {
    let tone = if status.is_success() { Tone::Good } else { Tone::Bad };
    format!(
        "{}  {}  key {}  {}  attempt {}  {}\n",
        style.paint(Tone::Faint, &clock(attempt.time)),
        printable(&or_dash(attempt.processor())),
        printable(&or_dash(attempt.key())),
        printable(&or_dash(attempt.event_id())),
        or_dash(attempt.number()),
        style.paint(tone, status.as_str()),
    )
}

/// The time of day here.
fn clock(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or("a share is between 0 and 1, as in 0.2")
}

fn status(text: &str) -> Result<StatusCode, &'static str> {
    let status = text.parse::<StatusCode>().ok().filter(|status| (200..=599).contains(&status.as_u16()));
    status.ok_or("a status is between 200 and 599, as in 503")
}

fn delay(text: &str) -> Result<Duration, &'static str> {
    let delay = text.parse::<SignedDuration>().ok().filter(|delay| *delay <= LONGEST_DELAY);
    delay.and_then(|delay| delay.try_into().ok()).ok_or("a delay is between 0s and 1h, as in 5ms or 1m30s")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use clap::Parser;
    use http::HeaderMap;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &[&str]) -> Option<Args> {
        Line::try_parse_from([&["sink"], line].concat()).ok().map(|line| line.args)
    }

    #[track_caller]
    fn decides(line: &[&str], statuses: &[u16]) {
        let chance = Chance::new(&parse(line).unwrap());
        let mut seen: Vec<_> = (0..1000).map(|_| chance.decide().status.as_u16()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, statuses);
    }

    #[test]
    fn a_status_alone_answers_everything() {
        decides(&[], &[200]);
        decides(&["--status", "404"], &[404]);
        decides(&["--fail", "1"], &[503]);
        decides(&["--fail", "0.5", "--status", "500"], &[200, 500]);
        decides(&["--fail", "0", "--status", "500"], &[200]);
    }

    #[test]
    fn a_share_of_a_fifth_is_about_a_fifth() {
        let chance = Chance::new(&parse(&["--fail", "0.2"]).unwrap());
        let failed = (0..10_000).filter(|_| !chance.decide().status.is_success()).count();
        // Twelve standard deviations: never, in a lifetime of runs.
        assert!((1500..2500).contains(&failed), "{failed}");
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            ["--fail", "1.1"],
            ["--fail", "NaN"],
            ["--delay", "5"],
            ["--delay", "-1s"],
            ["--delay", "2h"],
            ["--status", "99"],
            ["--status", "600"],
            ["--listen", "8089"],
            ["--listen", "a:99999"],
        ] {
            assert!(parse(&line).is_none(), "{line:?}");
        }
        assert_eq!(parse(&["--delay", "1m30s"]).unwrap().delay, Duration::from_secs(90));
    }

    #[test]
    fn a_line_says_who_what_and_how_often() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("evhub-processor", "shop/billing"), ("evhub-attempt", "2"), ("ce-id", "caf%C3%A9")]
        {
            headers.insert(name, value.parse().unwrap());
        }
        let attempt =
            Attempt { time: Timestamp::UNIX_EPOCH, path: "/".to_owned(), headers, body: Bytes::new() };
        let line = line(&attempt, StatusCode::SERVICE_UNAVAILABLE, Style::none());
        let (_, rest) = line.split_once("  ").unwrap();
        assert_eq!(rest, "shop/billing  key -  café  attempt 2  503\n");
    }
}
