//! Failures of the disk that tests ask for.

use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
};

/// What is to fail of what the writer does.
#[derive(Default)]
pub(in super::super) struct Planted {
    pub(in super::super) syncs: Strikes,
    /// After everything was written.
    pub(in super::super) writes: Strikes,
    pub(in super::super) cuts: Strikes,
    pub(in super::super) creates: Strikes,
}

/// How many times.
#[derive(Default)]
pub(in super::super) struct Strikes(AtomicU32);

impl Strikes {
    pub(in super::super) fn plant(&self, times: u32) {
        self.0.store(times, Ordering::SeqCst);
    }

    pub(in super::super) fn strike(&self) -> io::Result<()> {
        let struck = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if struck.is_ok() { Err(io::Error::other("planted")) } else { Ok(()) }
    }
}
