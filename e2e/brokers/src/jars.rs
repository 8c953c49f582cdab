//! The broker's jars: fetched by Maven once, and kept beside the project's other tools. Does I/O.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context, Result, ensure};

/// Which Kafka. `EVHUB_KAFKA_VERSION` asks for another.
const VERSION: &str = "4.1.1";
const POM: &str = include_str!("pom.xml");
const LOGGING: &str = include_str!("log4j2.properties");

/// Where a broker's program is.
#[derive(Clone, Debug)]
pub(crate) struct Libs {
    /// Its jars.
    pub(crate) jars: PathBuf,
    /// How it logs.
    pub(crate) logging: PathBuf,
}

/// Fetches the jars if they are not there; all or none.
pub(crate) fn fetch() -> Result<Libs> {
    let version = env::var("EVHUB_KAFKA_VERSION").unwrap_or_else(|_| VERSION.to_owned());
    let home = cache()?.join("kafka").join(&version);
    let libs = Libs { jars: home.join("libs"), logging: home.join("log4j2.properties") };
    if libs.jars.exists() && libs.logging.exists() {
        return Ok(libs);
    }
    fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
    eprintln!("fetching Kafka {version} with Maven, into {}", home.display());
    let coming = home.join(format!("coming-{}", process::id()));
    copy(&version, &coming)?;
    fs::write(&libs.logging, LOGGING).context("write the brokers' logging settings")?;
    if let Err(error) = fs::rename(&coming, &libs.jars) {
        // Somebody else may have been faster.
        ensure!(libs.jars.exists(), "Kafka's jars cannot be kept in {}: {error}", libs.jars.display());
        fs::remove_dir_all(&coming).context("remove what is there already")?;
    }
    Ok(libs)
}

fn copy(version: &str, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("make {}", into.display()))?;
    let pom = into.with_extension("pom.xml");
    fs::write(&pom, POM).context("write the list of Kafka's jars")?;
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(&pom).arg(format!("-Dkafka.version={version}"));
    maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
    maven.arg(format!("-DoutputDirectory={}", into.display()));
    let ended = maven.status().context("run mvn, which fetches Kafka: is Maven installed?")?;
    let _ = fs::remove_file(&pom);
    ensure!(ended.success(), "Maven cannot fetch Kafka {version} ({ended})");
    Ok(())
}

fn cache() -> Result<PathBuf> {
    if let Some(cache) = env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()) {
        return Ok(PathBuf::from(cache).join("evhub"));
    }
    let home = env::var_os("HOME").context("find a folder for what is kept: $HOME is not set")?;
    Ok(PathBuf::from(home).join(".cache/evhub"))
}
