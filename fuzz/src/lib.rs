//! Inputs that nobody would write, given to every parser that faces a stranger.
//!
//! A [`Target`] takes any bytes, shapes them as a stranger could send them, hands them to the product, and panics when what
//! comes back is not what is promised for every input: no panic, a refusal in known words, and what is accepted reads back
//! the same. libFuzzer finds the bytes: it watches which branches of our crates they reach (`src/main.rs`). What it found
//! worth keeping lies in `corpus/`, and the tests run over it without libFuzzer.
//!
//! - `targets`: one file each

mod targets;

/// One way in.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called on the command line, and its folder in `corpus/`.
    pub name: &'static str,
    /// What a stranger reaches there.
    pub about: &'static str,
    /// Gives it an input. Panics when a promise is broken.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "answer",
        about: "what a target answers: EvHub's JSON and Retry-After",
        run: targets::answer::run,
    },
    Target {
        name: "api",
        about: "requests of tools: queries, cursors, orders of replays",
        run: targets::api::run,
    },
    Target { name: "cel", about: "a filter's expression over an event's data", run: targets::cel::run },
    Target { name: "cron", about: "crontabs in every dialect, and time zones", run: targets::cron::run },
    Target {
        name: "dispatch",
        about: "what a target answers over gRPC: EvHub's message, or a status",
        run: targets::dispatch::run,
    },
    Target {
        name: "evhub",
        about: "EvHub v1's reports, as protobuf over gRPC and as JSON",
        run: targets::evhub::run,
    },
    Target {
        name: "grpc",
        about: "events as protobuf: evhub.ingest.v1.Ingest/Publish",
        run: targets::grpc::run,
    },
    Target {
        name: "http",
        about: "publishing: every content mode, controls, queries",
        run: targets::http::run,
    },
    Target {
        name: "journal",
        about: "what the log's files hold: records, notes, frames",
        run: targets::journal::run,
    },
    Target { name: "manifest", about: "a file of manifests, read and compiled", run: targets::manifest::run },
    Target { name: "record", about: "a record that a stranger wrote to a topic", run: targets::record::run },
    Target {
        name: "state",
        about: "parked deliveries, dead letters and commit metadata as the log gives them back",
        run: targets::state::run,
    },
    Target { name: "text", about: "durations, sizes, starts, types, tags", run: targets::text::run },
    Target {
        name: "trace",
        about: "a place in a trace: traceparent and tracestate",
        run: targets::trace::run,
    },
    CANARY,
];

/// A mistake on purpose: a harness that does not find it within seconds finds nothing.
pub const CANARY: Target =
    Target { name: "canary", about: "a planted mistake, which must be found", run: targets::canary::run };

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|target| target.name == name).copied()
}
