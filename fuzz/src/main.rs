//! The program that libFuzzer drives: one target of all, by the name that `EVHUB_FUZZ` has. `cargo xtask fuzz` builds and
//! runs it.
#![no_main]

use std::{env, process, sync::LazyLock};

use evhub_fuzz::{Target, target};
use libfuzzer_sys::fuzz_target;

/// Which one is driven.
static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = env::var("EVHUB_FUZZ").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        eprintln!("EVHUB_FUZZ names no target (got {name:?}); `cargo xtask fuzz --list` does");
        process::exit(64)
    })
});

fuzz_target!(|data: &[u8]| (TARGET.run)(data));
