//! The files of an image: a program, what the loader wants for it, the certificates of the system's authorities, and a user
//! that is not the superuser. Does I/O.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// Where Debian and its like keep the authorities that they trust.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Files that libraries and programs look into.
const TEXTS: [(&str, &str); 3] = [
    ("etc/passwd", "evhub:x:65532:65532:evhub:/:/none\n"),
    ("etc/group", "evhub:x:65532:\n"),
    // Else names are asked of nobody.
    ("etc/nsswitch.conf", "hosts: files dns\n"),
];

/// Lays them into a folder.
pub(super) fn lay(program: &Path, into: &Path) -> Result<()> {
    let name = program.file_name().context("a program has a name")?;
    put(program, &into.join(name), 0o755)?;
    for library in libraries(program)? {
        put(&library, &below(into, &library)?, 0o755)?;
    }
    put(Path::new(AUTHORITIES), &below(into, Path::new(AUTHORITIES))?, 0o644)
        .context("the image needs the authorities that are trusted: install ca-certificates")?;
    for (path, text) in TEXTS {
        let file = into.join(path);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        mode(&file, 0o644)?;
    }
    Ok(())
}

/// The libraries and the loader, where the loader looks for them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("run ldd")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains("statically linked") {
        return Ok(Vec::new());
    }
    ensure!(
        output.status.success(),
        "{} cannot be looked into: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let libraries = parse(&said)?;
    ensure!(!libraries.is_empty(), "ldd names no library of {}", program.display());
    Ok(libraries)
}

/// Lines are `name => path (address)` and `path (address)`; the kernel's own has no path.
fn parse(said: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in said.lines().map(str::trim) {
        ensure!(!line.ends_with("not found"), "a library is missing: {line}");
        let place = line.split_once("=> ").map_or(line, |(_, place)| place);
        let path = place.split(" (").next().unwrap_or_default();
        if path.starts_with('/') {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

fn below(root: &Path, path: &Path) -> Result<PathBuf> {
    Ok(root.join(path.strip_prefix("/").with_context(|| format!("{} is not absolute", path.display()))?))
}

/// Copies what the path leads to, links followed.
fn put(from: &Path, to: &Path, bits: u32) -> Result<()> {
    let folder = to.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    mode(to, bits)
}

fn mode(file: &Path, bits: u32) -> Result<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(bits))
        .with_context(|| format!("set the mode of {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_says_is_understood() {
        let said = "\tlinux-vdso.so.1 (0x7f)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libz.so.1", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse(said).unwrap(), expected);
        assert!(parse("\tlibssl.so.3 => not found\n").is_err());
    }
}
