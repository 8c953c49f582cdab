//! Throw-away certificates: an authority, the brokers' and a client's, made by openssl. Does I/O.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Where a cluster's certificates are. All are PEM, which brokers read as well.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Who signed the others.
    pub authority: PathBuf,
    /// A client's.
    pub client: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
    /// The brokers': key, certificate and authority in one.
    pub broker: PathBuf,
}

impl Certificates {
    pub(crate) fn at(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name);
        Self {
            authority: file("ca.pem"),
            client: file("client.crt"),
            client_key: file("client.key"),
            broker: file("broker.pem"),
        }
    }

    /// Makes them, in a folder. Those of another folder are strangers to these.
    pub fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let authority =
            "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=test-authority -keyout ca.key -out ca.pem";
        openssl(folder, authority)?;
        leaf(folder, "broker", "subjectAltName=IP:127.0.0.1,DNS:localhost")?;
        leaf(folder, "client", "extendedKeyUsage=clientAuth")?;
        let made = Self::at(folder);
        let mut whole = Vec::new();
        for part in ["broker.key", "broker.crt", "ca.pem"] {
            whole.extend(fs::read(folder.join(part)).with_context(|| format!("read {part}"))?);
        }
        fs::write(&made.broker, whole).context("write the brokers' certificate")?;
        Ok(made)
    }
}

fn leaf(folder: &Path, name: &str, extension: &str) -> Result<()> {
    fs::write(folder.join(format!("{name}.ext")), extension).context("write a certificate's extensions")?;
    openssl(
        folder,
        &format!("req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"),
    )?;
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out {name}.crt -extfile {name}.ext"
        ),
    )
}

fn openssl(folder: &Path, arguments: &str) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(folder).stdin(Stdio::null());
    let output = command.output().context("run openssl: is it installed?")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl {arguments}: {said}");
    Ok(())
}
