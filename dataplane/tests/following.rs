//! A dataplane that follows a real control stream, over the embedded log: what it runs, with control and without.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

mod following {
    mod observed;
    mod secured;
    mod sites;
    mod stream;
    mod without;
}
