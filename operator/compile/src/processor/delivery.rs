//! What a Processor's way of delivering comes to.

use std::time::Duration;

use evhub_crds::delivery::{self, BackoffPolicy};
use evhub_routing::{Backoff, Growth, OnExhausted, Order, Policy, RateLimit, Retry, RetryAfter, RetryOn};

use super::invalid;
use crate::verdict::Finding;

/// The policy, or what is wrong with it.
pub(super) fn policy(spec: &delivery::Delivery) -> Result<Policy, Finding> {
    let delivery::Delivery {
        order,
        max_in_flight,
        max_parked,
        max_parked_bytes,
        max_parked_per_key,
        rate_limit: limit,
        retry: again,
        on_exhausted,
        dead_letter,
    } = spec;
    Ok(Policy {
        order: match order {
            delivery::Order::None => Order::None,
            delivery::Order::Key => Order::Key,
            delivery::Order::KeyFirstAttempt => Order::KeyFirstAttempt,
            delivery::Order::Partition => Order::Partition,
        },
        max_in_flight: *max_in_flight,
        max_parked: *max_parked,
        max_parked_bytes: max_parked_bytes.bytes(),
        max_parked_per_key: *max_parked_per_key,
        rate_limit: limit.as_ref().map(rate_limit),
        retry: retry(again)?,
        on_exhausted: match on_exhausted {
            delivery::OnExhausted::DeadLetter => OnExhausted::DeadLetter,
            delivery::OnExhausted::Suspend => OnExhausted::Suspend,
            delivery::OnExhausted::Drop => OnExhausted::Drop,
        },
        dead_letter_retention: dead_letter.retention.get(),
    })
}

fn rate_limit(spec: &delivery::RateLimit) -> RateLimit {
    let delivery::RateLimit { events, per, burst } = spec;
    let per = per.map_or(Duration::from_secs(1), evhub_crds::Duration::get);
    RateLimit { events: *events, per, burst: burst.unwrap_or(*events) }
}

fn retry(spec: &delivery::Retry) -> Result<Retry, Finding> {
    let delivery::Retry { max_attempts, max_age, backoff: waits, retry_after, retry_on } = spec;
    let status = retry_on.status.iter().enumerate().map(|(index, text)| {
        text.parse().map_err(|error| invalid(&format!("spec.delivery.retry.retryOn.status[{index}]"), &error))
    });
    let grpc = retry_on.grpc.iter().enumerate().map(|(index, text)| {
        text.parse().map_err(|error| invalid(&format!("spec.delivery.retry.retryOn.grpc[{index}]"), &error))
    });
    Ok(Retry {
        max_attempts: *max_attempts,
        max_age: max_age.get(),
        backoff: backoff(waits),
        retry_after: RetryAfter { honor: retry_after.honor, max: retry_after.max.get() },
        retry_on: RetryOn {
            status: status.collect::<Result<_, _>>()?,
            grpc: grpc.collect::<Result<_, _>>()?,
            connection: retry_on.connection,
        },
    })
}

fn backoff(spec: &delivery::Backoff) -> Backoff {
    let delivery::Backoff { policy, initial, max, multiplier, jitter_percent } = spec;
    Backoff {
        growth: match policy {
            BackoffPolicy::Exponential => Growth::Exponential { multiplier: *multiplier },
            BackoffPolicy::Linear => Growth::Linear,
            BackoffPolicy::Fixed => Growth::Fixed,
        },
        initial: initial.get(),
        max: max.get(),
        jitter_percent: *jitter_percent,
    }
}
