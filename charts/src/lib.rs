//! The Helm chart `charts/evhub`, seen from outside: rendered by the Helms that people have, and as the page of its values.
//! Runs processes.
//!
//! In: a file of values. Out: what Helm makes of the chart with it, as text and as objects. It knows nothing of what the
//! objects mean; its tests do.
//!
//! - [`program`]: programs in Go, built from their modules once
//! - [`helm`]: the chart as a Helm renders it
//! - [`page`]: the chart's README, made from its values

pub mod helm;
pub mod page;
pub mod program;

use std::path::{Path, PathBuf};

/// The folder of the charts.
pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The chart's own folder.
pub fn chart() -> PathBuf {
    folder().join("evhub")
}
