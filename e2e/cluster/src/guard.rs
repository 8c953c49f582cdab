//! Ends the control plane when we are gone, however that came: a shell waits for the end of its input, which ends with us.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

/// Kills whichever parts run in the folder, if they still are those, and removes it, with the nodes' network.
const SCRIPT: &str = r#"
cat >/dev/null
for noted in "$0"/*.pid; do
  pid=$(cat "$noted" 2>/dev/null) || continue
  grep -aqF "$0/" "/proc/$pid/cmdline" 2>/dev/null && kill -9 "$pid"
done
[ ! -e "$0/network.sh" ] || bash "$0/network.sh" down "$0" "$(cat "$0/nodes")"
rm -rf "$0"
"#;

/// Waits for our end.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Drop for Guard {
    /// Whoever drops it has done its work: its folder may be another one's soon.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
        Ok(Self(shell.process_group(0).spawn().context("start the control plane's guard")?))
    }
}
