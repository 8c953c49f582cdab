//! Traces and logs: where a piece of work belongs, what was done, and who is told.
//!
//! In: headers of W3C Trace Context, and the variables by which OpenTelemetry is set up. Out: headers again, and spans
//! over OTLP. It knows nothing of events. All of OpenTelemetry's own interface is behind this one.
//!
//! - [`Context`]: a place in a trace, as headers say it. Pure
//! - [`Tracer`], [`Span`]: what was done. Without an export a span is nothing and costs nothing
//! - [`Export`]: who is told
//! - [`logging`]: logs, on standard error

mod client;
mod context;
mod export;
pub mod logging;
mod span;

pub use self::{
    context::{Context, Malformed, TRACEPARENT, TRACESTATE},
    export::Export,
    span::{Kind, Span, Tracer, What},
};
