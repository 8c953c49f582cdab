//! The import table, as data: what each crate may use of ours, must never see, and must not mention in its source.
//!
//! Rows stand here for crates that are still to come, so that their rules are there the day they appear. A crate without
//! a row is a problem.

/// What of ours a crate's manifest may name.
pub(crate) enum Ours {
    /// These.
    Only(&'static [&'static str]),
    /// Everything but these.
    AllBut(&'static [&'static str]),
}

/// Whether tests and build scripts are held to [`Row::may_use`] too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tests {
    /// They are.
    Bound,
    /// They may use what they like.
    Free,
}

/// One crate's rules.
pub(crate) struct Row {
    /// The package.
    pub name: &'static str,
    /// What of ours its manifest may name.
    pub may_use: Ours,
    /// Whether its tests are bound as well.
    pub tests: Tests,
    /// Groups of packages that none of its normal dependencies may lead to.
    pub never: &'static [&'static [&'static str]],
}

/// Words that a folder's source must not hold, tests apart.
pub(crate) struct Mention {
    /// The folder.
    pub folder: &'static str,
    /// What may: a file, or everything whose path begins so.
    pub except: Option<&'static str>,
    /// The words.
    pub words: &'static [&'static str],
    /// Why not.
    pub reason: &'static str,
}

use Ours::{AllBut, Only};
use Tests::{Bound, Free};

const TOKIO: &[&str] = &["tokio"];
const TONIC: &[&str] = &["tonic"];
const RDKAFKA: &[&str] = &["rdkafka", "rdkafka-sys"];
/// Kubernetes altogether.
const KUBE: &[&str] = &["kube", "kube-core", "kube-derive", "kube-client", "kube-runtime", "k8s-openapi"];
/// What speaks to an API server; the rest of kube only describes.
const KUBE_CLIENT: &[&str] = &["kube-client", "kube-runtime"];
const ROUTING: &[&str] = &["evhub-routing"];
const CRDS: &[&str] = &["evhub-crds"];
const COMPILE: &[&str] = &["evhub-compile"];
/// What only a dataplane does.
const DELIVERY: &[&str] = &["evhub-journal", "evhub-dispatch", "evhub-ledger"];

