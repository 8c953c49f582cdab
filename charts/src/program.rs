//! Programs in Go that the chart's tests run: each built from its module once, and kept beside the project's other tools.
//! Does I/O.

use std::{
    env, fs,
    path::PathBuf,
    process::{self, Command},
};

use anyhow::{Context, Result, ensure};

/// A program and where it is from.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// What its module makes.
    pub name: &'static str,
    /// The package that is its `main`.
    pub package: &'static str,
    /// Exactly this version.
    pub version: &'static str,
    /// The variable that holds what it says of its version, if there is one.
    pub says: Option<&'static str>,
}

/// The Helm that most people still have.
pub const HELM_3: Program = Program {
    name: "helm",
    package: "helm.sh/helm/v3/cmd/helm",
    version: "3.22.0",
    says: Some("helm.sh/helm/v3/internal/version.version"),
};

/// The Helm of today.
pub const HELM_4: Program = Program {
    name: "helm",
    package: "helm.sh/helm/v4/cmd/helm",
    version: "4.2.4",
    says: Some("helm.sh/helm/v4/internal/version.version"),
};

/// The Lua that Argo CD runs health checks with.
pub const LUA: Program =
    Program { name: "glua", package: "github.com/yuin/gopher-lua/cmd/glua", version: "1.1.1", says: None };

impl Program {
    /// Where it is; built if it is not there.
    pub fn fetch(&self) -> Result<PathBuf> {
        let folder = cache()?.join("kubernetes").join("bin");
        let kept = folder.join(format!("{}-{}", self.name, self.version));
        if kept.exists() {
            return Ok(kept);
        }
        eprintln!(
            "building {} {} once, which takes a minute or two, into {}",
            self.name,
            self.version,
            folder.display()
        );
        let coming = folder.join(format!(".coming-{}-{}", self.version, process::id()));
        fs::create_dir_all(&coming).with_context(|| format!("make {}", coming.display()))?;
        let built = self.build(&coming).and_then(|()| {
            // Whole or not at all, whoever else builds it at the same time.
            fs::rename(coming.join(self.name), &kept).with_context(|| format!("keep {}", kept.display()))
        });
        fs::remove_dir_all(&coming).context("remove what the build left")?;
        built?;
        Ok(kept)
    }

    fn build(&self, into: &std::path::Path) -> Result<()> {
        let says = self.says.map(|variable| format!(" -X {variable}=v{}", self.version));
        let flags = format!("-s -w{}", says.unwrap_or_default());
        let mut go = Command::new("go");
        go.args(["install", "-ldflags", &flags, &format!("{}@v{}", self.package, self.version)]);
        go.env("GOBIN", into).env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false -trimpath");
        let ended =
            go.status().with_context(|| format!("run go, which builds {}: is Go installed?", self.name))?;
        ensure!(ended.success(), "{} {} cannot be built ({ended})", self.name, self.version);
        Ok(())
    }
}

fn cache() -> Result<PathBuf> {
    if let Some(cache) = env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()) {
        return Ok(PathBuf::from(cache).join("evhub"));
    }
    let home = env::var_os("HOME").context("find a folder for what is kept: $HOME is not set")?;
    Ok(PathBuf::from(home).join(".cache/evhub"))
}
