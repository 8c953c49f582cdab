//! Leads what this process is assigned: a member of the ledger's group, and a task for each shard of it. I/O.
//!
//! - `member`: which shards are this process's
//! - `lead`: one shard, step by step; `fetch`: how it reads events back

mod fetch;
mod lead;
mod member;

use std::{future::Future, sync::Arc, time::Duration};

use evhub_backoff::Backoff;
use evhub_journal::{Journal, Stored};
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use self::member::{Exit, Member};
use crate::{
    Ledger, Question, Reply,
    half::{Doubtful, Wanted},
    ledger::Leaders,
    timer::Timer,
};

/// How long to wait before the group is joined again.
const REJOIN: Duration = Duration::from_millis(500);
/// How often is looked whether another process has begun to use the ledger.
const LOOK: Duration = Duration::from_secs(1);
/// How long a stop waits for those who are to be answered.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// What is said to whoever leads a shard.
#[derive(Debug)]
pub(crate) enum Message {
    /// Commands that were read, under the number of this reading.
    Commands(u64, Vec<Stored>),
    /// Events that were read back before they are due, with their places.
    Came(Vec<(u64, Timer)>),
    /// Somebody wants to know something.
    Question(Question, oneshot::Sender<Reply>),
    /// Somebody is about to ask publishers.
    Doubtful(Arc<Wanted>, oneshot::Sender<Vec<Doubtful>>),
}

/// Leads until told to stop; then finishes the transactions under way and leaves.
pub async fn run<J: Journal>(ledger: Ledger<J>, stop: impl Future<Output = ()> + Send) {
    let (stopping, stopped) = watch::channel(false);
    let leaders = Arc::clone(&ledger.leaders);
    let work = work(ledger, stopped);
    tokio::pin!(work, stop);
    tokio::select! {
        () = &mut work => return,
        () = &mut stop => {}
    }
    tokio::select! {
        () = &mut work => return,
        () = answered(&leaders) => drop(stopping.send_replace(true)),
    }
    work.await;
}

async fn work<J: Journal>(ledger: Ledger<J>, mut stopped: watch::Receiver<bool>) {
    let mut failures = 0;
    loop {
        tokio::select! {
            () = told(&mut stopped) => return,
            () = needed(&ledger) => {}
        }
        let exit = match Member::join(&ledger).await {
            Ok(member) => member.work(stopped.clone()).await,
            Err(error) => Exit::Failed(error.to_string()),
        };
        match exit {
            Exit::Stopped => {
                info!("the ledger's shards are handed over");
                return;
            }
            Exit::Failed(error) => {
                failures += 1;
                warn!(error, failures, "the ledger's group is joined again");
                tokio::select! {
                    () = told(&mut stopped) => return,
                    () = sleep(REJOIN) => {}
                }
            }
        }
    }
}

/// Waits until nobody waits for an answer any more, or a moment.
async fn answered(leaders: &Leaders) {
    let mut asking = leaders.asking.subscribe();
    // Who is not answered by then is told that nobody knows, and may ask again.
    let _ = timeout(LAST_ANSWERS, asking.wait_for(|count| *count == 0)).await;
}

/// Waits until somebody needs the ledger.
async fn needed<J: Journal>(ledger: &Ledger<J>) {
    let mut wanted = ledger.leaders.wanted.subscribe();
    loop {
        if *wanted.borrow_and_update() {
            return;
        }
        if matches!(ledger.journal.look_up(&ledger.commands()).await, Ok(Some(_))) {
            return;
        }
        tokio::select! {
            _ = wanted.changed() => {}
            () = sleep(LOOK) => {}
        }
    }
}

/// Waits until it is said to stop, or nobody is left who could.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn retry() -> Backoff {
    let (initial, max) = (Duration::from_millis(50), Duration::from_secs(5));
    Backoff::exponential(initial, max, 2, 20).expect("these constants make a policy")
}
