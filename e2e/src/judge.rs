//! The end of a run: its history is checked, held to its gate, and reported in one line or with all that explains it.

use std::{fs, io::Write as _, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{
    check::{
        self, Report, Verdict,
        gate::{Figures, Gate},
    },
    hub::build_folder,
    model::Model,
    recorder::Recorder,
};

/// A run that is over.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The scenario's name.
    pub name: &'a str,
    /// What decided everything that was drawn.
    pub seed: u64,
    /// Everything that was written down.
    pub recorder: &'a Recorder,
    /// What the run must have seen.
    pub gate: &'a Gate,
    /// What the hub said.
    pub log: String,
    /// The command that runs it again.
    pub again: String,
}

impl Trial<'_> {
    /// Checks it, and says how it went.
    pub fn judge(&self, model: &Model) -> Result<Figures> {
        let history = self.recorder.history();
        let reports = check::all(&history, model);
        let figures = Figures::of(&history);
        let mut faults = self.recorder.complaints();
        faults.extend(self.gate.missing(&figures).iter().map(|what| format!("the run is void: {what}")));
        faults.extend(self.log.lines().filter(|line| line.contains("panicked")).map(str::to_owned));
        if !faults.is_empty() || reports.iter().any(|report| report.verdict != Verdict::Valid) {
            return self.failed(&faults, &reports);
        }
        let line = format!("{}: seed {}; {figures}; anomalies 0\n", self.name, self.seed);
        // Straight to the terminal: a passing test's own output is not shown.
        std::io::stderr().write_all(line.as_bytes()).context("say how it went")?;
        Ok(figures)
    }

    /// Says what is wrong with it, and keeps what explains that.
    pub fn failed(&self, faults: &[String], reports: &[Report]) -> Result<Figures> {
        let mut said: Vec<String> = faults.iter().take(10).cloned().collect();
        for Report { name, verdict } in reports {
            match verdict {
                Verdict::Valid => {}
                Verdict::Unknown(why) => said.push(format!("{name}: unknown, {why}")),
                Verdict::Invalid(found) => {
                    said.push(format!("{name}: {} anomalies, the first of them", found.len()));
                    said.extend(found.iter().take(3).map(ToString::to_string));
                }
            }
        }
        let lines: Vec<_> = self.log.lines().collect();
        bail!(
            "{name} failed with seed {seed}\n  {said}\n  {figures}\n  kept: {kept}\n  again: {again}\n  the hub's log ends:\n{log}",
            name = self.name,
            seed = self.seed,
            said = said.join("\n  "),
            figures = Figures::of(&self.recorder.history()),
            kept = self.keep().map_or_else(|error| format!("{error:#}"), |path| path.display().to_string()),
            again = self.again,
            log = lines[lines.len().saturating_sub(25)..].join("\n"),
        )
    }

    /// Keeps the history and the hub's log of a failed run.
    fn keep(&self) -> Result<PathBuf> {
        let folder = build_folder()?.join("e2e").join(format!("{}-{}", self.name, self.seed));
        fs::create_dir_all(&folder).context("keep the history")?;
        self.recorder.save(&folder.join("history.jsonl"))?;
        fs::write(folder.join("hub.log"), &self.log).context("keep the log")?;
        Ok(folder)
    }
}
