//! Commands that wait to be applied. Pure.

use evhub_journal::Stored;

use crate::Command;

/// A command that was read and not applied yet.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) offset: u64,
    pub(super) taken: i64,
    pub(super) command: Result<Command, String>,
    pub(super) bytes: usize,
}

impl Queued {
    pub(super) fn read(Stored { offset, timestamp, record }: Stored) -> Self {
        let bytes = record.size();
        let command = Command::decode(&record).map_err(|why| why.to_string());
        Self { offset, taken: timestamp, command, bytes }
    }
}
