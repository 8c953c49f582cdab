//! What can be chosen of every measurement.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use evhub_bench::machine;

/// The choices.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How many rounds, after one that is not counted.
    pub(crate) rounds: usize,
    /// How long one measured slice lasts.
    pub(crate) seconds: u32,
    /// Where what must be on a disk is put.
    pub(crate) disk: PathBuf,
    /// A round during which others used more of the machine than this is measured again.
    pub(crate) foreign: f64,
}

/// How often a round is repeated because others were at work, before it counts all the same.
const PATIENCE: usize = 3;

impl Settings {
    /// Reads `--rounds`, `--seconds`, `--disk` and `--foreign`.
    pub(crate) fn read(words: &[&str]) -> Result<Self> {
        let mut settings = Self { rounds: 7, seconds: 3, disk: std::env::temp_dir(), foreign: 5.0 };
        for pair in words.chunks(2) {
            match *pair {
                ["--rounds", value] => settings.rounds = value.parse().context("--rounds")?,
                ["--seconds", value] => settings.seconds = value.parse().context("--seconds")?,
                ["--disk", value] => settings.disk = value.into(),
                ["--foreign", value] => settings.foreign = value.parse().context("--foreign")?,
                [other, ..] => bail!("there is no option {other} with a value"),
                [] => {}
            }
        }
        Ok(settings)
    }

    /// Says what measures, and how.
    pub(crate) fn head(&self, title: &str) {
        let Self { rounds, seconds, .. } = self;
        println!("## {title}\n\n{}; {rounds} rounds of {seconds} s each", machine::describe());
    }

    /// Measures rounds, each again while others were too busy. `round` gives back what it measured and the
    /// others' share of the machine.
    pub(crate) fn measure<T>(&self, mut round: impl FnMut(usize) -> Result<(T, f64)>) -> Result<Measured<T>> {
        let (mut figures, mut worst) = (Vec::new(), 0.0f64);
        for number in 0..=self.rounds {
            let mut tries = 0;
            let (figure, foreign) = loop {
                let (figure, foreign) = round(number)?;
                tries += 1;
                if foreign <= self.foreign || tries == PATIENCE {
                    break (figure, foreign);
                }
                eprintln!("round {number} again: others used {foreign:.0} % of the machine");
            };
            // The first one warms up.
            if number > 0 {
                worst = worst.max(foreign);
                figures.push(figure);
            }
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
