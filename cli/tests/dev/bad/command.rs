//! The rows that are command lines: how each ends, and what it says.

use std::{ffi::OsString, fs, net::TcpListener, os::unix::ffi::OsStringExt as _, process::Stdio};

use super::table::{Command, bytes};
use crate::{
    process::{err, evhub, out},
    site::PRODUCER,
};

/// Runs a row to its end.
pub(super) fn check(row: &Command) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (dir, address) = (folder.path().display().to_string(), taken.local_addr().unwrap().to_string());
    let written = |text: &str| text.replace("$DIR", &dir).replace("$TAKEN", &address);
    let files = row.files.iter().map(|(name, text)| (name.as_str(), bytes(text)));
    for (name, bytes) in files.chain([("good.yaml", PRODUCER.into())]) {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let mut command = evhub();
    command.args(row.run.iter().map(|word| written(word)));
    command.envs(row.env.iter().map(|(name, value)| (name, OsString::from_vec(bytes(value)))));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = format!("{}{}", out(&output), err(&output));
    if output.status.code() != Some(row.exits) {
        return Err(format!("it exits {:?}, not {}: {said:.600}", output.status.code(), row.exits));
    }
    match row.says.iter().map(|says| written(says)).find(|says| !said.contains(says.as_str())) {
        Some(missing) => Err(format!("it does not say {missing}: {said:.600}")),
        None if said.len() > 16 << 10 => Err(format!("it says {} bytes", said.len())),
        None if said.contains("panicked") => Err(said),
        None => Ok(()),
    }
}
