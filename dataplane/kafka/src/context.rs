//! What a client tells of itself. Its log becomes ours, and what keeps it from its brokers is remembered.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tracing::{debug, error, info, warn};

use crate::trouble::Trouble;

/// How a client says that another one has its transactional id.
const FENCED: &str = "fenced by a newer instance";

/// The context of a client that has no callbacks of its own.
#[derive(Debug, Default)]
pub(crate) struct Context {
    trouble: Mutex<Option<Trouble>>,
    /// How often a broker could not be reached, or did not answer in time.
    silences: AtomicU64,
    /// Counts callbacks: whether a poll did anything shows by nothing else.
    calls: AtomicU64,
}

impl Context {
    /// What last kept this client from its brokers.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A broker has answered: whatever was the trouble is no more.
    pub(crate) fn is_well(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How often a broker was silent so far: an answer that came after one may be to a question that was asked twice.
    pub(crate) fn silences(&self) -> u64 {
        self.silences.load(Relaxed)
    }

    /// How many callbacks there were.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// There was a callback.
    pub(crate) fn called(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    /// Notes an error that the client goes on after.
    pub(crate) fn note(&self, error: &KafkaError, reason: &str) {
        self.called();
        let Some(code) = error.rdkafka_error_code() else { return };
        if matches!(
            code,
            Code::BrokerTransportFailure
                | Code::RequestTimedOut
                | Code::OperationTimedOut
                | Code::AllBrokersDown
        ) {
            self.silences.fetch_add(1, Relaxed);
        }
        let Some(trouble) = Trouble::of(code, reason) else { return };
        let mut before = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // A lasting one is the cause of what is said after it.
        if before.as_ref().is_some_and(|before| before.lasting && !trouble.lasting || *before == trouble) {
            return;
        }
        warn!(target: "evhub_kafka", "{trouble}");
        *before = Some(trouble);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.called();
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Context {}

/// librdkafka's log as ours. Whatever it goes on after is no error.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // One file of settings is for all kinds of clients, and each is told of those that only others have.
        _ if facility == "CONFWARN" => debug!(target: "evhub_kafka", facility, "{message}"),
        // The one that was fenced hears of it where it next asks for something; that another one goes on is how it should be.
        RDKafkaLogLevel::Emerg if message.contains(FENCED) => {
            debug!(target: "evhub_kafka", facility, "{message}");
        }
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            error!(target: "evhub_kafka", facility, "{message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            warn!(target: "evhub_kafka", facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            info!(target: "evhub_kafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => debug!(target: "evhub_kafka", facility, "{message}"),
    }
}
