//! Ends the brokers when we are gone, however that came: a shell waits for the end of its input, which ends with us.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

/// Kills whichever brokers run in the folder, if they still are those, and removes it.
const SCRIPT: &str = r#"
cat >/dev/null
for home in "$0"/node-*; do
  pid=$(cat "$home/pid" 2>/dev/null) || continue
  grep -aqF "$home/server.properties" "/proc/$pid/cmdline" 2>/dev/null && kill -9 "$pid"
done
rm -rf "$0"
"#;

/// Waits for our end.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    pub(crate) fn over(folder: &Path) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", SCRIPT])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // A Ctrl-C ends us, and then it has its work to do.
        Ok(Self(shell.process_group(0).spawn().context("start the brokers' guard")?))
    }

    /// It has nothing to do any more.
    pub(crate) fn dismiss(mut self) {
        // It is gone already, or goes now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
