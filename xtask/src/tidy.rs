//! Rules about the tree that the compiler does not know. All problems are told at once, as `path:line: problem`.
//!
//! - [`imports`]: what a crate may use and must never see, by the tables in [`rules`]
//! - [`mentions`]: what a crate's source must not mention, by a table in [`rules`]
//! - [`sizes`]: long files and long functions
//! - [`opening`]: files that do not say what they are
//! - [`words`]: words that must not stay
//! - [`promises`]: promises in `docs/delivery.md` and the tests behind them
//! - [`tree`]: the files, [`source`]: what is a test and what is a function

mod imports;
mod mentions;
mod opening;
mod promises;
mod rules;
mod sizes;
mod source;
mod tree;
mod words;
mod workspace;

use std::{fmt, path::Path};

use anyhow::{Result, bail};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    path: String,
    line: usize,
    text: String,
}

/// Reads the tree and says everything that is wrong with it. Does I/O; the rules themselves are pure.
pub(crate) fn run(root: &Path) -> Result<()> {
    let files = tree::read(root)?;
    let workspace = workspace::read(root)?;

    let mut problems = imports::check(&workspace);
    problems.extend(mentions::check(&files));
    problems.extend(sizes::check(&files));
    problems.extend(opening::check(&files));
    problems.extend(words::check(&files));
    problems.extend(promises::check(&files, &workspace));
    problems.sort();

    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        n => bail!("tidy found {n} problem{}", if n == 1 { "" } else { "s" }),
    }
}

impl Problem {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}
