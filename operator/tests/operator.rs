//! The operator against a real API server. Dataplanes are played, where what is delivered is not the point.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

#[path = "cluster/certificates.rs"]
mod certificates;
#[path = "cluster/faults.rs"]
mod faults;
#[path = "cluster/leaders.rs"]
mod leaders;
#[path = "cluster/plane.rs"]
mod plane;
#[path = "cluster/proxy.rs"]
mod proxy;
#[path = "cluster/removals.rs"]
mod removals;
#[path = "cluster/schema.rs"]
mod schema;
#[path = "cluster/secrets.rs"]
mod secrets;
#[path = "cluster/services.rs"]
mod services;
#[path = "cluster/site.rs"]
mod site;
#[path = "cluster/statuses.rs"]
mod statuses;
