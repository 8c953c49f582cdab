//! The engine's write-ahead file after a power cut. Does I/O.
//!
//! Blocks reach the disk in any order until they are synced, so a power cut may leave the last batch with its end but
//! with a hole inside. Nobody was told that this batch is durable. The engine discards a last batch that has no end, but
//! takes one whose checksum is wrong for damage, and would not open again. Here such a batch is cut off, if and only if
//! nothing follows it: a batch with others behind it was synced, and its checksum tells of real damage.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use bytes::Buf;
use xxhash_rust::xxh3::xxh3_64;

// The engine's format: `START count seqno`, that many items, `END checksum magic`, integers little endian.
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const MAGIC: &[u8] = b"FJL\x03";

/// Cuts a torn last batch off the newest write-ahead file in this folder; false when there is none.
pub(super) fn cut_torn_batch(log: &Path) -> io::Result<bool> {
    let Some(path) = newest(log)? else { return Ok(false) };
    let Some(at) = torn(&fs::read(&path)?) else { return Ok(false) };
    let file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(at as u64)?;
    file.sync_all()?;
    tracing::warn!(file = %path.display(), at, "cut off a last batch that is not whole, as a power cut leaves one that was not yet acknowledged");
    Ok(true)
}

fn newest(log: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(log)? {
        let path = entry?.path();
        let number =
            path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|ext| ext == "jnl")) {
            newest = newest.max(Some((number, path)));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Where a batch begins that is complete but for its bytes, and has nothing behind it.
fn torn(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    loop {
        let at = bytes.len() - rest.len();
        if !batch(&mut rest)? {
            // The file is made longer in advance: nothing is zeros.
            return rest.iter().all(|byte| *byte == 0).then_some(at);
        }
    }
}

/// Passes one batch; whether its checksum is right. `None` for what the engine itself recognises as incomplete.
fn batch(rest: &mut &[u8]) -> Option<bool> {
    tag(rest, START)?;
    let count = rest.try_get_u32_le().ok()?;
    skip(rest, 8)?;
    let from = *rest;
    for _ in 0..count {
        tag(rest, ITEM)?;
        // Kind of value, compression, keyspace.
        skip(rest, 1 + 1 + 8)?;
        let key = rest.try_get_u16_le().ok()?;
        skip(rest, 4)?;
        let value = rest.try_get_u32_le().ok()?;
        skip(rest, usize::from(key) + value as usize)?;
    }
    let items = &from[..from.len() - rest.len()];
    tag(rest, END)?;
    let checksum = rest.try_get_u64_le().ok()?;
    *rest = rest.strip_prefix(MAGIC)?;
    Some(checksum == xxh3_64(items))
}

fn tag(rest: &mut &[u8], tag: u8) -> Option<()> {
    (rest.try_get_u8().ok()? == tag).then_some(())
}

fn skip(rest: &mut &[u8], len: usize) -> Option<()> {
    *rest = rest.get(len..)?;
    Some(())
}
