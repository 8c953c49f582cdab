//! Gathers settings from a file of lines, or from a folder in which each file is one setting, as a mounted Secret is. Reads
//! files.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use super::{Invalid, check, unprotected};

/// What the name of a file ends in that is lines of settings and no single one.
const LINES: &str = "properties";

/// What was gathered, and all that is wrong with it.
#[derive(Default)]
pub(super) struct Gathered {
    values: BTreeMap<String, String>,
    problems: String,
}

impl Gathered {
    /// What a file or a folder holds.
    pub(super) fn from(path: &Path) -> Result<Self, Invalid> {
        let mut gathered = Self::default();
        if path.is_dir() {
            for name in files(path)? {
                let file = path.join(&name);
                let text = text(&file)?;
                if name.strip_suffix(LINES).is_some_and(|stem| stem.ends_with('.')) {
                    gathered.lines(&format!("{name} "), &text);
                } else {
                    gathered.one("", &name, text.trim_end_matches(['\r', '\n']));
                }
            }
        } else {
            gathered.lines("", &text(path)?);
        }
        Ok(gathered)
    }

    /// Lines of `name=value`, comments and blanks; `file` stands before the number of a bad one.
    pub(super) fn lines(&mut self, file: &str, text: &str) {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let place = format!("{file}line {}: ", index + 1);
            match line.split_once('=') {
                Some((name, value)) => self.one(&place, name.trim(), value.trim()),
                None => self.problem(&place, "a line is name=value"),
            }
        }
    }

    /// All of it, or every problem.
    pub(super) fn finish(mut self) -> Result<BTreeMap<String, String>, Invalid> {
        if let Some(problem) = unprotected(&self.values) {
            self.problem("", problem);
        }
        if self.problems.is_empty() { Ok(self.values) } else { Err(Invalid(self.problems)) }
    }

    fn one(&mut self, place: &str, name: &str, value: &str) {
        if let Err(problem) = check(name, value) {
            self.problem(place, &problem);
        } else if self.values.insert(name.to_owned(), value.to_owned()).is_some() {
            self.problem(place, &format!("{name} is there twice"));
        }
    }

    fn problem(&mut self, place: &str, problem: &str) {
        let joint = if self.problems.is_empty() { "" } else { "; " };
        let _ = write!(self.problems, "{joint}{place}{problem}");
    }
}

/// The names of a folder's files, sorted. What begins with a dot is Kubernetes' own book-keeping in a mounted volume.
fn files(folder: &Path) -> Result<Vec<String>, Invalid> {
    let cannot = |error| Invalid(format!("{} cannot be read: {error}", folder.display()));
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn text(file: &Path) -> Result<String, Invalid> {
    fs::read_to_string(file).map_err(|error| Invalid(format!("{} cannot be read: {error}", file.display())))
}
