//! Everything that is kept, given to its target: what was found once stays mended, on any machine and in a moment.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

use std::{
    collections::BTreeSet,
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use evhub_fuzz::{CANARY, TARGETS, Target};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn kept(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn whatever_is_kept_breaks_nothing() {
    for target in TARGETS.iter().filter(|target| target.name != CANARY.name) {
        let inputs = kept(target);
        assert!(inputs.len() >= 3, "{} has {} inputs to begin with", target.name, inputs.len());
        for (name, input) in inputs {
            let run = catch_unwind(|| (target.run)(&input));
            assert!(run.is_ok(), "corpus/{}/{name} breaks it", target.name);
        }
    }
}

#[test]
fn every_folder_is_a_target_and_small() {
    let known: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    for entry in fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(known.contains(&name), "corpus/{name} belongs to no target");
    }
    let bytes: usize = TARGETS.iter().flat_map(kept).map(|(_, input)| input.len()).sum();
    assert!(bytes < 1 << 20, "the corpus has {bytes} bytes");
}

#[test]
fn the_planted_mistake_is_one() {
    assert!(catch_unwind(|| (CANARY.run)(b"evh7")).is_err());
    for input in [&b"evh"[..], b"evhx", b"Evh7", b""] {
        (CANARY.run)(input);
    }
}
