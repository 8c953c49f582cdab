//! The one thread that writes. Does I/O.
//!
//! It takes everything that queued up while the last sync ran, writes it as one frame, and acknowledges each request only
//! after the fdatasync that covers it has returned. When a write fails, nothing of it will ever be whole, and when a sync
//! fails, what was in it has an unknown ending; either way later requests are refused, what is not known to be durable is
//! cut off, and the files are read again with growing pauses until that succeeds: only a fresh look tells what is there.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    StoreError, chain,
    core::Core,
    frame,
    groups::Groups,
    log::Log,
    manifest::Manifest,
    notes::Image,
    plan::{Moment, Plan, Space},
    queue::{Linger, Taken},
    recover::{self, Opened},
    request::{Request, Tidy},
    segment::{HEADER, Name, Segment},
};
use crate::{Error, Refusal};

/// The most that one batch holds: large enough that the sync's fixed cost no longer shows, small enough that nobody
/// waits long behind it.
const BATCH_BYTES: usize = 4 << 20;
/// What the frame's buffer keeps between batches.
const BUFFER_BYTES: usize = 1 << 20;
/// How many chunks a segment's index may have before the next segment is begun: 3 MiB of memory.
const INDEX_CHUNKS: usize = 64 << 10;
/// The part of a sync's time that those who were just answered are waited for.
const LINGER: u32 = 4;
/// Pauses between attempts to read failed files again: the first, and the longest.
const REOPEN_FIRST: Duration = Duration::from_millis(50);
const REOPEN_MAX: Duration = Duration::from_secs(2);

/// Owns every write.
pub(super) struct Writer {
    core: Arc<Core>,
    /// What will be true when everything planned is written; only meaningful while the writer is up.
    image: Image,
    groups: Groups,
    log: Log,
    /// Where the next frame goes in the last segment.
    end: u64,
    buffer: Vec<u8>,
    state: State,
    /// Whether the latest batch found the disk full, which is worth a line when it changes and not at every request.
    full: bool,
    /// What must arrive and came while nothing could be written.
    held: Vec<Request>,
    linger: Linger,
}

enum State {
    Up,
    Down(Down),
}

struct Down {
    reason: String,
    /// When the next attempt comes, and how long it was waited for.
    due: Instant,
    pause: Duration,
    /// What is not known to be durable, to be cut off first.
    cut: Option<(PathBuf, u64)>,
}

