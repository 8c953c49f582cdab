//! What a client tells of itself. Its log becomes ours; what keeps it from its brokers is remembered, because its calls
//! only time out and do not say why.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
};
use tracing::{debug, error, info, warn};

/// The context of a client that has no callbacks of its own.
#[derive(Debug, Default)]
pub(crate) struct Context {
    trouble: Mutex<Option<String>>,
    /// How often a broker could not be reached, or did not answer in time.
    silences: AtomicU64,
}

impl Context {
    /// What last kept this client from its brokers.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often a broker was silent so far: an answer that came after one may be to a question that was asked twice.
    pub(crate) fn silences(&self) -> u64 {
        self.silences.load(Relaxed)
    }

    /// Notes an error that the client goes on after.
    pub(crate) fn note(&self, error: &KafkaError, reason: &str) {
        if matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::RequestTimedOut
                    | RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::AllBrokersDown
            )
        ) {
            self.silences.fetch_add(1, Relaxed);
        }
        // Said beside the cause itself, which says more.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        warn!(target: "evhub_kafka", "{reason}");
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Context {}

/// librdkafka's log as ours.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => error!(target: "evhub_kafka", facility, "{message}"),
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => warn!(target: "evhub_kafka", facility, "{message}"),
        RDKafkaLogLevel::Info => info!(target: "evhub_kafka", facility, "{message}"),
        RDKafkaLogLevel::Debug => debug!(target: "evhub_kafka", facility, "{message}"),
    }
}
