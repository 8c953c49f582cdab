//! The real binary, killed, stopped, paused, starved and traced. One run at a time: two would disturb each other's clocks.

#![allow(missing_docs)]

mod e2e_clean_stop;
mod e2e_fsync;
mod e2e_full_disk;
mod e2e_hot_keys;
mod e2e_isolation;
mod e2e_kill;
mod e2e_live_edits;
mod e2e_memory;
mod e2e_orders;
mod e2e_parked_survives;
mod e2e_pause;
mod e2e_ready_means_listening;
mod e2e_redrive;
mod e2e_retry_policy;
mod e2e_suspend;
mod e2e_target_away;

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
};

use anyhow::Result;

static TURN: Mutex<()> = Mutex::new(());

/// Runs a test in its turn, on a runtime of its own.
fn in_turn<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::runtime::Runtime::new()?.block_on(test)
}
