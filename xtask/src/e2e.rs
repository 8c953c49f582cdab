//! evhub in a real cluster, end to end: installed by Helm beside a real Kafka, used, disturbed, and taken away again. Does I/O,
//! by kubectl, helm and the images that `cargo xtask image` makes.
//!
//! - [`cluster`]: which cluster, and how images and Kafka come to it
//! - [`tools`]: kubectl, helm and the tool, and waiting for what they tell
//! - [`suite`]: what is done, and what must hold

mod cluster;
mod suite;
mod tools;

use std::path::Path;

use anyhow::{Context, Result, bail};

use self::{
    cluster::{Kind, Site},
    tools::Tools,
};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    cluster: Kind,
    /// Brokers that pods reach; one of the cluster's own where none is named.
    kafka: Option<String>,
    /// Whether images are built first, and loaded. A local cluster, which is a new one, gets those that were built last.
    images: bool,
}

/// Runs the suite against a cluster.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<()> {
    let wish = Wish::of(words)?;
    let site = Site::up(root, wish.cluster)?;
    let tools = Tools::find(root, &site)?;
    println!("cluster: {}", tools.kubectl(&["config", "current-context"])?.trim());
    site.load(root, wish.images)?;
    let kafka = match wish.kafka {
        Some(kafka) => kafka,
        None => site.kafka(root, &tools)?,
    };
    suite::run(root, &tools, &site, &kafka)
}

impl Wish {
    fn of(words: &[&str]) -> Result<Self> {
        let mut wish = Self { cluster: Kind::Current, kafka: None, images: true };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--cluster" => {
                    wish.cluster = words.next().context("--cluster needs local, kind or current")?.parse()?;
                }
                "--kafka" => {
                    wish.kafka = Some((*words.next().context("--kafka needs HOST:PORT")?).to_owned());
                }
                "--no-images" => wish.images = false,
                other => {
                    bail!(
                        "there is no {other} here: --cluster local|kind|current, --kafka HOST:PORT, --no-images"
                    )
                }
            }
        }
        Ok(wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_understood_or_refused() {
        let wish = Wish::of(&["--cluster", "kind", "--kafka", "h:1", "--no-images"]).unwrap();
        assert_eq!(wish, Wish { cluster: Kind::Docker, kafka: Some("h:1".into()), images: false });
        assert_eq!(Wish::of(&[]).unwrap().cluster, Kind::Current);
        assert_eq!(Wish::of(&["--cluster", "local"]).unwrap().cluster, Kind::Local);
        for bad in [&["--cluster"][..], &["--cluster", "cloud"], &["--kafka"], &["--fast"]] {
            assert!(Wish::of(bad).is_err(), "{bad:?}");
        }
    }
}
