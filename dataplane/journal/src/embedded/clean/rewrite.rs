//! Runs of segments, and what is left of them in one. Does I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::FileExt,
    sync::Arc,
};

use super::{
    super::{
        StoreError,
        codec::{self, Draft, Part},
        frame::{self, Chunks},
        log::Log,
        registry::Topic,
        request::Tidy,
        segment::{HEADER, Name, Segment},
    },
    Work,
    compact::Dead,
};
use crate::Error;

/// How much of what is left is written at once.
const FRAME_BYTES: usize = 1 << 20;
/// Segments smaller than this part of a full one are small: so many in a row are put together.
const SMALL: u64 = 8;
/// How many runs one pass replaces at most; the next pass goes on.
const RUNS: usize = 4;

/// What is to be kept, and what not.
struct Keep<'a> {
    starts: BTreeMap<Part, u64>,
    dead: &'a BTreeMap<Part, Dead>,
}

/// A sealed segment, and how much of it is of use.
struct Weight {
    segment: Arc<Segment>,
    all: u64,
    dead: u64,
}

impl Work {
    /// Replaces the runs that are worth it.
    pub(super) fn replace(
        &self,
        log: &Log,
        topics: &[Arc<Topic>],
        dead: &BTreeMap<Part, Dead>,
        thorough: bool,
    ) -> Result<(), Error> {
        let partitions = topics.iter().flat_map(|topic| topic.partitions());
        let keep = Keep { starts: partitions.map(|(part, bounds)| (part, bounds.start())).collect(), dead };
        let Some((_, sealed)) = log.0.split_last() else { return Ok(()) };
        let weights: Vec<Weight> = sealed.iter().map(|segment| keep.weigh(segment)).collect();
        let full = self.core.options.segment_bytes;
        let most = if thorough { usize::MAX } else { RUNS };
        for run in runs(&weights, full, thorough).into_iter().take(most) {
            if self.stopped() {
                return Ok(());
            }
            let left: u64 = run.iter().map(|weight| weight.all - weight.dead).sum();
            if !self.has_room(left) {
                tracing::warn!(bytes = left, "no room on the disk to rewrite segments of the log");
                return Ok(());
            }
            let new = self.rewrite(run, &keep)?;
            let names = run.iter().map(|weight| weight.segment.name).collect();
            self.ask(Tidy::Swap(names, new.map(Arc::new)))?;
        }
        Ok(())
    }

    fn has_room(&self, bytes: u64) -> bool {
        let floor = self.core.options.reserve_bytes / 4;
        let free =
            rustix::fs::statvfs(&self.core.dir).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        bytes == 0 || free > floor.saturating_add(bytes)
    }

    /// One segment with what is left of a run; `None` when that is nothing.
    fn rewrite(&self, run: &[Weight], keep: &Keep<'_>) -> Result<Option<Segment>, StoreError> {
        let Some(first) = run.first() else { return Ok(None) };
        if run.iter().all(|weight| weight.dead == weight.all) {
            return Ok(None);
        }
        let Name { id, version } = first.segment.name;
        let name = Name { id, version: version + 1 };
        let mut out = Output::new(Segment::create(&self.core.dir, name, HEADER)?);
        let parts = run.iter().flat_map(|weight| weight.segment.parts());
        let parts: BTreeSet<Part> = parts.map(|(part, _)| part).collect();
        // Partition by partition, so that what belongs together lies together.
        for part in parts {
            for weight in run {
                keep.copy(&weight.segment, part, &mut out)?;
            }
        }
        out.end()
    }
}

impl Keep<'_> {
    fn start(&self, part: Part) -> u64 {
        self.starts.get(&part).copied().unwrap_or(0)
    }

    fn weigh(&self, segment: &Arc<Segment>) -> Weight {
        let (mut all, mut dead) = (0, 0);
        for (part, held) in segment.parts() {
            all += held.bytes;
            dead += if held.next <= self.start(part) {
                held.bytes
            } else {
                self.dead.get(&part).and_then(|dead| dead.bytes.get(&segment.name)).copied().unwrap_or(0)
            };
        }
        Weight { segment: Arc::clone(segment), all, dead }
    }

    fn copy(&self, segment: &Segment, part: Part, out: &mut Output) -> Result<(), StoreError> {
        let start = self.start(part);
        let mut next = start;
        loop {
            let entries = segment.entries(part, |entry| entry.next <= next, 16)?;
            let Some(last) = entries.last() else { return Ok(()) };
            next = last.next;
            for entry in &entries {
                for raw in codec::records(entry.base, &segment.body(part, entry)?) {
                    let raw = raw?;
                    let dead = self.dead.get(&part).is_some_and(|dead| dead.contains(raw.offset));
                    if raw.offset >= start && !dead {
                        out.add(part, &raw)?;
                    }
                }
            }
        }
    }
}

/// Segments next to each other whose remains fit into one and that are mostly dead, or many and small. A thorough look
/// takes every segment that holds something dead.
fn runs(weights: &[Weight], full: u64, thorough: bool) -> Vec<&[Weight]> {
    let mostly_dead = |weight: &Weight| weight.dead * 2 >= weight.all;
    let worth = |weight: &Weight| mostly_dead(weight) || weight.all < full / SMALL;
    let fits = |weight: &Weight| {
        if thorough { weight.dead > 0 || weight.all == 0 } else { worth(weight) }
    };
    let mut runs = Vec::new();
    let mut rest = weights;
    while let Some(at) = rest.iter().position(fits) {
        rest = rest.get(at..).unwrap_or_default();
        let mut left = 0;
        let len = rest.iter().take_while(|weight| {
            left += weight.all - weight.dead;
            fits(weight) && left <= full
        });
        let (run, behind) = rest.split_at(len.count().max(1));
        if thorough || run.iter().any(mostly_dead) || run.len() as u64 >= SMALL {
            runs.push(run);
        }
        rest = behind;
    }
    runs
}

/// A segment to be.
struct Output {
    segment: Segment,
    at: u64,
    chunks: Chunks,
    bytes: usize,
    buffer: Vec<u8>,
}

impl Output {
    fn new(segment: Segment) -> Self {
        Self { segment, at: HEADER, chunks: Chunks::new(), bytes: 0, buffer: Vec::new() }
    }

    fn add(&mut self, part: Part, raw: &codec::Raw<'_>) -> Result<(), StoreError> {
        frame::add(self.chunks.entry(part).or_default(), raw.offset, raw.timestamp, Draft::copied(raw));
        self.bytes += raw.len();
        if self.bytes >= FRAME_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        let entries = frame::encode(&mut self.buffer, self.segment.salt, self.at, &[], &self.chunks);
        self.segment.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.segment.add(entries);
        self.chunks.clear();
        self.bytes = 0;
        Ok(())
    }

    fn end(mut self) -> Result<Option<Segment>, StoreError> {
        self.flush()?;
        if self.at == HEADER {
            fs::remove_file(&self.segment.path)?;
            return Ok(None);
        }
        self.segment.seal(self.at)?;
        Ok(Some(self.segment))
    }
}
