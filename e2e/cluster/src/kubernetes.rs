//! Kubernetes' programs: built from their Go modules once, and kept beside the project's other tools. Does I/O.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context, Result, ensure};

/// Which Kubernetes; `go.mod` says the same.
pub const VERSION: &str = "1.34.4";
/// Which Helm.
pub const HELM: &str = "4.2.4";

const SOURCES: [(&str, &str); 3] = [
    ("go.mod", include_str!("../kubernetes/go.mod")),
    ("go.sum", include_str!("../kubernetes/go.sum")),
    ("main.go", include_str!("../kubernetes/main.go")),
];
const PAUSE: [(&str, &str); 2] =
    [("go.mod", "module evhub.test/pause\n"), ("main.go", include_str!("../kubernetes/pause/main.go"))];
const DNS: [(&str, &str); 3] = [
    ("go.mod", include_str!("../kubernetes/dns/go.mod")),
    ("go.sum", include_str!("../kubernetes/dns/go.sum")),
    ("main.go", include_str!("../kubernetes/dns/main.go")),
];
/// The one program, and the names that make it each of these.
const PROGRAM: &str = "hyperkube";
const NAMES: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
];

/// Builds the programs if they are not there. Returns their folder.
pub fn fetch() -> Result<PathBuf> {
    let programs = folder()?;
    if NAMES.iter().all(|name| programs.join(name).exists()) {
        return Ok(programs);
    }
    eprintln!("building Kubernetes {VERSION}, for minutes, into {}", programs.display());
    built(&SOURCES, &programs, PROGRAM, &linking())?;
    for name in NAMES {
        let link = programs.join(name);
        if let Err(error) = std::os::unix::fs::symlink(PROGRAM, &link) {
            // Somebody else may have been faster.
            ensure!(link.exists(), "{} cannot be made: {error}", link.display());
        }
    }
    Ok(programs)
}

/// Builds a program of these sources into the folder.
fn built(sources: &[(&str, &str)], programs: &Path, name: &str, linking: &str) -> Result<()> {
    let folder = programs.with_file_name(format!("sources-{name}-{}", process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let built = build(sources, &folder, programs, name, linking);
    fs::remove_dir_all(&folder).with_context(|| format!("remove the sources of {name}"))?;
    built
}

/// Builds what nodes need beside: the first process of a pod, and the resolver. Returns the two programs.
pub fn node_programs() -> Result<[PathBuf; 2]> {
    let programs = folder()?;
    for (name, sources) in [("pause", &PAUSE[..]), ("dns", &DNS[..])] {
        if !programs.join(name).exists() {
            eprintln!("building {name}, for a minute or two, into {}", programs.display());
            built(sources, &programs, name, "-s -w")?;
        }
    }
    Ok([programs.join("pause"), programs.join("dns")])
}

/// Builds Helm if it is not there. Returns the program.
pub fn helm() -> Result<PathBuf> {
    let programs = folder()?;
    let helm = programs.join("helm");
    if helm.exists() {
        return Ok(helm);
    }
    let module = format!("helm.sh/helm/v4/cmd/helm@v{HELM}");
    let flags = format!("-s -w -X helm.sh/helm/v4/internal/version.version=v{HELM}");
    let mut install = go("install");
    install.args(["-ldflags", &flags, &module]).env("GOBIN", &programs);
    let ended = install.status().context("run go, which builds Helm: is Go installed?")?;
    ensure!(ended.success(), "Helm {HELM} cannot be built ({ended})");
    Ok(helm)
}

fn build(sources: &[(&str, &str)], folder: &Path, programs: &Path, name: &str, linking: &str) -> Result<()> {
    for (file, text) in sources {
        fs::write(folder.join(file), text).with_context(|| format!("write {file}"))?;
    }
    fs::create_dir_all(programs).with_context(|| format!("make {}", programs.display()))?;
    // Whole or not at all, whoever else builds it at the same time.
    let coming = programs.join(format!(".coming-{name}-{}", process::id()));
    let mut build = go("build");
    build.current_dir(folder).args(["-ldflags", linking, "-o"]).arg(&coming).arg(".");
    let ended = build.status().with_context(|| format!("run go, which builds {name}: is Go installed?"))?;
    ensure!(ended.success(), "{name} cannot be built ({ended})");
    fs::rename(&coming, programs.join(name)).with_context(|| format!("keep {name}"))
}

fn go(verb: &str) -> Command {
    let mut go = Command::new("go");
    go.arg(verb).env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false -trimpath");
    go
}

/// What the programs say of their version, without which they refuse each other.
fn linking() -> String {
    let minor = VERSION.split('.').nth(1).unwrap_or_default();
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        let said = [
            ("gitVersion", format!("v{VERSION}")),
            ("gitMajor", "1".to_owned()),
            ("gitMinor", minor.to_owned()),
            ("gitTreeState", "clean".to_owned()),
        ];
        for (name, value) in said {
            flags.extend([" -X ", package, ".", name, "=", &value]);
        }
    }
    flags
}

fn folder() -> Result<PathBuf> {
    let cache = if let Some(cache) = env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()) {
        PathBuf::from(cache)
    } else {
        let home = env::var_os("HOME").context("find a folder for what is kept: $HOME is not set")?;
        PathBuf::from(home).join(".cache")
    };
    Ok(cache.join("evhub/kubernetes").join(format!("v{VERSION}")).join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_pinned() {
        let (_, module) = SOURCES[0];
        assert!(module.contains(&format!("k8s.io/kubernetes v{VERSION}\n")));
    }
}
