//! Timers: the ledger's life in this process, and what is asked of it.
//!
//! - [`ask`]: what every surface does with timers
//! - `http`, `grpc`: those surfaces
//! - [`reach`]: asking the process that leads a shard

pub(crate) mod ask;
pub(crate) mod grpc;
pub(crate) mod http;
pub mod reach;

use std::sync::Arc;

use evhub_journal::Journal;
use evhub_ledger::{Ledger, Settings, rim};
use evhub_lifecycle::{
    Drain,
    exit::{self, Configuration},
};

use crate::Hub;

/// The ledger of an installation that is one process.
pub fn ledger<J: Journal>(journal: J, prefix: &str, shards: u32) -> Ledger<J> {
    Ledger::new(journal, Settings { prefix: prefix.to_owned(), shards, ..Settings::default() })
}

/// The ledger of one that is several processes, of which this one can be asked at an address.
pub fn shared<J: Journal>(journal: J, prefix: &str, shards: u32, address: String) -> Ledger<J> {
    let settings = Settings { prefix: prefix.to_owned(), shards, address, ..Settings::default() };
    Ledger::new(journal, settings).reaching(Arc::new(reach::Peers::default()))
}

/// Whether the ledger that is there has as many shards. A log that is away is no mistake of configuration.
pub async fn check<J: Journal>(ledger: &Ledger<J>) -> Result<(), Configuration> {
    match ledger.check().await {
        Ok(Err(mismatch)) => Err(Configuration(vec![format!("--shards: {}", exit::line(&mismatch))])),
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

/// Leads what this process is assigned, until the drain begins.
pub async fn run<J: Journal>(hub: Hub<J>, drain: Drain) {
    rim::run(hub.ledger.clone(), drain.begun()).await;
}
