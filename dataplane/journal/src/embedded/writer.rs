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
    manifest::{Listed, Manifest, Unwritten},
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
/// How far behind the clock may be, in milliseconds, without a word: more than clocks are set back in the ordinary way.
const BEHIND: i64 = 3_600_000;
/// How many times as large as it should be a segment may become while the next one cannot be made.
const POSTPONED: usize = 2;
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
    /// Where the next frame goes in the active segment.
    end: u64,
    buffer: Vec<u8>,
    state: State,
    /// Whether the latest batch found the disk full, which is worth a line when it changes and not at every request.
    full: bool,
    /// Whether the latest batch found the clock far behind.
    behind: bool,
    /// What must arrive and came while nothing could be written.
    held: Vec<Request>,
    linger: Linger,
    /// Whether the next segment could not be made.
    postponed: bool,
}

/// How something that was to be done with the files ended.
enum Tidied {
    Done,
    /// It was not done, and nothing has changed.
    Refused(String),
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
    /// What is not known to be durable, to be cut off first: whatever lies behind this place of this file.
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
            behind: false,
            held,
            linger: Linger::default(),
            postponed: false,
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
        self.tell_if_behind(plan.behind);
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

    fn tell_if_behind(&mut self, behind: i64) {
        let hours = behind / BEHIND;
        if (hours > 0) == self.behind {
            return;
        }
        self.behind = hours > 0;
        if self.behind {
            tracing::warn!(
                hours,
                "the clock is behind the log: it was ahead once, or is not right now; until it has caught up, events get the \
                 time of the ones before them, and go by retention as much later"
            );
        }
    }

    fn write(&mut self, mut plan: Plan) {
        if plan.is_empty() {
            return self.written(plan);
        }
        let segment = Arc::clone(&self.log.active);
        let mut notes = Vec::new();
        for note in &plan.notes {
            note.encode(&mut notes);
        }
        let entries = frame::encode(&mut self.buffer, segment.salt, self.end, &notes, &plan.chunks);
        if let Err(error) = self.put(&segment) {
            let reason = chain(&error);
            self.core.queue.set_down(Some(reason.clone()));
            // Some of it may have been written, all of it even; what was refused must not come to light after a crash.
            let gone = self.take_back(&segment);
            for pending in std::mem::take(&mut plan.pending) {
                match &gone {
                    Ok(()) => pending.refuse(&reason),
                    Err(_) => pending.leave_unknown(&reason),
                }
            }
            return self.fail(plan, reason);
        }
        let begun = Instant::now();
        let synced = self.sync(&segment);
        self.linger = Linger::after(plan.pending.len(), begun.elapsed());
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
        if self.is_full(1) && matches!(self.state, State::Up) {
            self.roll_or_wait();
        }
    }

    /// Makes known what is durable now, before it is acknowledged: whoever hears of a record finds it.
    fn written(&mut self, mut plan: Plan) {
        let said = std::mem::take(&mut plan.said);
        self.core.registry.publish(&self.image, plan.grown().into_iter(), &plan.notes, said);
        plan.pending.into_iter().for_each(super::request::Pending::acknowledge);
        for (tidy, pending) in plan.tidy {
            if let State::Down(down) = &self.state {
                pending.refuse(&down.reason);
                continue;
            }
            match self.tidy(tidy) {
                Ok(Tidied::Done) => pending.acknowledge(),
                Ok(Tidied::Refused(why)) => pending.refuse(&why),
                Err(error) => {
                    let reason = chain(&error);
                    pending.refuse(&reason);
                    self.go_down(reason);
                }
            }
        }
    }

    fn space(&self) -> Space {
        // When the file system does not answer it has no room either.
        let free =
            rustix::fs::statvfs(&self.core.dir).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        Space { free, reserve: self.core.options.reserve_bytes }
    }

    // === files ===

    fn put(&self, segment: &Segment) -> io::Result<()> {
        segment.file.write_all_at(&self.buffer, self.end)?;
        #[cfg(test)]
        self.core.planted.writes.strike()?;
        Ok(())
    }

