//! The one notebook of a run: every client, target and fault writes here, with one clock.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::{Context as _, Result};

use crate::history::{Entry, History, Mono, Rec};

/// Cheap to clone; all clones write to the same notebook. A run is short and its load bounded, so it is kept in memory.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    ids: AtomicU64,
    publishing: AtomicI64,
    entries: Mutex<Vec<Entry>>,
    complaints: Mutex<Vec<String>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self(Arc::new(Inner {
            began: Instant::now(),
            ids: AtomicU64::new(1),
            publishing: AtomicI64::new(0),
            entries: Mutex::default(),
            complaints: Mutex::default(),
        }))
    }
}

impl Recorder {
    /// The run's clock.
    pub fn now(&self) -> Mono {
        u64::try_from(self.0.began.elapsed().as_nanos()).unwrap_or(Mono::MAX)
    }

    /// A number that nobody else of this run has.
    pub fn id(&self) -> u64 {
        self.0.ids.fetch_add(1, Relaxed)
    }

    /// Writes down what happens now.
    pub fn push(&self, rec: Rec) {
        // The stamp is taken first: whoever waits for the lock must not look later than it was.
        let at = self.now();
        self.push_at(at, rec);
    }

    /// Writes down what happened then.
    pub fn push_at(&self, at: Mono, rec: Rec) {
        let publishing = match rec {
            Rec::Invoke { .. } => 1,
            Rec::Complete { .. } => -1,
            _ => 0,
        };
        self.0.publishing.fetch_add(publishing, Relaxed);
        lock(&self.0.entries).push(Entry { at, rec });
    }

    /// Whether some publish has begun and not ended.
    pub fn publishing(&self) -> bool {
        self.0.publishing.load(Relaxed) > 0
    }

    /// Something broke a contract of the wire or of processes, which no check of histories would see.
    pub fn complain(&self, text: impl Into<String>) {
        lock(&self.0.complaints).push(text.into());
    }

    /// What was complained of so far.
    pub fn complaints(&self) -> Vec<String> {
        lock(&self.0.complaints).clone()
    }

    /// How many such records there are so far.
    pub fn count(&self, fits: impl Fn(&Rec) -> bool) -> usize {
        lock(&self.0.entries).iter().filter(|entry| fits(&entry.rec)).count()
    }

    /// Everything so far.
    pub fn history(&self) -> History {
        History(lock(&self.0.entries).clone())
    }

    /// Writes the history as JSON lines.
    pub fn save(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        let mut out = BufWriter::new(file);
        for entry in &self.history().0 {
            serde_json::to_writer(&mut out, entry).context("write the history")?;
            out.write_all(b"\n").context("write the history")?;
        }
        out.flush().context("write the history")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