impl Writer {
    pub(super) fn new(core: Arc<Core>, opened: Opened) -> Self {
        let Opened { log, image, end } = opened;
        let (groups, buffer, held) = (Groups::default(), Vec::new(), Vec::new());
        Self {
            core,
            image,
            groups,
            log,
            end,
            buffer,
            state: State::Up,
            full: false,
            held,
            linger: Linger::default(),
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        loop {
            let patience = match &self.state {
                State::Up => None,
                State::Down(down) => Some(down.due.saturating_duration_since(Instant::now())),
            };
            match self.core.queue.take(BATCH_BYTES, patience, self.linger) {
                Taken::Items(requests) => self.work(requests),
                Taken::Nothing => {}
                Taken::Closed => break,
            }
            // Whatever comes in the meantime.
            if matches!(&self.state, State::Down(down) if down.due <= Instant::now()) {
                self.reopen();
            }
        }
        self.core.set_log(None);
        self.core.registry.wake_all();
    }

    fn work(&mut self, requests: Vec<Request>) {
        if let State::Down(down) = &self.state {
            let refusal = Refusal::Unavailable(down.reason.clone());
            for request in requests {
                if request.must_arrive() {
                    self.held.push(request);
                } else {
                    request.refuse(&refusal);
                }
            }
            return;
        }
        let (instant, patience) = (Instant::now(), self.core.options.rebalance);
        let moment = Moment { now: now(), instant, space: self.space(), patience };
        let plan = Plan::new(requests, &mut self.image, &mut self.groups, moment);
        self.tell_if_full(plan.full.as_deref());
        self.write(plan);
    }

    fn tell_if_full(&mut self, full: Option<&str>) {
        if self.full == full.is_some() {
            return;
        }
        self.full = full.is_some();
        let dir = self.core.dir.display();
        if let Some(why) = full {
            tracing::warn!(%dir, why, "the disk is full: new events are refused until there is room");
        } else {
            tracing::info!(%dir, "there is room on the disk again");
        }
    }

    fn write(&mut self, mut plan: Plan) {
        if plan.is_empty() {
            return self.written(plan);
        }
        let Some(segment) = self.log.0.last().map(Arc::clone) else { return };
        let mut notes = Vec::new();
        for note in &plan.notes {
            note.encode(&mut notes);
        }
        let entries = frame::encode(&mut self.buffer, segment.salt, self.end, &notes, &plan.chunks);
        if let Err(error) = segment.file.write_all_at(&self.buffer, self.end) {
            // A frame that is not whole is never taken for one.
            let reason = chain(&error);
            self.core.queue.set_down(Some(reason.clone()));
            for pending in std::mem::take(&mut plan.pending) {
                pending.refuse(&reason);
            }
            return self.fail(plan, reason);
        }
        let begun = Instant::now();
        let synced = self.sync(&segment);
        // One less than all: of those who come steadily, one may be late.
        self.linger = Linger { count: plan.pending.len().saturating_sub(1), time: begun.elapsed() / LINGER };
        if let Err(error) = synced {
            let reason = chain(&error);
            self.core.queue.set_down(Some(reason.clone()));
            for pending in std::mem::take(&mut plan.pending) {
                pending.leave_unknown(&reason);
            }
            return self.fail(plan, reason);
        }
        self.end += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES);
        segment.add(entries);
        self.written(plan);
        if self.end >= self.core.options.segment_bytes || segment.chunks() >= INDEX_CHUNKS {
            let rolled = self.roll();
            self.tidied(rolled);
        }
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests have it fail"))]
    fn sync(&self, segment: &Segment) -> io::Result<()> {
        #[cfg(test)]
        if self.core.failing.load(std::sync::atomic::Ordering::SeqCst) > 0 {
            self.core.failing.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            return Err(io::Error::other("planted"));
        }
        segment.file.sync_data()
    }

    /// Makes known what is durable now, before it is acknowledged: whoever hears of a record finds it.
    fn written(&mut self, mut plan: Plan) {
        let said = std::mem::take(&mut plan.said);
        self.core.registry.publish(&self.image, plan.grown().into_iter(), &plan.notes, said);
        plan.pending.into_iter().for_each(super::request::Pending::acknowledge);
        for (tidy, pending) in plan.tidy {
            let done = self.tidy(tidy);
            match &done {
                Ok(()) => pending.acknowledge(),
                Err(error) => pending.refuse(&chain(error)),
            }
            self.tidied(done);
        }
    }

    fn space(&self) -> Space {
        // When the file system does not answer it has no room either.
        let free =
            rustix::fs::statvfs(&self.core.dir).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        Space { free, reserve: self.core.options.reserve_bytes }
    }

    // === files ===

    fn tidy(&mut self, tidy: Tidy) -> io::Result<()> {
        match tidy {
            Tidy::Trim(_) => Ok(()),
            Tidy::Roll => self.roll(),
            Tidy::Swap(old, new) => self.swap(&old, new),
        }
    }

    /// Without the manifest nobody knows which files count, so what fails here is looked at anew.
    fn tidied(&mut self, done: io::Result<()>) {
        if let (Err(error), State::Up) = (done, &self.state) {
            self.go_down(chain(&error));
        }
    }

    /// Seals the segment that is written and begins the next.
    fn roll(&mut self) -> io::Result<()> {
        let Some(segment) = self.log.0.last().filter(|_| self.end > HEADER) else { return Ok(()) };
        segment.seal(self.end)?;
        let name = Name { id: segment.name.id + 1, version: 0 };
        let next = Segment::create(&self.core.dir, name, self.core.options.segment_bytes)?;
        self.log.0.push(Arc::new(next));
        self.end = HEADER;
        self.core.set_log(Some(self.log.clone()));
        self.list()
    }

    /// Puts what is left of some segments in their place.
    fn swap(&mut self, old: &[Name], new: Option<Arc<Segment>>) -> io::Result<()> {
        let segments = &mut self.log.0;
        let Some(at) = segments.iter().position(|segment| old.first() == Some(&segment.name)) else {
            // The files were read again since: the cleaner has looked at others.
            return Err(io::ErrorKind::NotFound.into());
        };
        if !segments.iter().skip(at).map(|segment| &segment.name).take(old.len()).eq(old) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let gone: Vec<_> = segments.splice(at..at + old.len(), new).collect();
        self.core.set_log(Some(self.log.clone()));
        self.list()?;
        for segment in gone {
            fs::remove_file(&segment.path)?;
        }
        Ok(())
    }

    fn list(&self) -> io::Result<()> {
        let sealed: Vec<_> =
            self.log.0.iter().filter_map(|segment| Some((segment.name, segment.sealed_at()?))).collect();
        let open = self.log.0.last().map_or(1, |segment| segment.name.id);
        Manifest::write(&self.core.dir, &sealed, open, &self.image)
    }

    // === failing and coming back ===

    fn fail(&mut self, plan: Plan, reason: String) {
        for group in plan.regrouped {
            let change = self.groups.dissolve(&group);
            self.core.registry.tell(change.said);
        }
        for (_, pending) in plan.tidy {
            pending.refuse(&reason);
        }
        self.go_down(reason);
    }

    fn go_down(&mut self, reason: String) {
        tracing::error!(reason, "the log cannot write; its files will be opened again");
        self.core.queue.set_down(Some(reason.clone()));
        // A segment that is sealed, or as good as, holds nothing that is in doubt.
        let open = self.log.0.last().filter(|segment| segment.sealed_at().is_none());
        let cut = open.map(|segment| (segment.path.clone(), self.end));
        self.state =
            State::Down(Down { reason, due: Instant::now() + REOPEN_FIRST, pause: REOPEN_FIRST, cut });
    }

    fn reopen(&mut self) {
        let State::Down(down) = &self.state else { return };
        match self.open_again(down) {
            Ok(opened) => {
                tracing::info!("the log's files are open again");
                Opened { log: self.log, image: self.image, end: self.end } = opened;
                self.state = State::Up;
                self.core.queue.set_down(None);
                let held = std::mem::take(&mut self.held);
                self.work(held);
            }
            Err(error) => {
                let (reason, pause) = (chain(&error), (down.pause * 2).min(REOPEN_MAX));
                tracing::warn!(reason, ?pause, "the log's files could not be opened again");
                self.core.queue.set_down(Some(reason.clone()));
                self.state =
                    State::Down(Down { reason, due: Instant::now() + pause, pause, cut: down.cut.clone() });
            }
        }
    }

    fn open_again(&self, down: &Down) -> Result<Opened, Error> {
        if let Some((path, end)) = &down.cut {
            cut(path, *end).map_err(StoreError::from)?;
        }
        let opened = recover::open(&self.core.dir, self.core.options.segment_bytes)?;
        self.core.registry.reset(&opened.image)?;
        self.core.set_log(Some(opened.log.clone()));
        Ok(opened)
    }
}

fn cut(path: &PathBuf, end: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(end)?;
    file.sync_all()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
