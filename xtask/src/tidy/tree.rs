//! The files of the tree, as text. Does I/O.
//!
//! The folders are walked rather than asked of git, so that an unpacked archive is checked too, and a file is checked
//! before it is added.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::source;

/// Neither ours nor worth a look.
const SKIPPED: [&str; 5] = [".git", "target", ".evhub", "proptest-regressions", "Cargo.lock"];

/// One text file.
pub(crate) struct File {
    /// From the workspace's folder, with slashes.
    pub path: String,
    /// All of it.
    pub text: String,
    /// Whether all of it is a test.
    pub is_test: bool,
}

impl File {
    /// A file that is known to be a test by its place alone.
    pub(crate) fn new(path: String, text: String) -> Self {
        let is_test = source::is_place_of_tests(&path);
        Self { path, text, is_test }
    }

    /// Whether the name ends so.
    pub(crate) fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    /// The lines, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Every text file below the folder, sorted by path.
pub(crate) fn read(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    walk(root, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    source::mark_test_modules(&mut files);
    Ok(files)
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<File>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read the folder {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        // In a worktree of git's, `.git` is a file.
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).with_context(|| format!("read {path}"))?;
            files.extend(String::from_utf8(bytes).ok().map(|text| File::new(path, text)));
        }
    }
    Ok(())
}
