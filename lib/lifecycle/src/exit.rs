//! How a process ends: exit codes, and errors as text from intent to cause. No I/O.

use std::{error::Error, fmt, fmt::Write as _, iter::successors};

/// The exit codes of every program of ours, as scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All that was asked for is done.
    Success = 0,
    /// It was tried, and failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 64,
    /// The hub cannot be reached.
    Unreachable = 69,
    /// What was to be run cannot be: files and settings.
    Configuration = 78,
}

/// Files or settings with which nothing can run, every problem as `path: problem (got …, allowed …)`; exits 78.
#[derive(Debug)]
pub struct Configuration(pub Vec<String>);

/// An error, from intent to cause, a line each.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("error: {error}\n");
    for cause in chain(error).skip(1) {
        let _ = writeln!(text, "  because: {cause}");
    }
    text
}

/// An error and its causes, on one line.
pub fn line(error: &(dyn Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// One line that cannot steer a terminal, whatever somebody else put into it.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n    {}", printable(problem)))
    }
}

impl Error for Configuration {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_lists_every_problem() {
        let problems = ["a.yaml: is empty", "b.yaml: \u{1b}[2J"].map(ToOwned::to_owned).to_vec();
        let text = "error: the configuration cannot be used\n    a.yaml: is empty\n    b.yaml: \\u{1b}[2J\n";
        assert_eq!(explain(&Configuration(problems)), text);
    }
}
