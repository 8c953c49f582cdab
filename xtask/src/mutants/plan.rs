//! What a mutant's file says, and what a file of the tree looks like with it. Pure.
//!
//! ```text
//! what: an offset counts as resolved when its attempt begins
//! check: C-07
//! scenario: e2e_kill::e2e_kill
//!
//! --- path/of/a/file.rs
//!  a line that stays
//! -a line that goes
//! +a line that comes
//! ```
//!
//! It is a patch without line numbers: the lines that stay or go must be found in the file exactly once. In the lines that
//! come, `MUTANT` is true when it is this mutant's turn.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// Which environment variable says whose turn it is.
pub(super) const VARIABLE: &str = "EVHUB_MUTANT";
/// What stands for *it is this mutant's turn*.
const MARK: &str = "MUTANT";

/// A planted mistake.
#[derive(Debug)]
pub(super) struct Mutant {
    /// What it is called.
    pub(super) name: String,
    /// What is wrong with it.
    pub(super) what: String,
    /// What the scenario must say.
    pub(super) check: String,
    /// The test that finds it, as `module::test`.
    pub(super) scenario: String,
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    file: String,
    from: String,
    to: String,
}

impl Mutant {
    /// Reads a mutant's file.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self> {
        let mut mutant = Self {
            name: name.to_owned(),
            what: String::new(),
            check: String::new(),
            scenario: String::new(),
            edits: Vec::new(),
        };
        for line in text.lines() {
            mutant.line(line)?;
        }
        for (what, text) in [("what", &mutant.what), ("check", &mutant.check), ("scenario", &mutant.scenario)]
        {
            ensure!(!text.is_empty(), "it does not say `{what}:`");
        }
        ensure!(!mutant.edits.is_empty(), "it changes nothing");
        Ok(mutant)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        if let Some(file) = line.strip_prefix("--- ") {
            self.edits.push(Edit { file: file.to_owned(), from: String::new(), to: String::new() });
            return Ok(());
        }
        if let Some(edit) = self.edits.last_mut() {
            return edit.line(line);
        }
        let Some((name, value)) = line.split_once(": ") else {
            ensure!(line.is_empty(), "what is `{line}`?");
            return Ok(());
        };
        let field = match name {
            "what" => &mut self.what,
            "check" => &mut self.check,
            "scenario" => &mut self.scenario,
            _ => bail!("it says `{name}:`, which nobody knows"),
        };
        value.clone_into(field);
        Ok(())
    }
}

/// The files that these change, as they are with all of them.
pub(super) fn all(
    mutants: &[Mutant],
    read: impl Fn(&str) -> Result<String>,
) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for Mutant { name, edits, .. } in mutants {
        let is_it = format!("std::env::var_os({VARIABLE:?}).is_some_and(|name| name == {name:?})");
        for Edit { file, from, to } in edits {
            if !files.contains_key(file) {
                files.insert(file.clone(), read(file).with_context(|| format!("{name}: read {file}"))?);
            }
            let text = files.get_mut(file).context("it was just added")?;
            let count = text.matches(from.as_str()).count();
            ensure!(
                count == 1,
                "{name}: in {file} these lines are there {count} times and not once:\n{from}"
            );
            *text = text.replacen(from, &to.replace(MARK, &is_it), 1);
        }
    }
    Ok(files)
}

impl Edit {
    fn line(&mut self, line: &str) -> Result<()> {
        let (from, to) = match line.split_at_checked(1) {
            None | Some((" ", _)) => (true, true),
            Some(("-", _)) => (true, false),
            Some(("+", _)) => (false, true),
            _ => bail!("`{line}` begins neither with a space nor with + nor with -"),
        };
        let rest = line.get(1..).unwrap_or_default();
        for (wanted, text) in [(from, &mut self.from), (to, &mut self.to)] {
            if wanted {
                text.push_str(rest);
                text.push('\n');
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Mutant, all};

    const GOOD: &str =
        "what: wrong\ncheck: C-01\nscenario: a::b\n\n--- x.rs\n one\n-two\n+zwei(MUTANT)\n three\n";

    fn planted(text: &str) -> anyhow::Result<String> {
        let mutant = Mutant::parse("m", GOOD)?;
        Ok(all(&[mutant], |_| Ok(text.to_owned()))?.remove("x.rs").unwrap_or_default())
    }

    #[test]
    fn lines_are_replaced() {
        let expected =
            "zero\none\nzwei(std::env::var_os(\"EVHUB_MUTANT\").is_some_and(|name| name == \"m\"))\nthree\n";
        assert_eq!(planted("zero\none\ntwo\nthree\n").expect("it fits"), expected);
    }

    #[test]
    fn lines_that_are_not_there_once_are_refused() {
        for text in ["one\nthree\n", "one\ntwo\nthree\none\ntwo\nthree\n"] {
            planted(text).expect_err("it does not fit");
        }
    }

    #[test]
    fn what_is_no_mutant() {
        for bad in [
            "",
            "what: x\n",
            "what: x\ncheck: y\nscenario: z\n",
            &GOOD.replace("check", "chuck"),
            &GOOD.replace("-two", "two"),
        ] {
            Mutant::parse("m", bad).expect_err("it is none");
        }
    }
}
