//! A hub of several processes for real: a broker, `evhub control`, two dataplanes, a publisher, and a service.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

mod cluster {
    mod delivers;
    mod halves;
    mod later;
    mod refuses;
    mod service;
    mod site;
}
