//! What flows through the hub, and how it is written down.
//!
//! In: bytes and headers from a publisher or from the log. Out: a checked [`Event`], a [`Record`] as any Kafka client
//! could have written it, and the forms a target receives. This crate does no I/O and knows neither topics, routes nor
//! Kubernetes; whatever it accepts, it gives back unchanged.
//!
//! - [`event`]: the event and the rules its attributes obey
//! - [`record`]: keys, values and headers, as stored in the log

pub mod event;
pub mod record;

pub use event::Event;
pub use record::{Header, Record};
