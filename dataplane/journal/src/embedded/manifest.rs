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
const MAGIC: [u8; 8] = *b"evhubman";

/// What the manifest says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Sealed segments, oldest first, each with where its frames end.
    pub(super) sealed: Vec<(Name, u64)>,
    /// The first segment whose frames are not in the image.
    pub(super) open: u64,
    pub(super) image: Image,
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
    pub(super) fn write(dir: &Path, sealed: &[(Name, u64)], open: u64, image: &Image) -> io::Result<()> {
        let new = dir.join("manifest.new");
        let mut file = File::create(&new)?;
        file.write_all(&encode(sealed, open, image))?;
        file.sync_all()?;
        fs::rename(&new, dir.join(FILE))?;
        File::open(dir)?.sync_all()
    }
}

fn encode(sealed: &[(Name, u64)], open: u64, image: &Image) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&(FORMAT as u32).to_be_bytes());
    out.extend_from_slice(&open.to_be_bytes());
    out.extend_from_slice(&(sealed.len() as u32).to_be_bytes());
    for (Name { id, version }, data_end) in sealed {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&data_end.to_be_bytes());
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

/// Sealed segments, each with where its frames end.
type Sealed = Vec<(Name, u64)>;

fn list(mut rest: &[u8]) -> Option<(Sealed, u64, &[u8])> {
    let (open, count) = (rest.try_get_u64().ok()?, rest.try_get_u32().ok()?);
    let mut sealed = Vec::new();
    for _ in 0..count {
        let (id, version) = (rest.try_get_u64().ok()?, rest.try_get_u32().ok()?);
        sealed.push((Name { id, version }, rest.try_get_u64().ok()?));
    }
    Some((sealed, open, rest))
}
