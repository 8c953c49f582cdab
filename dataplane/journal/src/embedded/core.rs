//! What the writer, the readers and the members share. Does I/O.

use std::{
    path::PathBuf,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use super::{
    plan::Request,
    queue::Queue,
    registry::Registry,
    store::{Image, Store, StoreError, Writes, chain},
};
use crate::Error;

/// The log's parts.
pub(super) struct Core {
    pub(super) dir: PathBuf,
    pub(super) reserve: u64,
    memtable: u64,
    pub(super) queue: Queue<Request>,
    pub(super) registry: Registry,
    /// Empty while the engine is being opened again, and after the end. Its lock is held shared for as long as a read or
    /// a write lasts, and exclusively only to swap the engine, so nobody waits for anybody else's sync.
    store: RwLock<Option<Store>>,
}

impl Core {
    pub(super) fn new(dir: PathBuf, reserve: u64, memtable: u64, queue: Queue<Request>) -> Self {
        Self { dir, reserve, memtable, queue, registry: Registry::default(), store: RwLock::new(None) }
    }

    /// Runs a read against the engine.
    pub(super) fn reading<T>(&self, read: impl FnOnce(&Store) -> Result<T, StoreError>) -> Result<T, Error> {
        self.try_reading(read)?.ok_or_else(|| Error::Unavailable("its files are not open".into()))
    }

    /// Runs a read against the engine; `None` while it is not open.
    pub(super) fn try_reading<T>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError>,
    ) -> Result<Option<T>, Error> {
        Ok(self.store().as_ref().map(read).transpose()?)
    }

    // === the writer's ===

    /// Opens the engine and tells what it holds.
    pub(super) fn open(&self) -> Result<Image, StoreError> {
        let store = Store::open(&self.dir, self.memtable)?;
        let image = store.image()?;
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
        Ok(image)
    }

    pub(super) fn healthy(&self) -> bool {
        self.store().as_ref().is_some_and(Store::healthy)
    }

    pub(super) fn commit(&self, writes: Writes) -> Result<(), fjall::Error> {
        self.store().as_ref().map_or(Err(fjall::Error::Poisoned), |store| store.commit(writes))
    }

    pub(super) fn rotate(&self) -> Result<(), fjall::Error> {
        self.store().as_ref().map_or(Ok(()), Store::rotate)
    }

    /// Closes the engine, waiting for reads under way. Reads that come later are refused.
    pub(super) fn shut(&self) {
        let store = self.store.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(store) = store
            && let Err(error) = store.sync()
        {
            tracing::warn!(error = chain(&error), "the log's last sync failed");
        }
    }

    fn store(&self) -> RwLockReadGuard<'_, Option<Store>> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }
}
