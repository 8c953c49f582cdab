//! Reading across segments. Does I/O.

use std::{iter, ops::Range, sync::Arc};

use super::{
    StoreError,
    codec::{self, Part},
    frame::Entry,
    segment::Segment,
};
use crate::Stored;

/// How many lines of an index one look brings.
const ENTRIES: usize = 16;

/// The segments as they are at some moment.
#[derive(Clone, Debug)]
pub(super) struct Log {
    /// Oldest first.
    pub(super) sealed: Vec<Arc<Segment>>,
    /// The one that is written.
    pub(super) active: Arc<Segment>,
}

/// What a read found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) records: Vec<Stored>,
    /// Whether there is more before the end.
    pub(super) more: bool,
}

impl Log {
    /// Records from an offset on and before an end: at least one if there is one, else as the limits allow.
    pub(super) fn read(
        &self,
        part: Part,
        from: u64,
        end: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Found, StoreError> {
        let mut found = Found::default();
        let mut bytes = 0;
        self.chunks(part, from, end, |segment, entry| {
            if entry.count == 0 {
                return Ok(true);
            }
            let body = segment.body(part, entry)?;
            for raw in codec::records(entry.base, &body) {
                let raw = raw?;
                if raw.offset < from || raw.offset >= end {
                    continue;
                }
                let over = !found.records.is_empty() && bytes >= max_bytes;
                if over || found.records.len() >= max_records {
                    found.more = true;
                    return Ok(false);
                }
                let stored = raw.stored()?;
                bytes += stored.record.size();
                if !found.records.is_empty() && bytes > max_bytes {
                    found.more = true;
                    return Ok(false);
                }
                found.records.push(stored);
            }
            Ok(true)
        })?;
        Ok(found)
    }

    /// Shows the chunks that hold offsets from one on and before an end, in order, until told to stop.
    pub(super) fn chunks(
        &self,
        part: Part,
        from: u64,
        end: u64,
        mut show: impl FnMut(&Segment, &Entry) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        for segment in self.holding(part, from) {
            let mut next = from;
            loop {
                let entries = segment.entries(part, |entry| entry.next <= next, ENTRIES)?;
                let Some(last) = entries.last() else { break };
                next = last.next;
                for entry in &entries {
                    if entry.base >= end || !show(segment, entry)? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The first record that the log took at or after an instant, if it lies before the end.
    pub(super) fn first_at(
        &self,
        part: Part,
        instant: i64,
        within: Range<u64>,
    ) -> Result<Option<u64>, StoreError> {
        for segment in self.holding(part, within.start) {
            if segment.part(part).is_none_or(|summary| summary.timestamp < instant) {
                continue;
            }
            // Timestamps never fall, so the first chunk that ends late enough holds the record, unless compaction or a
            // transaction's end left nothing of it.
            let mut next = within.start;
            loop {
                let before = |entry: &Entry| entry.timestamp < instant || entry.next <= next;
                let entries = segment.entries(part, before, ENTRIES)?;
                let Some(last) = entries.last() else { break };
                next = last.next;
                for entry in &entries {
                    for raw in codec::records(entry.base, &segment.body(part, entry)?) {
                        let raw = raw?;
                        if raw.timestamp >= instant && raw.offset >= within.start {
                            return Ok((raw.offset < within.end).then_some(raw.offset));
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// The segments that hold offsets from this one on, oldest first.
    fn holding(&self, part: Part, from: u64) -> impl Iterator<Item = &Arc<Segment>> {
        // From the newest back: that is where most readers are.
        let ahead = |segment: &&Arc<Segment>| segment.part(part).is_none_or(|summary| summary.next > from);
        let behind = self.sealed.len() + 1 - self.segments().rev().take_while(ahead).count();
        self.segments().skip(behind).filter(move |segment| segment.part(part).is_some())
    }

    /// All of them, oldest first.
    fn segments(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        self.sealed.iter().chain(iter::once(&self.active))
    }
}
