//! What flows through the hub, and how it is written down.
//!
//! In: bytes and headers from a publisher or from the log. Out: a checked [`Event`], a [`Record`] as any Kafka client
//! could have written it, and the forms a target receives. This crate does no I/O and knows neither topics, routes nor
//! Kubernetes; whatever it accepts, it gives back unchanged.
//!
//! - [`event`]: the event and what can be asked of it
//! - [`attributes`]: the rules that its attributes obey
//! - [`controls`]: what a publisher may set beside the event; [`duration`]: how spans of time are written
//! - [`invalid`]: why something is not an event
//! - [`http`], [`json`], [`kafka`]: the CloudEvents forms that are read and written
//! - [`source`]: any text as a source, and back
//! - [`record`]: keys, values and headers, as stored in the log

pub mod attributes;
pub mod controls;
mod draft;
pub mod duration;
pub mod event;
pub mod http;
pub mod invalid;
pub mod json;
pub mod kafka;
pub mod record;
pub mod source;

pub use controls::Controls;
pub use event::Event;
pub use invalid::{Invalid, Reason};
pub use record::{Header, Record};
