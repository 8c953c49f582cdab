//! The last good copy on disk: whole or not there, checked when it is read, and for nobody else to read. I/O.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use evhub_routing::{
    Snapshot,
    wire::{self, Invalid, MAX_BYTES, Update},
};
use prost::Message as _;
use tracing::error;
use xxhash_rust::xxh3::xxh3_64;

/// The copy cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot keep what runs here", path.display())]
pub struct Unkept {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Why a file is no copy.
#[derive(Debug, thiserror::Error)]
enum Damaged {
    #[error("not what evhub wrote there, or not all of it")]
    Checksum,
    #[error("written by another version, and not readable by this one")]
    Parts(#[source] prost::DecodeError),
    #[error("written by another version, and not readable by this one")]
    Snapshot(#[source] Invalid),
}

const FILE: &str = "snapshot";
/// What it begins with: what it is, and in which form.
const MAGIC: &[u8] = b"evhub snapshot 1\n";

/// The copy, if there is one. One that cannot be read is set aside, so that somebody can look at it, and is told of loudly;
/// what is on the control stream or in the log is as good.
pub(super) fn read(data: &Path) -> Result<Option<Snapshot>, Unkept> {
    let path = data.join(FILE);
    let unkept = |source| Unkept { path: path.clone(), source };
    fs::create_dir_all(data).map_err(unkept)?;
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unkept(error)),
    };
    match decode(&bytes) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(damaged) => {
            let aside = path.with_extension("damaged");
            fs::rename(&path, &aside).map_err(unkept)?;
            let problem = evhub_lifecycle::exit::line(&damaged);
            error!(path = %path.display(), aside = %aside.display(), problem, "the copy of what to run is not used");
            Ok(None)
        }
    }
}

/// Replaces the copy, durably. A copy has nothing deleted: only whoever serves control does, at the time. What comes from a Secret is not on disk: Processors that send such a thing begin when control
/// is served again, and lose nothing by waiting.
pub(super) fn write(data: &Path, snapshot: &Snapshot) -> Result<(), Unkept> {
    let path = data.join(FILE);
    let mut shown = snapshot.clone();
    shown.processors.retain(|_, processor| !processor.target.secret);
    shown.removals.clear();
    evhub_lifecycle::replace(&path, &encode(&shown)).map_err(|source| Unkept { path, source })
}

/// What this replica is called, now and after every start from this folder: as its machine or pod is, and apart from others
/// there.
pub fn replica(data: &Path) -> Result<String, Unkept> {
    let path = data.join("replica");
    let unkept = |source| Unkept { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unkept(error)),
    }
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = machine.trim();
    let name = format!("{}-{:08x}", if machine.is_empty() { "replica" } else { machine }, fastrand::u32(..));
    fs::create_dir_all(data)
        .and_then(|()| evhub_lifecycle::replace(&path, name.as_bytes()))
        .map_err(unkept)?;
    Ok(name)
}

/// What it is, its parts as they go over the wire, and a checksum of both.
fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for part in wire::parts(None, snapshot) {
        part.encode_length_delimited(&mut bytes).expect("a vector has room for whatever comes");
    }
    let checksum = xxh3_64(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<Snapshot, Damaged> {
    let (body, checksum) = bytes.split_last_chunk::<8>().ok_or(Damaged::Checksum)?;
    let mut rest = body.strip_prefix(MAGIC).ok_or(Damaged::Checksum)?;
    if xxh3_64(body) != u64::from_le_bytes(*checksum) || body.len() > 2 * MAX_BYTES {
        return Err(Damaged::Checksum);
    }
    let mut parts = Vec::new();
    while !rest.is_empty() {
        parts.push(Update::decode_length_delimited(&mut rest).map_err(Damaged::Parts)?);
    }
    wire::whole(parts).map_err(Damaged::Snapshot)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{super::tests::snapshot, *};

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("made/when/needed");
        assert_eq!(read(&data).unwrap(), None);
        write(&data, &snapshot(1, 7, &["orders"])).unwrap();
        assert_eq!(read(&data).unwrap(), Some(snapshot(1, 7, &["orders"])));
        let file = data.join(FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(decode(&bytes).is_err(), "a bit of byte {at} may flip unseen");
            assert!(decode(&whole[..at]).is_err(), "{at} bytes are taken for the whole");
        }
        fs::write(&file, &whole[1..]).unwrap();
        assert_eq!(read(&data).unwrap(), None);
        assert!(!file.exists() && data.join("snapshot.damaged").exists());
        let name = replica(&data).unwrap();
        assert!(name.len() > 9 && replica(&data).unwrap() == name, "{name}");
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("file");
        fs::write(&data, "").unwrap();
        let said = read(&data).unwrap_err().to_string();
        assert!(said.contains("cannot keep what runs here"), "{said}");
        assert!(write(&data, &snapshot(1, 1, &[])).is_err());
    }
}