    /// Takes back what of a frame was written. Durable when this returns.
    fn take_back(&self, segment: &Segment) -> io::Result<()> {
        #[cfg(test)]
        self.core.planted.cuts.strike()?;
        segment.file.set_len(self.end)?;
        segment.file.sync_all()
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests have it fail"))]
    fn sync(&self, segment: &Segment) -> io::Result<()> {
        #[cfg(test)]
        self.core.planted.syncs.strike()?;
        segment.file.sync_data()
    }

    /// An error is one after which only a fresh look tells what is there.
    fn tidy(&mut self, tidy: Tidy) -> io::Result<Tidied> {
        match tidy {
            Tidy::Trim(_) => Ok(Tidied::Done),
            Tidy::Roll => self.roll(),
            Tidy::Swap { old, new } => self.swap(&old, new.as_ref()),
        }
    }

    /// Whether the active segment has so many times the size of a full one.
    fn is_full(&self, times: usize) -> bool {
        self.end >= self.core.options.segment_bytes.saturating_mul(times as u64)
            || self.log.active.chunks() >= INDEX_CHUNKS * times
    }

    /// Goes on in the next segment, or in this one for a while when there can be no next one now.
    fn roll_or_wait(&mut self) {
        match self.roll() {
            Ok(Tidied::Done) => {}
            Ok(Tidied::Refused(reason)) if self.is_full(POSTPONED) => self.go_down(reason),
            Ok(Tidied::Refused(why)) => {
                if !self.postponed {
                    tracing::warn!(why, "the log cannot go on in another file, and goes on in this one");
                }
                self.postponed = true;
            }
            Err(error) => self.go_down(chain(&error)),
        }
    }

    /// Begins the next segment and seals the one that was written, in this order: when there is no room for the next, or
    /// too many files are open, nothing has changed. Only then a frame goes into the next.
    fn roll(&mut self) -> io::Result<Tidied> {
        if self.end <= HEADER {
            return Ok(Tidied::Done);
        }
        let name = Name { id: self.log.active.name.id + 1, version: 0 };
        let next = match self.create(name) {
            Ok(next) => next,
            Err(error) => return Ok(Tidied::Refused(format!("cannot make {name}: {error}"))),
        };
        self.log.active.seal(self.end)?;
        let sealed = std::mem::replace(&mut self.log.active, Arc::new(next));
        self.log.sealed.push(sealed);
        (self.end, self.postponed) = (HEADER, false);
        self.core.set_log(Some(self.log.clone()));
        if let Err(error) = self.list(&self.log.sealed).map_err(io::Error::from) {
            // The files themselves say what the manifest does not say yet; a start only reads more of them.
            tracing::warn!(error = chain(&error), "the log's manifest is not up to date");
        }
        Ok(Tidied::Done)
    }

    fn create(&self, name: Name) -> io::Result<Segment> {
        #[cfg(test)]
        self.core.planted.creates.strike()?;
        Segment::create(&self.core.dir, name, self.core.options.segment_bytes)
    }

    /// Puts what is left of some segments in their place.
    fn swap(&mut self, old: &[Arc<Segment>], new: Option<&Arc<Segment>>) -> io::Result<Tidied> {
        let Some(at) = self.find(old).filter(|_| new.is_none_or(|new| new.is_there())) else {
            // The files were opened again since, which removed what no manifest listed.
            new.into_iter().filter(|new| new.is_there()).for_each(remove);
            return Ok(Tidied::Refused("its files were opened again since".into()));
        };
        let mut sealed = self.log.sealed.clone();
        sealed.splice(at..at + old.len(), new.cloned());
        match self.list(&sealed) {
            Ok(()) => {
                self.log.sealed = sealed;
                self.core.set_log(Some(self.log.clone()));
                old.iter().for_each(remove);
                Ok(Tidied::Done)
            }
            Err(Unwritten::Before(error)) => {
                new.into_iter().for_each(remove);
                Ok(Tidied::Refused(format!("cannot write the manifest: {error}")))
            }
            Err(Unwritten::Unknown(error)) => Err(error),
        }
    }

    /// Where these segments, and not others of their names, stand one after the other.
    fn find(&self, old: &[Arc<Segment>]) -> Option<usize> {
        if old.is_empty() {
            return None;
        }
        let same =
            |sealed: &[Arc<Segment>]| sealed.iter().zip(old).all(|(one, other)| Arc::ptr_eq(one, other));
        self.log.sealed.windows(old.len()).position(same)
    }

    fn list(&self, sealed: &[Arc<Segment>]) -> Result<(), Unwritten> {
        let listed =
            |segment: &Arc<Segment>| Some(Listed { name: segment.name, frames_end: segment.sealed_at()? });
        let sealed: Vec<_> = sealed.iter().filter_map(listed).collect();
        Manifest::write(&self.core.dir, &sealed, self.log.active.name.id, &self.image)
    }

    // === failing and coming back ===

    fn fail(&mut self, plan: Plan, reason: String) {
        for group in plan.stirred {
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
        let open = Some(&self.log.active).filter(|segment| segment.sealed_at().is_none());
        let cut = open.map(|segment| (segment.path.clone(), self.end));
        self.state =
            State::Down(Down { reason, due: Instant::now() + REOPEN_FIRST, pause: REOPEN_FIRST, cut });
    }

    fn reopen(&mut self) {
        let State::Down(Down { pause, cut, .. }) = &self.state else { return };
        let (pause, cut) = ((*pause * 2).min(REOPEN_MAX), cut.clone());
        match self.open_again(cut.as_ref()) {
            Ok(()) => {
                tracing::info!("the log's files are open again");
                self.state = State::Up;
                self.core.queue.set_down(None);
                let held = std::mem::take(&mut self.held);
                self.work(held);
            }
            Err(error) => {
                let reason = chain(&error);
                tracing::warn!(reason, ?pause, "the log's files could not be opened again");
                self.core.queue.set_down(Some(reason.clone()));
                self.state = State::Down(Down { reason, due: Instant::now() + pause, pause, cut });
            }
        }
    }

    fn open_again(&mut self, doubtful: Option<&(PathBuf, u64)>) -> Result<(), Error> {
        if let Some((path, end)) = doubtful {
            cut(path, *end).map_err(StoreError::from)?;
        }
        let opened = recover::open(&self.core.dir, self.core.options.segment_bytes, &self.log.sealed)?;
        self.core.registry.reset(&opened.image)?;
        self.core.set_log(Some(opened.log.clone()));
        Opened { log: self.log, image: self.image, end: self.end } = opened;
        if self.is_full(POSTPONED)
            && let Tidied::Refused(why) = self.roll().map_err(StoreError::from)?
        {
            return Err(Error::Unavailable(why));
        }
        Ok(())
    }
}

/// The manifest does not list it, so the next start would remove it as well.
fn remove(segment: &Arc<Segment>) {
    if let Err(error) = fs::remove_file(&segment.path) {
        let file = segment.path.display();
        tracing::warn!(%file, error = chain(&error), "a segment that is not needed any more stays");
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
