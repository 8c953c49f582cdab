//! Reads manifests from files: whatever cannot be read as a resource becomes part of the world all the same. Does I/O;
//! what a text comes to is decided in `document`.

mod document;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use evhub_compile::{Object, Origin};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The objects, readable or not, by file and line. Who they are is for `identity` to say.
    pub(crate) objects: Vec<Object>,
    /// What was left out, a line each: documents of kinds that are not ours.
    pub(crate) warnings: Vec<String>,
}

/// Paths that cannot be read at all. This is about the command line, not about what a file says.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub(crate) struct Unreadable {
    /// `path: problem`, what to do about it included.
    pub(crate) problems: Vec<String>,
}

/// No manifest comes near; what does is a mistake, and must not fill the memory.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// Reads the files, and of each directory those that are called `*.yaml`, `*.yml` or `*.json`.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Loaded, Unreadable> {
    let mut loaded = Loaded::default();
    let mut problems = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        match manifests_of(path) {
            Ok(found) => files.extend(found),
            Err(error) => problems.push(explain(path, &error)),
        }
    }
    for file in files {
        match read(&file) {
            Ok(bytes) => add(&mut loaded, &file, bytes),
            Err(error) => problems.push(explain(&file, &error)),
        }
    }
    if problems.is_empty() { Ok(loaded) } else { Err(Unreadable { problems }) }
}

fn add(loaded: &mut Loaded, file: &Path, bytes: Vec<u8>) {
    let file = file.display().to_string();
    let text = if bytes.is_empty() {
        // What a full disk leaves of a file that was being saved. Removing the file is how to say that nothing is there.
        Err("the file is empty; remove it if its resources are to go")
    } else if bytes.len() as u64 > MAX_FILE_BYTES {
        Err("the file is larger than 8 MiB")
    } else {
        String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text")
    };
    match text {
        Ok(text) => document::read(&file, &text, loaded),
        Err(problem) => {
            let origin = Origin { file, line: 1 };
            loaded.objects.push(Object::Undecodable { kind: None, origin, problem: problem.into() });
        }
    }
}

/// A directory's manifests in the order of their names; a file is itself.
fn manifests_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if is_manifest(&path) && is_to_be_read(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What cannot be looked at is there all the same, as a link whose target is away: reading it then tells why. Only what was
/// removed since the directory was listed is not.
fn is_to_be_read(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(found) => found.is_file(),
        Err(_) => !fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound),
    }
}

/// Editors and mounts keep files of their own beside ours; their names begin with a dot.
pub(crate) fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// One byte more than allowed tells a file that is too large.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn explain(file: &Path, error: &io::Error) -> String {
    let path = file.display();
    match error.kind() {
        io::ErrorKind::NotFound if fs::symlink_metadata(file).is_ok() => {
            format!("{path}: this link leads nowhere: bring back what it names, or remove it")
        }
        io::ErrorKind::NotFound => format!(
            "{path}: there is no such file or directory: name a directory of manifests, or a file \
             (examples/quickstart has some to start with)"
        ),
        io::ErrorKind::PermissionDenied => format!("{path}: may not be read: check its permissions"),
        _ => format!("{path}: cannot be read ({error})"),
    }
}
