//! Images without a daemon: the programs as they are shipped, each with the few libraries that it needs and nothing else, as an
//! archive of the OCI's layout. Does I/O.
//!
//! The same tree makes the same bytes: paths of the machine are mapped away, times are the epoch, and names are sorted. What is
//! made quickly, for tests, is larger and has none of that.
//!
//! - [`contents`]: the files of an image
//! - [`archive`]: the layers, the manifest and the archive

pub(crate) mod archive;
mod contents;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use self::archive::Archive;
use crate::{cargo, test::succeed};

/// What an image may weigh, compressed: it is pulled by every node that a pod comes to.
const LIMIT: u64 = 25 << 20;
/// What heads their names, as the chart has it: a node looks for a whole name.
const REGISTRY: &str = "evhub.dev";
/// Where archives go unless somebody says.
const FOLDER: &str = "target/images";

/// An image: the program in it, the package that has the program, and what it is for.
struct Image {
    program: &'static str,
    package: &'static str,
    title: &'static str,
}

const IMAGES: [Image; 3] = [
    Image {
        program: "evhub-operator",
        package: "evhub-operator",
        title: "evhub's operator: compiles Producers and Processors",
    },
    Image {
        program: "evhub-dataplane",
        package: "evhub-dataplane-bin",
        title: "evhub's dataplane: takes events, keeps them in Kafka, delivers them",
    },
    Image { program: "evhub", package: "evhub", title: "evhub's tool" },
];

/// Builds all images, or those that are named.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<()> {
    let wish = Wish::of(words)?;
    let images = wish.images(root)?;
    let programs = if wish.quick { quickly(root, &images)? } else { build(root, &images)? };
    for image in images {
        let folder = wish.out.clone().unwrap_or_else(|| root.join(FOLDER)).join(image.program);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        let files = folder.join("root");
        contents::lay(&programs.join(image.program), &files)?;
        if wish.files {
            println!("{:<16} {}", image.program, files.display());
            continue;
        }
        let tag = format!("{REGISTRY}/{}:{}", image.program, env!("CARGO_PKG_VERSION"));
        let Archive { path, digest, compressed } =
            archive::make((image.program, image.title), &tag, &files, &folder)?;
        let mebibytes = compressed as f64 / f64::from(1 << 20);
        println!("{tag:<28} {digest}  {mebibytes:.1} MiB  {}", path.display());
        ensure!(wish.quick || compressed <= LIMIT, "{tag} is larger than {} MiB, compressed", LIMIT >> 20);
    }
    Ok(())
}

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    names: Vec<String>,
    out: Option<PathBuf>,
    /// Only the files, for a Dockerfile to copy.
    files: bool,
    /// As tests have the programs.
    quick: bool,
}

impl Wish {
    fn of(words: &[&str]) -> Result<Self> {
        let mut wish = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--out" => wish.out = Some(words.next().context("--out needs a folder")?.into()),
                "--files" => wish.files = true,
                "--quick" => wish.quick = true,
                name if IMAGES.iter().any(|image| image.program == name) => wish.names.push(name.to_owned()),
                other => bail!(
                    "there is no {other} here: [evhub-operator] [evhub-dataplane] [evhub] [--out DIR] [--files] [--quick]"
                ),
            }
        }
        Ok(wish)
    }

    /// Those that are named, or all.
    fn images(&self, root: &Path) -> Result<Vec<&'static Image>> {
        let there = cargo::output(root, &["metadata", "--format-version=1", "--no-deps"])?;
        let is_there = |image: &&Image| there.contains(&format!("\"name\":\"{}\"", image.package));
        let is_wanted =
            |image: &&Image| self.names.is_empty() || self.names.iter().any(|name| name == image.program);
        let images: Vec<_> = IMAGES.iter().filter(is_wanted).filter(is_there).collect();
        ensure!(!images.is_empty(), "no crate of the workspace makes that program");
        Ok(images)
    }
}

fn target(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Builds the programs as the tests have them, with what is built already; returns their folder.
fn quickly(root: &Path, images: &[&Image]) -> Result<PathBuf> {
    let mut arguments = vec!["build", "--release", "--workspace"];
    for image in images {
        arguments.extend(["--bin", image.program]);
    }
    succeed(cargo::command(root, &arguments))?;
    Ok(target(root).join("release"))
}

/// Builds the programs as they are shipped; returns their folder.
fn build(root: &Path, images: &[&Image]) -> Result<PathBuf> {
    let target = target(root);
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let home = home.context("find cargo's home, whose path must not be in the programs")?;
    let mut arguments = vec!["build", "--locked", "--profile=dist"];
    for image in images {
        arguments.extend(["--package", image.package, "--bin", image.program]);
    }
    let mut command = cargo::command(root, &arguments);
    // The unit separator is between flags, so that paths may have spaces.
    let maps = [(root, "/evhub"), (target.as_path(), "/target"), (home.as_path(), "/cargo")];
    let flags = maps.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).join("\x1f");
    command.env("CARGO_ENCODED_RUSTFLAGS", flags).env("SOURCE_DATE_EPOCH", "0");
    let map =
        |flag: &str| maps.map(|(from, to)| format!("-{flag}-prefix-map={}={to}", from.display())).join(" ");
    for variable in ["CFLAGS", "CXXFLAGS"] {
        command.env(variable, map("ffile"));
    }
    succeed(command)?;
    Ok(target.join("dist"))
}

#[cfg(test)]
mod tests {
    use super::Wish;

    #[test]
    fn a_wish_is_understood_or_refused() {
        assert_eq!(Wish::of(&[]).unwrap(), Wish::default());
        let wish = Wish::of(&["evhub", "--out", "/tmp/x", "--files"]).unwrap();
        assert!(Wish::of(&["--quick"]).unwrap().quick);
        let expected =
            Wish { names: vec!["evhub".into()], out: Some("/tmp/x".into()), files: true, quick: false };
        assert_eq!(wish, expected);
        for bad in [&["--out"][..], &["evhub-what"], &["--push"]] {
            assert!(Wish::of(bad).is_err(), "{bad:?}");
        }
    }
}
