//! What is in the folder, after whatever happened to the process that wrote it. Does I/O.
//!
//! What the manifest lists was sealed: only its beginning and the summary of its index are looked at, the rest when it is
//! read. What is newer is read through, and judged.

mod judge;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use rustix::fs::SeekFrom;

use self::judge::{Look, Verdict, judge};
use super::{
    StoreError,
    codec::Corrupt,
    frame,
    index::Sealed,
    log::Log,
    manifest::{Listed, Manifest},
    notes::{Image, Note},
    segment::{Directory, HEADER, Name, Segment},
};

/// How much of a file one look for frames takes in.
const BLOCK: usize = 1 << 20;

/// The log as it is.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) log: Log,
    pub(super) image: Image,
    /// Where the next frame goes in the active segment.
    pub(super) end: u64,
}

/// Opens the log in its folder, making it first where there is none. What is open already, and is what the manifest lists,
/// is taken over: who is near the limit of open files could not open everything twice.
pub(super) fn open(dir: &Path, segment_bytes: u64, known: &[Arc<Segment>]) -> Result<Opened, StoreError> {
    let Manifest { sealed: listed, open, mut image } = match Manifest::read(dir)? {
        Some(manifest) => manifest,
        None => begin(dir)?,
    };
    let newer = tidy(dir, &listed, open)?;
    let sealed = listed.iter().map(|listed| open_sealed(dir, *listed, known));
    let mut sealed = sealed.collect::<Result<Vec<_>, _>>()?;
    let newer = look_at_all(dir, open, &newer, &mut image)?;
    if newer.is_empty() && (open > 1 || !listed.is_empty()) {
        return Err(missing(dir, open));
    }
    let next = Name { id: open + newer.len() as u64, version: 0 };
    let (active, end) = match sort(newer, &mut sealed)? {
        Some((segment, end)) => (resume(segment, end, segment_bytes)?, end),
        None => (Segment::create(dir, next, segment_bytes)?, HEADER),
    };
    Ok(Opened { log: Log { sealed, active: Arc::new(active) }, image, end })
}

/// Makes an empty log, unless there is something that is not ours to overwrite.
fn begin(dir: &Path) -> Result<Manifest, StoreError> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name == "keyspaces" || name.ends_with(".jnl") {
            return Err(StoreError::Format(1));
        }
        if Name::parse(&name).is_some() {
            return Err(Corrupt(format!("there are segments in {}, but no manifest", dir.display())).into());
        }
    }
    Manifest::write(dir, &[], 1, &Image::default()).map_err(io::Error::from)?;
    Ok(Manifest { open: 1, ..Manifest::default() })
}

/// Removes what a crash left half-made, and tells which segments the manifest does not list yet.
fn tidy(dir: &Path, sealed: &[Listed], open: u64) -> io::Result<BTreeSet<u64>> {
    let mut newer = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().and_then(Name::parse) else { continue };
        if name.version == 0 && name.id >= open {
            newer.insert(name.id);
        } else if !sealed.iter().any(|listed| listed.name == name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(newer)
}

// === what the manifest lists ===

fn open_sealed(dir: &Path, listed: Listed, known: &[Arc<Segment>]) -> Result<Arc<Segment>, StoreError> {
    let Listed { name, frames_end } = listed;
    let same = |segment: &&Arc<Segment>| segment.name == name && segment.sealed_at() == Some(frames_end);
    if let Some(segment) = known.iter().find(same).filter(|segment| segment.is_there()) {
        return Ok(Arc::clone(segment));
    }
    let segment = match Segment::open(dir, name) {
        Err(StoreError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Corrupt(format!("{name} is missing from {}", dir.display())).into());
        }
        other => other?,
    };
    if let Some(index) = segment.index_behind()?.filter(|index| index.frames_end == frames_end) {
        segment.sealed_with(index);
    } else {
        tracing::warn!(file = %segment.path.display(), "rebuilding the index of a segment");
        let end = scan(&segment, &mut Image::default())?;
        if end != frames_end {
            return Err(damaged(&segment, end));
        }
        segment.seal(frames_end)?;
    }
    Ok(Arc::new(segment))
}

// === what it does not list yet ===

/// A segment, and what its end looks like.
struct Found {
    segment: Segment,
    frames_end: u64,
    index: Option<Sealed>,
    behind: Option<u64>,
}

/// Looks at all that follow each other. The last may not even be begun.
fn look_at_all(
    dir: &Path,
    open: u64,
    ids: &BTreeSet<u64>,
    image: &mut Image,
) -> Result<Vec<Found>, StoreError> {
    let mut all = Vec::new();
    for (id, expected) in ids.iter().zip(open..) {
        if *id != expected {
            return Err(missing(dir, expected));
        }
        all.extend(look_at(dir, *id, ids.last() == Some(id), image)?);
    }
    Ok(all)
}

