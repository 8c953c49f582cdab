//! The three files by which two processes know each other: `ca.crt`, and `tls.crt` with `tls.key`. I/O.
//!
//! They are those of a Secret of type `kubernetes.io/tls`. They are read as they are now: whoever wants what was rotated reads
//! them again.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// What the files of a folder say.
#[derive(Debug)]
pub struct Certificates {
    /// Whose signature counts.
    pub roots: RootCertStore,
    /// What we show.
    pub chain: Vec<CertificateDer<'static>>,
    /// That it is ours.
    pub key: PrivateKeyDer<'static>,
}

/// The files make no sense.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// One cannot be read.
    #[error("{}: cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One is no PEM, or lacks what it should have.
    #[error("{}: has no {what} as PEM", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
    },
    /// They do not belong together.
    #[error("{}: {problem}", folder.display())]
    Unfit {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        problem: String,
    },
}

impl Certificates {
    /// Reads the files of a folder.
    pub fn read(folder: &Path) -> Result<Self, Unusable> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&folder.join("ca.crt"))? {
            roots.add(certificate).map_err(|error| Unusable::unfit(folder, &error))?;
        }
        let chain = certificates(&folder.join("tls.crt"))?;
        let path = folder.join("tls.key");
        let key = PrivateKeyDer::from_pem_slice(&read(&path)?)
            .map_err(|_| Unusable::Empty { path, what: "private key" })?;
        Ok(Self { roots, chain, key })
    }
}

impl Unusable {
    /// What is said of the folder as a whole.
    pub fn unfit(folder: &Path, error: &(dyn Error + 'static)) -> Self {
        Self::Unfit { folder: folder.to_owned(), problem: evhub_lifecycle::exit::line(error) }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let empty = || Unusable::Empty { path: path.to_owned(), what: "certificate" };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(empty)
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    fs::read(path).map_err(|source| Unusable::Unreadable { path: path.to_owned(), source })
}
