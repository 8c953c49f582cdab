//! How many tests passed, from the runner's own lines. Pure.

use std::fmt;

/// The sum over all test binaries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
}

impl Tally {
    /// Adds what a line says, if it is a summary: `test result: ok. 3 passed; 0 failed; …`.
    pub(crate) fn hear(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((n, "passed")) => self.passed += n.parse().unwrap_or(0),
                Some((n, "failed")) => self.failed += n.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    //! Lines as the runner writes them.

    use super::*;

    #[test]
    fn summaries_are_summed_and_all_else_is_passed_over() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "9 passed; 9 failed",
            "test result: FAILED. 20 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.01s",
            "",
        ] {
            tally.hear(line);
        }
        assert_eq!(tally, Tally { passed: 23, failed: 2 });
        assert_eq!(tally.to_string(), "23 passed, 2 failed");
    }
}