fn look_at(dir: &Path, id: u64, last: bool, image: &mut Image) -> Result<Option<Found>, StoreError> {
    let name = Name { id, version: 0 };
    let segment = match Segment::open(dir, name) {
        Err(StoreError::Corrupt(corrupt)) if last => {
            let nothing = data_from(&File::open(dir.join(name.to_string()))?, HEADER)?.is_none();
            return if nothing { Ok(None) } else { Err(corrupt.into()) };
        }
        other => other?,
    };
    let frames_end = scan(&segment, image)?;
    let index = segment.index_behind()?;
    let complete = index.as_ref().is_some_and(|index| index.frames_end == frames_end);
    let behind = if complete { None } else { whole_frame_behind(&segment, frames_end)? };
    Ok(Some(Found { segment, frames_end, index, behind }))
}

/// Puts those that are sealed with the others, and gives back the one that goes on, with where it does.
fn sort(newer: Vec<Found>, sealed: &mut Vec<Arc<Segment>>) -> Result<Option<(Segment, u64)>, StoreError> {
    let frames = newer.iter().rposition(|found| found.frames_end > HEADER);
    let mut active = None;
    for (at, found) in newer.into_iter().enumerate() {
        let Found { segment, frames_end, index, behind } = found;
        let sealed_at = index.as_ref().map(|index| index.frames_end);
        let followed = frames.is_some_and(|last| at < last);
        match judge(Look { frames_end, sealed_at, behind, followed }) {
            Verdict::Sealed => {
                if let Some(index) = index {
                    segment.sealed_with(index);
                }
                sealed.push(Arc::new(segment));
            }
            Verdict::Open if active.is_none() => active = Some((segment, frames_end)),
            // The one before it was to be sealed next.
            Verdict::Open => fs::remove_file(&segment.path)?,
            Verdict::Damaged => {
                tracing::error!(
                    file = %segment.path.display(),
                    frames_end,
                    sealed_at,
                    behind,
                    followed,
                    "a batch that was acknowledged is damaged"
                );
                return Err(damaged(&segment, frames_end));
            }
        }
    }
    Ok(active)
}

/// Has nothing of what was not whole show through behind what comes next.
fn resume(segment: Segment, end: u64, segment_bytes: u64) -> io::Result<Segment> {
    segment.file.set_len(end)?;
    segment.file.set_len(segment_bytes.max(end))?;
    segment.file.sync_all()?;
    Ok(segment)
}

/// Takes in every whole frame from the first on, and tells where they end.
fn scan(segment: &Segment, image: &mut Image) -> Result<u64, StoreError> {
    let mut at = HEADER;
    while let Some(Directory { head, entries, notes }) = frame_at(segment, at)? {
        for note in Note::decode_all(&notes)? {
            image.apply(note);
        }
        for (part, entry) in &entries {
            image.grow(*part, entry.next, entry.timestamp);
        }
        segment.add(entries);
        at += head.len();
    }
    Ok(at)
}

/// The frame that begins here, if it is whole.
fn frame_at(segment: &Segment, at: u64) -> Result<Option<Directory>, StoreError> {
    let Some(directory) = segment.directory(at)? else { return Ok(None) };
    for (part, entry) in &directory.entries {
        match segment.body(*part, entry) {
            Ok(_) => {}
            Err(StoreError::Corrupt(_)) => return Ok(None),
            Err(StoreError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(directory))
}

/// Where a frame whose directory is whole begins behind this place.
fn whole_frame_behind(segment: &Segment, end: u64) -> Result<Option<u64>, StoreError> {
    let mut at = end + 1;
    while let Some(data) = data_from(&segment.file, at)? {
        at = data.max(at);
        let mut block = vec![0; BLOCK];
        let len = segment.file.read_at(&mut block, at)?;
        for (index, window) in block.get(..len).unwrap_or_default().windows(frame::MAGIC.len()).enumerate() {
            let candidate = at + index as u64;
            if window == frame::MAGIC && segment.directory(candidate)?.is_some() {
                return Ok(Some(candidate));
            }
        }
        // A magic may lie across two blocks.
        at += (len.saturating_sub(frame::MAGIC.len() - 1)).max(1) as u64;
    }
    Ok(None)
}

/// Where the next bytes are that were ever written; `None` when there are none.
fn data_from(file: &File, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn missing(dir: &Path, id: u64) -> StoreError {
    Corrupt(format!("segment {id} is missing from {}", dir.display())).into()
}

fn damaged(segment: &Segment, at: u64) -> StoreError {
    let path = segment.path.display();
    Corrupt(format!(
        "the batch at byte {at} of {path} was acknowledged and is not what was written: restore the folder from a copy, or \
         choose another one"
    ))
    .into()
}
