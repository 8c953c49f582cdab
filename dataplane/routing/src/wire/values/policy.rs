//! How deliveries are made, and its message. Pure.

use evhub_messages as proto;

use super::{Invalid, Wire, needed, optional, parsed, small, strings, unknown};
use crate::{Backoff, Growth, GrpcCode, OnExhausted, Order, Policy, RateLimit, Retry, RetryAfter, RetryOn};

impl Wire for Policy {
    type Message = proto::Policy;

    fn encode(&self) -> proto::Policy {
        proto::Policy {
            order: self.order.encode(),
            max_in_flight: self.max_in_flight,
            max_parked: self.max_parked,
            max_parked_bytes: self.max_parked_bytes,
            max_parked_per_key: self.max_parked_per_key,
            rate_limit: self.rate_limit.as_ref().map(Wire::encode),
            retry: Some(self.retry.encode()),
            on_exhausted: self.on_exhausted.encode(),
            dead_letter_retention: Some(self.dead_letter_retention.encode()),
        }
    }

    fn decode(message: proto::Policy) -> Result<Self, Invalid> {
        Ok(Self {
            order: Order::decode(message.order)?,
            max_in_flight: message.max_in_flight,
            max_parked: message.max_parked,
            max_parked_bytes: message.max_parked_bytes,
            max_parked_per_key: message.max_parked_per_key,
            rate_limit: optional("rateLimit", message.rate_limit)?,
            retry: needed("retry", message.retry)?,
            on_exhausted: OnExhausted::decode(message.on_exhausted)?,
            dead_letter_retention: needed("deadLetterRetention", message.dead_letter_retention)?,
        })
    }
}

impl Wire for Order {
    type Message = i32;

    fn encode(&self) -> i32 {
        let message = match self {
            Self::None => proto::Order::None,
            Self::Key => proto::Order::Key,
            Self::KeyFirstAttempt => proto::Order::KeyFirstAttempt,
            Self::Partition => proto::Order::Partition,
        };
        message.into()
    }

    fn decode(number: i32) -> Result<Self, Invalid> {
        match proto::Order::try_from(number) {
            Ok(proto::Order::None) => Ok(Self::None),
            Ok(proto::Order::Key) => Ok(Self::Key),
            Ok(proto::Order::KeyFirstAttempt) => Ok(Self::KeyFirstAttempt),
            Ok(proto::Order::Partition) => Ok(Self::Partition),
            Ok(proto::Order::Unspecified) | Err(_) => Err(unknown("order", number)),
        }
    }
}

impl Wire for OnExhausted {
    type Message = i32;

    fn encode(&self) -> i32 {
        let message = match self {
            Self::DeadLetter => proto::OnExhausted::DeadLetter,
            Self::Suspend => proto::OnExhausted::Suspend,
            Self::Drop => proto::OnExhausted::Drop,
        };
        message.into()
    }

    fn decode(number: i32) -> Result<Self, Invalid> {
        match proto::OnExhausted::try_from(number) {
            Ok(proto::OnExhausted::DeadLetter) => Ok(Self::DeadLetter),
            Ok(proto::OnExhausted::Suspend) => Ok(Self::Suspend),
            Ok(proto::OnExhausted::Drop) => Ok(Self::Drop),
            Ok(proto::OnExhausted::Unspecified) | Err(_) => Err(unknown("onExhausted", number)),
        }
    }
}

impl Wire for RateLimit {
    type Message = proto::RateLimit;

    fn encode(&self) -> proto::RateLimit {
        proto::RateLimit { events: self.events, per: Some(self.per.encode()), burst: self.burst }
    }

    fn decode(message: proto::RateLimit) -> Result<Self, Invalid> {
        Ok(Self { events: message.events, per: needed("per", message.per)?, burst: message.burst })
    }
}

impl Wire for Retry {
    type Message = proto::Retry;

    fn encode(&self) -> proto::Retry {
        let Self { max_attempts, max_age, backoff, retry_after, retry_on } = self;
        proto::Retry {
            max_attempts: *max_attempts,
            max_age: Some(max_age.encode()),
            backoff: Some(backoff.encode()),
            honor_retry_after: retry_after.honor,
            max_retry_after: Some(retry_after.max.encode()),
            on_status: strings(&retry_on.status),
            on_grpc: retry_on.grpc.iter().map(|code| code.number().cast_unsigned()).collect(),
            on_connection: retry_on.connection,
        }
    }

    fn decode(message: proto::Retry) -> Result<Self, Invalid> {
        let status = message.on_status.iter().map(|text| parsed("onStatus", text));
        let grpc = message.on_grpc.into_iter().map(|number| match i32::try_from(number) {
            Ok(number @ 1..=16) => Ok(GrpcCode::of(number)),
            _ => Err(Invalid::new(format!("not a failing gRPC code (got {number})")).within("onGrpc")),
        });
        Ok(Self {
            max_attempts: message.max_attempts,
            max_age: needed("maxAge", message.max_age)?,
            backoff: needed("backoff", message.backoff)?,
            retry_after: RetryAfter {
                honor: message.honor_retry_after,
                max: needed("maxRetryAfter", message.max_retry_after)?,
            },
            retry_on: RetryOn {
                status: status.collect::<Result<_, _>>()?,
                grpc: grpc.collect::<Result<_, _>>()?,
                connection: message.on_connection,
            },
        })
    }
}

impl Wire for Backoff {
    type Message = proto::Backoff;

    fn encode(&self) -> proto::Backoff {
        let growth = match self.growth {
            Growth::Fixed => proto::backoff::Growth::Fixed(true),
            Growth::Linear => proto::backoff::Growth::Linear(true),
            Growth::Exponential { multiplier } => proto::backoff::Growth::Exponential(multiplier),
        };
        proto::Backoff {
            growth: Some(growth),
            initial: Some(self.initial.encode()),
            max: Some(self.max.encode()),
            jitter_percent: self.jitter_percent.into(),
        }
    }

    fn decode(message: proto::Backoff) -> Result<Self, Invalid> {
        let growth = match message.growth {
            Some(proto::backoff::Growth::Fixed(_)) => Growth::Fixed,
            Some(proto::backoff::Growth::Linear(_)) => Growth::Linear,
            Some(proto::backoff::Growth::Exponential(multiplier)) => Growth::Exponential { multiplier },
            None => return Err(unknown("growth", 0)),
        };
        Ok(Self {
            growth,
            initial: needed("initial", message.initial)?,
            max: needed("max", message.max)?,
            jitter_percent: small("jitterPercent", message.jitter_percent)?,
        })
    }
}
