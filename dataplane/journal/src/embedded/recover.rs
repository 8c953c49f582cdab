//! What is in the folder, after whatever happened to the process that wrote it. Does I/O.
//!
//! The newest segment may end in a frame that is not whole: a kill or a power cut leaves one that nobody was told is
//! durable, and it is cut off. A frame that is not whole with a whole one behind it was synced, since the next one was only
//! begun after that; so it is damage, and the log is not opened as if nothing had been.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use rustix::fs::SeekFrom;

use super::{
    StoreError,
    codec::{Corrupt, Part},
    frame::{self, Entry, Head},
    log::Log,
    manifest::Manifest,
    notes::{Image, Note},
    segment::{HEADER, Name, Segment},
};

/// How much of a file one look for frames takes in.
const BLOCK: usize = 1 << 20;

/// The log as it is.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) log: Log,
    pub(super) image: Image,
    /// Where the next frame goes in the last segment.
    pub(super) end: u64,
}

/// Opens the log in a folder, making it first where there is none.
pub(super) fn open(dir: &Path, segment_bytes: u64) -> Result<Opened, StoreError> {
    fs::create_dir_all(dir)?;
    let Manifest { sealed, open, mut image } = match Manifest::read(dir)? {
        Some(manifest) => manifest,
        None => begin(dir)?,
    };
    let tail = tidy(dir, &sealed, open)?;
    let mut segments = Vec::new();
    for (name, data_end) in &sealed {
        segments.push(Arc::new(open_sealed(dir, *name, *data_end)?));
    }
    let (mut id, mut active) = (open, None);
    while tail.contains(&Name { id, version: 0 }) {
        let last = !tail.contains(&Name { id: id + 1, version: 0 });
        match open_tail(dir, id, last, &mut image)? {
            Tail::Sealed(segment) => segments.push(Arc::new(segment)),
            Tail::Open(segment, end) => active = Some((segment, end)),
            // Not even its beginning was written.
            Tail::Empty => break,
        }
        id += 1;
    }
    let fresh = open == 1 && sealed.is_empty();
    if active.is_none() && id == open && !fresh {
        return Err(Corrupt(format!("segment {open} is missing from {}", dir.display())).into());
    }
    let (segment, end) = match active {
        None => (Segment::create(dir, Name { id, version: 0 }, segment_bytes)?, HEADER),
        Some((segment, end)) => {
            // Nothing of what was not whole may show through behind what comes next.
            segment.file.set_len(end)?;
            segment.file.set_len(segment_bytes.max(end))?;
            segment.file.sync_all()?;
            (segment, end)
        }
    };
    segments.push(Arc::new(segment));
    Ok(Opened { log: Log(segments), image, end })
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
    Manifest::write(dir, &[], 1, &Image::default())?;
    Ok(Manifest { open: 1, ..Manifest::default() })
}

/// Removes what a crash left half-made, and tells which segments the manifest does not list yet.
fn tidy(dir: &Path, sealed: &[(Name, u64)], open: u64) -> io::Result<Vec<Name>> {
    let mut tail = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().and_then(Name::parse) else { continue };
        if name.version == 0 && name.id >= open {
            tail.push(name);
        } else if !sealed.iter().any(|(listed, _)| *listed == name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(tail)
}

fn open_sealed(dir: &Path, name: Name, data_end: u64) -> Result<Segment, StoreError> {
    let segment = match Segment::open(dir, name) {
        Err(StoreError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Corrupt(format!("{name} is missing from {}", dir.display())).into());
        }
        other => other?,
    };
    if !segment.load_index(data_end) {
        tracing::warn!(file = %segment.path.display(), "rebuilding the index of a segment");
        let end = scan(&segment, &mut Image::default())?;
        if end != data_end {
            return Err(damaged(&segment, end));
        }
        segment.seal(data_end)?;
    }
    Ok(segment)
}

enum Tail {
    Sealed(Segment),
    Open(Segment, u64),
    Empty,
}

fn open_tail(dir: &Path, id: u64, last: bool, image: &mut Image) -> Result<Tail, StoreError> {
    let segment = match Segment::open(dir, Name { id, version: 0 }) {
        Err(StoreError::Corrupt(corrupt)) if last => {
            let path = dir.join(Name { id, version: 0 }.to_string());
            let nothing = data_from(&File::open(&path)?, HEADER)?.is_none();
            return if nothing { Ok(Tail::Empty) } else { Err(corrupt.into()) };
        }
        other => other?,
    };
    let end = scan(&segment, image)?;
    if segment.load_index(end) {
        return Ok(Tail::Sealed(segment));
    }
    if let Some(at) = whole_frame_behind(&segment, end)? {
        tracing::error!(file = %segment.path.display(), end, behind = at, "a batch that was acknowledged is damaged");
        return Err(damaged(&segment, end));
    }
    if !last {
        // It was sealed before the next one was begun, unless it could not be: then the next holds what came after.
        segment.seal(end)?;
        return Ok(Tail::Sealed(segment));
    }
    Ok(Tail::Open(segment, end))
}

/// Takes in every whole frame from the first on, and tells where they end.
fn scan(segment: &Segment, image: &mut Image) -> Result<u64, StoreError> {
    let mut at = HEADER;
    while let Some((entries, notes, len)) = frame_at(segment, at)? {
        for note in notes {
            image.apply(note);
        }
        for (part, entry) in &entries {
            image.grow(*part, entry.next, entry.timestamp);
        }
        segment.add(entries);
        at += len;
    }
    Ok(at)
}

type Whole = (Vec<(Part, Entry)>, Vec<Note>, u64);

/// The frame that begins here, if it is whole.
fn frame_at(segment: &Segment, at: u64) -> Result<Option<Whole>, StoreError> {
    let Some((head, entries, notes)) = directory_at(segment, at)? else { return Ok(None) };
    for (part, entry) in &entries {
        match segment.body(*part, entry) {
            Ok(_) => {}
            Err(StoreError::Corrupt(_)) => return Ok(None),
            Err(StoreError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some((entries, Note::decode_all(&notes)?, head.len())))
}

type Directory = (Head, Vec<(Part, Entry)>, Vec<u8>);

fn directory_at(segment: &Segment, at: u64) -> Result<Option<Directory>, StoreError> {
    let Some(head) = read(segment, at, frame::HEAD)?.as_deref().and_then(Head::decode) else {
        return Ok(None);
    };
    let Some(inner) = read(segment, at + frame::HEAD as u64, head.inner())? else { return Ok(None) };
    let opened = head.open(segment.salt, at, &inner);
    Ok(opened.map(|(entries, notes)| (head, entries, notes.to_vec())))
}

/// Bytes of the file; `None` if it ends before.
fn read(segment: &Segment, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
    match segment.read(at, len) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
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
            if window == frame::MAGIC && directory_at(segment, candidate)?.is_some() {
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

fn damaged(segment: &Segment, at: u64) -> StoreError {
    let path = segment.path.display();
    Corrupt(format!(
        "the batch at byte {at} of {path} is not what was written, and acknowledged ones follow it: restore the folder \
         from a copy, or choose another one"
    ))
    .into()
}
