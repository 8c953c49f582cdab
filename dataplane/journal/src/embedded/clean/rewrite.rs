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
    Trouble, Work,
    compact::Dead,
};
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
    /// Whether it is left alone, since it could not be read.
    damaged: bool,
}

impl Work {
    /// Replaces the runs that are worth it.
    pub(super) fn replace(
        &mut self,
        log: &Log,
        topics: &[Arc<Topic>],
        dead: &BTreeMap<Part, Dead>,
        thorough: bool,
        trouble: &mut Trouble,
    ) {
        let partitions = topics.iter().flat_map(|topic| topic.partitions());
        let keep = Keep { starts: partitions.map(|(part, bounds)| (part, bounds.start())).collect(), dead };
        let damaged = |segment: &Segment| !thorough && self.damaged.contains(&segment.name.id);
        let weights = log.sealed.iter().map(|segment| keep.weigh(segment, damaged(segment)));
        let weights: Vec<Weight> = weights.collect();
        let full = self.core.options.segment_bytes;
        let most = if thorough { usize::MAX } else { RUNS };
        for run in runs(&weights, full, thorough).into_iter().take(most) {
            if self.stopped() {
                return;
            }
            let left: u64 = run.iter().map(|weight| weight.all - weight.dead).sum();
            if !self.has_room(left) {
                tracing::warn!(bytes = left, "no room on the disk to rewrite segments of the log");
                continue;
            }
            let name = run.first().map_or_else(String::new, |first| first.segment.name.to_string());
            let new = self.rewrite(run, &keep);
            if let Some(new) = trouble.note("segments from", &name, new) {
                let old = run.iter().map(|weight| Arc::clone(&weight.segment)).collect();
                let swap = Tidy::Swap { old, new: new.map(Arc::new) };
                trouble.note("segments from", &name, self.ask(swap));
            }
        }
    }

    fn has_room(&self, bytes: u64) -> bool {
        let floor = self.core.options.reserve_bytes / 4;
        let free =
            rustix::fs::statvfs(&self.core.dir).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        bytes == 0 || free > floor.saturating_add(bytes)
    }

    /// One segment with what is left of a run; `None` when that is nothing.
    fn rewrite(&mut self, run: &[Weight], keep: &Keep<'_>) -> Result<Option<Segment>, StoreError> {
        let Some(first) = run.first() else { return Ok(None) };
        if run.iter().all(|weight| weight.dead == weight.all) {
            return Ok(None);
        }
        let Name { id, version } = first.segment.name;
        let name = Name { id, version: version + 1 };
        let mut out = Output::new(Segment::create(&self.core.dir, name, HEADER)?);
        let path = out.segment.path.clone();
        let written = self.fill(&mut out, run, keep).and_then(|()| out.end());
        if written.is_err() {
            // It would take room from the next attempt. If it cannot go, that one begins it anew.
            let _ = fs::remove_file(path);
        }
        written
    }

    fn fill(&mut self, out: &mut Output, run: &[Weight], keep: &Keep<'_>) -> Result<(), StoreError> {
        let parts = run.iter().flat_map(|weight| weight.segment.parts());
        let parts: BTreeSet<Part> = parts.map(|(part, _)| part).collect();
        // Partition by partition, so that what belongs together lies together.
        for part in parts {
            for Weight { segment, .. } in run {
                let copied = keep.copy(segment, part, out);
                if matches!(copied, Err(StoreError::Corrupt(_))) {
                    self.damaged.insert(segment.name.id);
                }
                copied?;
            }
        }
        Ok(())
    }
}

impl Keep<'_> {
    fn start(&self, part: Part) -> u64 {
        self.starts.get(&part).copied().unwrap_or(0)
    }

    fn weigh(&self, segment: &Arc<Segment>, damaged: bool) -> Weight {
        let (mut all, mut dead) = (0, 0);
        for (part, held) in segment.parts() {
            all += held.bytes;
            dead += if held.next <= self.start(part) {
                held.bytes
            } else {
                self.dead.get(&part).map_or(0, |dead| dead.bytes(segment.name.id))
            };
        }
        Weight { segment: Arc::clone(segment), all, dead, damaged }
    }

    fn copy(&self, segment: &Segment, part: Part, out: &mut Output) -> Result<(), StoreError> {
        let (start, dead) = (self.start(part), self.dead.get(&part));
        let is_dead = |number| dead.is_some_and(|dead| dead.contains(segment.name.id, number));
        let (mut next, mut number) = (0, 0);
        loop {
            let entries = segment.entries(part, |entry| entry.next <= next, 16)?;
            let Some(last) = entries.last() else { return Ok(()) };
            next = last.next;
            for entry in &entries {
                if entry.next <= start {
                    number += entry.count;
                    continue;
                }
                for raw in codec::records(entry.base, &segment.body(part, entry)?) {
                    let raw = raw?;
                    if raw.offset >= start && !is_dead(number) {
                        out.add(part, &raw)?;
                    }
                    number += 1;
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
        !weight.damaged && if thorough { weight.dead > 0 || weight.all == 0 } else { worth(weight) }
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
