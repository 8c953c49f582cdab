//! What can be chosen of every measurement.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use evhub_bench::machine;

/// The choices.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What is measured.
    name: &'static str,
    /// How many rounds, after one that is not counted.
    pub(crate) rounds: usize,
    /// How long one measured slice lasts.
    pub(crate) seconds: u32,
    /// Where what must be on a disk is put.
    pub(crate) disk: PathBuf,
    /// A round during which others used more of the machine than this, in percent, is measured again.
    pub(crate) foreign: f64,
    /// Whether what can be measured on brokers is measured on the embedded log.
    pub(crate) embedded: bool,
    /// How many timers are to be pending, one measurement each.
    pub(crate) pending: Vec<u64>,
}

/// What a measurement takes where nothing else is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usual {
    /// How many rounds.
    pub(crate) rounds: usize,
    /// How long a slice of one lasts.
    pub(crate) seconds: u32,
}

/// How many rounds of a measurement are repeated because others were at work, before those count all the same: on a machine
/// that is never quiet, a measurement must end too.
const PATIENCE: usize = 3;

impl Settings {
    /// Reads `--rounds`, `--seconds`, `--disk`, `--foreign`, `--log` and `--pending`.
    pub(crate) fn read(name: &'static str, usual: Usual, words: &[&str]) -> Result<Self> {
        let Usual { rounds, seconds } = usual;
        let (disk, pending) = (std::env::temp_dir(), vec![100_000, 1_000_000]);
        let mut settings = Self { name, rounds, seconds, disk, foreign: 5.0, embedded: false, pending };
        for pair in words.chunks(2) {
            match *pair {
                ["--rounds", value] => settings.rounds = value.parse().context("--rounds")?,
                ["--seconds", value] => settings.seconds = value.parse().context("--seconds")?,
                ["--disk", value] => settings.disk = value.into(),
                ["--foreign", value] => settings.foreign = value.parse().context("--foreign")?,
                ["--log", "kafka"] => settings.embedded = false,
                ["--log", "embedded"] => settings.embedded = true,
                ["--pending", value] => {
                    let counts = value.split(',').filter(|count| !count.is_empty()).map(str::parse);
                    settings.pending = counts.collect::<Result<_, _>>().context("--pending")?;
                }
                [other, ..] => bail!("there is no option {other} with a value"),
                [] => {}
            }
        }
        Ok(settings)
    }

    /// Says what measures, and how.
    pub(crate) fn head(&self, title: &str) {
        let Self { name, rounds, seconds, .. } = self;
        println!("\n## {title}\n\n`cargo xtask bench {name} --rounds {rounds} --seconds {seconds}`\n");
        print!("{}", machine::describe());
    }

    /// Measures rounds, each again while others were too busy. `round` gives back what it measured and the
    /// others' share of the machine.
    pub(crate) fn measure<T>(&self, mut round: impl FnMut(usize) -> Result<(T, f64)>) -> Result<Measured<T>> {
        let (mut figures, mut worst, mut patience) = (Vec::new(), 0.0f64, PATIENCE);
        // It warms up.
        round(0)?;
        while figures.len() < self.rounds {
            let number = figures.len() + 1;
            let (figure, foreign) = round(number)?;
            if foreign > self.foreign && patience > 0 {
                patience -= 1;
                eprintln!("round {number} again: others used {foreign:.0} % of the machine");
                continue;
            }
            worst = worst.max(foreign);
            figures.push(figure);
        }
        Ok(Measured { figures, worst })
    }
}

/// What the rounds came to.
#[derive(Debug)]
pub(crate) struct Measured<T> {
    /// A figure for each round.
    pub(crate) figures: Vec<T>,
    /// The most that others used of the machine in any of them, in percent.
    pub(crate) worst: f64,
}
