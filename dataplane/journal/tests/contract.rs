//! What every log must do, written over the traits alone: one list of cases, run against each log.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

#[path = "contract/cases.rs"]
mod cases;
#[macro_use]
#[path = "contract/list.rs"]
mod list;
#[path = "contract/harsh.rs"]
mod harsh;

use std::time::Duration;

use evhub_journal::{
    Embedded,
    embedded::Options,
    unpleasant::{Faults, Unpleasant},
};

/// The embedded log, in a folder that goes away with it.
struct Folder(Embedded, #[expect(dead_code, reason = "keeps the folder")] tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (rebalance, tombstones) = (Duration::from_millis(300), Duration::from_millis(300));
        let log = Embedded::open(Options { rebalance, tombstones, ..Options::new(dir.path()) }).unwrap();
        Self(log, dir)
    }
}

impl cases::Site for Folder {
    type Log = Embedded;

    const WHOLE: bool = true;

    fn log(&self) -> Embedded {
        self.0.clone()
    }

    async fn clean(&self) {
        self.0.clean().await.unwrap();
    }
}

/// The same, behaving as badly as it may without anybody being in the wrong.
struct Trying(Unpleasant<Embedded>, Folder);

impl Trying {
    fn new() -> Self {
        let seed = Unpleasant::<Embedded>::seed();
        println!("seed {seed}");
        let folder = Folder::new();
        Self(Unpleasant::new(folder.0.clone(), seed, Faults::mild()), folder)
    }
}

impl cases::Site for Trying {
    type Log = Unpleasant<Embedded>;

    const WHOLE: bool = true;

    fn log(&self) -> Unpleasant<Embedded> {
        self.0.clone()
    }

    async fn clean(&self) {
        self.1.clean().await;
    }
}

contract!(embedded, Folder::new());
contract!(unpleasant, Trying::new());
