//! Half messages: what becomes of one whose publisher does not come back to decide.

#![expect(unreachable_pub, reason = "the derive repeats each type inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Duration,
    processor::{self, Service},
    rules::{self, Violation},
};

/// Half messages of a Producer: events that are prepared, and published when their publisher says so.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    /// Who is asked about a half message that nobody decided on.
    pub check_back: CheckBack,
}

/// Who is asked, how often, and what if there is no answer.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckBack {
    /// Where the question goes.
    pub target: Target,
    /// How long after it was prepared a half message is first asked about, and how long it is waited before the next time at the
    /// least, between 1s and 24h.
    #[serde(default = "default_interval")]
    #[x_kube(validation = rules::duration(rules::CHECK_INTERVAL))]
    pub interval: Duration,
    /// How often is asked.
    #[serde(default = "default_max_checks")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_checks: u32,
    /// What becomes of a half message when all questions are used up. `Rollback`: it is dropped. `Commit`: it is published.
    /// `Hold`: it stays, and is listed until somebody decides.
    #[serde(default)]
    pub on_exhausted: Undecided,
}

/// Where a question goes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::one_target())]
pub struct Target {
    /// A Service of the Producer's own namespace. Either this or `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// An absolute `http` or `https` URL, only where the administrator allows it. Either this or `service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = processor::URL_PATTERN), extend("example" = "http://127.0.0.1:8089/check"))]
    pub url: Option<String>,
    /// How it is asked. `CloudEvents`: the prepared event, as it would be delivered; the answer is `{"state":"Committed"}`,
    /// `RolledBack` or `Unknown`. `EvHubHTTP` and `EvHubHTTPProtobuf`: EvHub's callback, as JSON or as protobuf. `EvHubGRPC`: the
    /// same as a gRPC call.
    #[serde(default)]
    pub protocol: Protocol,
    /// How long one question may take, between 1ms and 10m.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = rules::duration(rules::TIMEOUT))]
    pub timeout: Duration,
}

/// How a publisher is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// The event over HTTP.
    #[default]
    CloudEvents,
    /// EvHub's callback as JSON.
    #[serde(rename = "EvHubHTTP")]
    EvHubHttp,
    /// EvHub's callback as protobuf over HTTP.
    #[serde(rename = "EvHubHTTPProtobuf")]
    EvHubHttpProtobuf,
    /// EvHub's callback over gRPC.
    #[serde(rename = "EvHubGRPC")]
    EvHubGrpc,
}

/// What becomes of a half message that nobody decides on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Undecided {
    /// It is dropped.
    #[default]
    Rollback,
    /// It is published.
    Commit,
    /// It stays.
    Hold,
}

// === impl Transaction ===

impl Transaction {
    /// The rules that it breaks by itself.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        let CheckBack { target, interval, .. } = &self.check_back;
        let places = (target.service.is_some() == target.url.is_some()).then(|| Violation {
            field: "transaction.checkBack.target".into(),
            message: rules::ONE_TARGET.into(),
        });
        let amounts = [
            rules::CHECK_INTERVAL.check("transaction.checkBack.interval", *interval),
            rules::TIMEOUT.check("transaction.checkBack.target.timeout", target.timeout),
        ];
        amounts.into_iter().flatten().chain(places).collect()
    }
}

fn default_interval() -> Duration {
    Duration::from_secs(120)
}

fn default_max_checks() -> u32 {
    15
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}
