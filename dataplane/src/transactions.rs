//! Half messages: events that are prepared, and published when their publishers say so.
//!
//! - [`ask`]: what every surface does with them
//! - `http`, `grpc`: those surfaces; EvHub's is [`evhub`](crate::evhub)'s
//! - `checks`: asks publishers that have not decided; `callback`: what they are asked, and what they answer; `verdict`: how the
//!   ledger is told of it

pub(crate) mod ask;
pub(crate) mod callback;
mod checks;
pub(crate) mod grpc;
pub(crate) mod http;
mod verdict;

pub use self::checks::run;
