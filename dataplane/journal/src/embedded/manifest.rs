//! The manifest: which segments there are, and all bookkeeping up to the one that is written. Does I/O.
//!
//! It is replaced as a whole, so the log is always what one manifest says and what the newest segments add. `magic ‖ format
//! ‖ first segment not listed ‖ segments ‖ notes ‖ checksum`.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use bytes::Buf;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    FORMAT, StoreError,
    codec::Corrupt,
    notes::{Image, Note},
    segment::Name,
};

const FILE: &str = "manifest";
const NEW: &str = "manifest.new";
const MAGIC: [u8; 8] = *b"evhubman";

/// What the manifest says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Sealed segments, oldest first.
    pub(super) sealed: Vec<Listed>,
    /// The first segment whose frames are not in the image.
    pub(super) open: u64,
    pub(super) image: Image,
}

/// A sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: Name,
    pub(super) frames_end: u64,
}

/// Why it was not replaced.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// The old one counts.
    Before(io::Error),
    /// The old one or the new one does.
    Unknown(io::Error),
}

impl Manifest {
    /// Reads it; `None` where there is none.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        match fs::read(dir.join(FILE)) {
            Ok(bytes) => decode(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces it. Durable when this returns.
    pub(super) fn write(dir: &Path, sealed: &[Listed], open: u64, image: &Image) -> Result<(), Unwritten> {
        let new = dir.join(NEW);
        let folder = prepare(dir, &new, &encode(sealed, open, image)).map_err(Unwritten::Before)?;
        let replace = || {
            fs::rename(&new, dir.join(FILE))?;
            folder.sync_all()
        };
        replace().map_err(Unwritten::Unknown)
    }
}

/// Makes ready all that takes room or file descriptors; gives back the folder, to be synced.
fn prepare(dir: &Path, new: &Path, bytes: &[u8]) -> io::Result<File> {
    let folder = File::open(dir)?;
    let mut file = File::create(new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(folder)
}

fn encode(sealed: &[Listed], open: u64, image: &Image) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&(FORMAT as u32).to_be_bytes());
    out.extend_from_slice(&open.to_be_bytes());
    out.extend_from_slice(&(sealed.len() as u32).to_be_bytes());
    for Listed { name, frames_end } in sealed {
        out.extend_from_slice(&name.id.to_be_bytes());
        out.extend_from_slice(&name.version.to_be_bytes());
        out.extend_from_slice(&frames_end.to_be_bytes());
    }
    image.notes().iter().for_each(|note| note.encode(&mut out));
    let sum = xxh3_64(&out);
    out.extend_from_slice(&sum.to_be_bytes());
    out
}

fn decode(bytes: &[u8]) -> Result<Manifest, StoreError> {
    let damaged = || Corrupt("the manifest is not what was written".into());
    let head = |mut rest: &[u8]| rest.try_get_u32().ok().map(u64::from);
    match bytes.strip_prefix(&MAGIC).and_then(head) {
        Some(FORMAT) => {}
        Some(format) => return Err(StoreError::Format(format)),
        None => return Err(damaged().into()),
    }
    let (whole, mut sum) =
        bytes.split_last_chunk::<8>().map(|(whole, sum)| (whole, &sum[..])).ok_or_else(damaged)?;
    let manifest = (sum.get_u64() == xxh3_64(whole)).then(|| list(whole.get(MAGIC.len() + 4..)?)).flatten();
    let (sealed, open, notes) = manifest.ok_or_else(damaged)?;
    let mut image = Image::default();
    Note::decode_all(notes)?.into_iter().for_each(|note| image.apply(note));
    Ok(Manifest { sealed, open, image })
}

fn list(mut rest: &[u8]) -> Option<(Vec<Listed>, u64, &[u8])> {
    let (open, count) = (rest.try_get_u64().ok()?, rest.try_get_u32().ok()?);
    let mut sealed = Vec::new();
    for _ in 0..count {
        let (id, version) = (rest.try_get_u64().ok()?, rest.try_get_u32().ok()?);
        sealed.push(Listed { name: Name { id, version }, frames_end: rest.try_get_u64().ok()? });
    }
    Some((sealed, open, rest))
}

impl From<Unwritten> for io::Error {
    fn from((Unwritten::Before(error) | Unwritten::Unknown(error)): Unwritten) -> Self {
        error
    }
}