/// Every crate's row.
pub(crate) const ROWS: &[Row] = &[
    row("evhub-crds", Only(&[]), Free, &[KUBE_CLIENT, TOKIO, ROUTING, RDKAFKA]),
    row("evhub-messages", Only(&[]), Free, &[TOKIO, TONIC, KUBE, RDKAFKA]),
    row("evhub-proto", Only(&["evhub-messages"]), Free, &[KUBE, RDKAFKA]),
    row("evhub-event", Only(&[]), Free, &[TOKIO, KUBE, RDKAFKA]),
    row(
        "evhub-routing",
        Only(&["evhub-cron", "evhub-event", "evhub-messages"]),
        Free,
        &[TOKIO, TONIC, KUBE, RDKAFKA, CRDS],
    ),
    row(
        "evhub-compile",
        Only(&["evhub-crds", "evhub-cron", "evhub-routing"]),
        Free,
        &[TOKIO, KUBE_CLIENT, TONIC, RDKAFKA],
    ),
    row(
        "evhub-journal",
        Only(&["evhub-event", "evhub-backoff"]),
        Free,
        &[KUBE, TONIC, ROUTING, CRDS, RDKAFKA],
    ),
    row(
        "evhub-kafka",
        Only(&["evhub-event", "evhub-backoff", "evhub-journal"]),
        Free,
        &[KUBE, TONIC, ROUTING, CRDS],
    ),
    row(
        "evhub-dispatch",
        Only(&[
            "evhub-event",
            "evhub-routing",
            "evhub-journal",
            "evhub-proto",
            "evhub-backoff",
            "evhub-telemetry",
        ]),
        Free,
        &[KUBE, CRDS, RDKAFKA],
    ),
    row(
        "evhub-ledger",
        Only(&["evhub-event", "evhub-routing", "evhub-journal", "evhub-backoff", "evhub-cron"]),
        Free,
        &[KUBE, CRDS, RDKAFKA],
    ),
    row(
        "evhub-dataplane",
        Only(&[
            "evhub-certificates",
            "evhub-cron",
            "evhub-event",
            "evhub-routing",
            "evhub-journal",
            "evhub-dispatch",
            "evhub-ledger",
            "evhub-proto",
            "evhub-lease",
            "evhub-lifecycle",
            "evhub-backoff",
            "evhub-telemetry",
        ]),
        Free,
        &[CRDS, COMPILE, RDKAFKA],
    ),
    row(
        "evhub-dataplane-bin",
        Only(&["evhub-dataplane", "evhub-kafka", "evhub-lifecycle", "evhub-telemetry"]),
        Free,
        &[CRDS, COMPILE],
    ),
    row(
        "evhub-control",
        Only(&[
            "evhub-certificates",
            "evhub-compile",
            "evhub-routing",
            "evhub-proto",
            "evhub-lease",
            "evhub-lifecycle",
            "evhub-backoff",
        ]),
        Free,
        &[KUBE_CLIENT, DELIVERY, RDKAFKA],
    ),
    row(
        "evhub-operator",
        Only(&[
            "evhub-crds",
            "evhub-compile",
            "evhub-control",
            "evhub-routing",
            "evhub-proto",
            "evhub-lease",
            "evhub-lifecycle",
            "evhub-backoff",
            "evhub-telemetry",
        ]),
        Free,
        &[DELIVERY, RDKAFKA],
    ),
    row(
        "evhub",
        AllBut(&[
            "evhub-kafka",
            "evhub-bench",
            "evhub-brokers",
            "evhub-charts",
            "evhub-cluster",
            "evhub-e2e",
            "evhub-fuzz",
            "evhub-lease",
            "evhub-operator",
            "xtask",
        ]),
        Free,
        &[RDKAFKA],
    ),
    row("evhub-lease", Only(&[]), Free, &[RDKAFKA]),
    row("evhub-lifecycle", Only(&[]), Free, &[KUBE, RDKAFKA]),
    row("evhub-certificates", Only(&["evhub-lifecycle"]), Free, &[KUBE, RDKAFKA]),
    row("evhub-backoff", Only(&[]), Free, &[TOKIO, KUBE, RDKAFKA]),
    row("evhub-cron", Only(&[]), Free, &[TOKIO, KUBE, RDKAFKA]),
    row("evhub-telemetry", Only(&[]), Free, &[KUBE, RDKAFKA]),
    // Renders the chart, of whose meaning it knows nothing.
    row("evhub-charts", Only(&["evhub-cluster"]), Bound, &[TOKIO, KUBE, RDKAFKA]),
    // Measures whatever it likes; nothing may use it.
    row("evhub-bench", AllBut(&["evhub-charts", "evhub-e2e", "evhub-fuzz", "xtask"]), Free, &[]),
    // Drives whatever parses; nothing may use it.
    row("evhub-fuzz", AllBut(&["evhub-bench", "evhub-charts", "evhub-e2e", "xtask"]), Free, &[]),
    // The checker judges the product, so it shares no code with it, not even in its own tests.
    row("evhub-e2e", Only(&["evhub-brokers"]), Bound, &[]),
    // Runs the real thing, of which it knows nothing but its command line.
    row("evhub-brokers", Only(&[]), Bound, &[TOKIO, KUBE, RDKAFKA]),
    row("evhub-cluster", Only(&[]), Bound, &[TOKIO, KUBE, RDKAFKA]),
    row("xtask", Only(&["evhub-brokers", "evhub-cluster"]), Bound, &[TOKIO, KUBE, RDKAFKA]),
];

/// Every rule about words in source.
pub(crate) const MENTIONS: &[Mention] = &[
    Mention {
        folder: "operator/compile/src/",
        except: None,
        words: &[
            "SystemTime",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
            "std::env",
            "std::fs",
            "rand::",
            "new_v4",
            "now_v7",
        ],
        reason: "compile is pure: no clocks, no environment, no files, no randomness",
    },
    Mention {
        folder: "dataplane/routing/src/",
        except: Some("dataplane/routing/src/wire"),
        words: &["evhub_proto", "evhub_messages"],
        reason: "only wire knows the wire's messages",
    },
    Mention {
        folder: "dataplane/dispatch/src/",
        except: None,
        words: &["journal::embedded", "Embedded"],
        reason: "dispatch knows the log by its traits",
    },
    Mention {
        folder: "dataplane/ledger/src/",
        except: None,
        words: &["journal::embedded", "Embedded"],
        reason: "the ledger knows the log by its traits",
    },
    Mention {
        folder: "dataplane/src/",
        except: None,
        words: &["journal::embedded", "Embedded"],
        reason: "the dataplane knows the log by its traits",
    },
];

const fn row(
    name: &'static str,
    may_use: Ours,
    tests: Tests,
    never: &'static [&'static [&'static str]],
) -> Row {
    Row { name, may_use, tests, never }
}
