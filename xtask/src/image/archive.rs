//! One layer, a configuration, a manifest and an index, in one archive that containerd, podman, skopeo and Docker read. Does
//! I/O, by the system's tar, gzip and sha256sum.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::test::succeed;

/// Who the process is: nobody on any system.
const USER: &str = "65532:65532";
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// An image as it was made.
pub(crate) struct Archive {
    pub path: PathBuf,
    /// Of its manifest: what an image is pinned by.
    pub digest: String,
    /// What a node pulls, in bytes.
    pub compressed: u64,
}

/// Packs the files below a folder, of which this program is run, as an image of this title.
pub(crate) fn make(
    (program, title): (&str, &str),
    tag: &str,
    files: &Path,
    folder: &Path,
) -> Result<Archive> {
    let layout = folder.join("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).context("make a folder for the image's parts")?;
    let plain = folder.join("layer.tar");
    tar(files, &plain, &["."])?;
    let diff = sum(&plain)?;
    // Without a name and a time.
    succeed(command("gzip", &["-9", "--no-name", "--force"], &plain))?;
    let layer = blob(&layout, &plain.with_extension("tar.gz"))?;
    let config = text(&layout, &config((program, title), &diff))?;
    let compressed = layer.size + config.size;
    let manifest = text(
        &layout,
        &json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.described("application/vnd.oci.image.config.v1+json"),
            "layers": [layer.described("application/vnd.oci.image.layer.v1.tar+gzip")],
        }),
    )?;
    let mut described = manifest.described("application/vnd.oci.image.manifest.v1+json");
    described["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    described["annotations"] =
        json!({ "io.containerd.image.name": tag, "org.opencontainers.image.ref.name": tag });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [described],
    });
    write(&layout.join("index.json"), &index)?;
    write(&layout.join("oci-layout"), &json!({ "imageLayoutVersion": "1.0.0" }))?;
    // What `docker load` reads.
    let docker = json!([{ "Config": config.path(), "RepoTags": [tag], "Layers": [layer.path()] }]);
    write(&layout.join("manifest.json"), &docker)?;
    let path = folder.with_extension("tar");
    tar(&layout, &path, &["oci-layout", "index.json", "manifest.json", "blobs"])?;
    fs::remove_dir_all(folder).context("remove the image's parts")?;
    Ok(Archive { path, digest: format!("sha256:{}", manifest.sum), compressed })
}

fn config((program, title): (&str, &str), diff: &str) -> Value {
    json!({
        "created": EPOCH,
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": USER,
            "Entrypoint": [format!("/{program}")],
            "Env": ["PATH=/"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": program,
                "org.opencontainers.image.description": title,
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff}")] },
        "history": [{ "created": EPOCH, "created_by": "cargo xtask image" }],
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86_64" => "amd64",
        other => other,
    }
}

/// A part of an image, by its sum.
struct Blob {
    sum: String,
    size: u64,
}

impl Blob {
    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.sum)
    }

    fn described(&self, media: &str) -> Value {
        json!({ "mediaType": media, "digest": format!("sha256:{}", self.sum), "size": self.size })
    }
}

/// Takes a file among the parts.
fn blob(layout: &Path, file: &Path) -> Result<Blob> {
    let blob =
        Blob { sum: sum(file)?, size: fs::metadata(file).context("measure a part of the image")?.len() };
    fs::rename(file, layout.join(blob.path())).context("keep a part of the image")?;
    Ok(blob)
}

fn text(layout: &Path, value: &Value) -> Result<Blob> {
    let file = layout.join("coming.json");
    write(&file, value)?;
    blob(layout, &file)
}

fn write(file: &Path, value: &Value) -> Result<()> {
    fs::write(file, value.to_string()).with_context(|| format!("write {}", file.display()))
}

/// The same bytes for the same files, whoever made them, where and when.
fn tar(folder: &Path, archive: &Path, names: &[&str]) -> Result<()> {
    let mut tar =
        command("tar", &["--create", "--format=ustar", "--sort=name", "--mtime=@0"], Path::new("--file"));
    tar.arg(archive)
        .args(["--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX", "--directory"])
        .arg(folder)
        .args(names);
    succeed(tar)
}

fn sum(file: &Path) -> Result<String> {
    let output = command("sha256sum", &[], file).output().context("run sha256sum")?;
    ensure!(output.status.success(), "{} has no sum", file.display());
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.split(' ').next().context("sha256sum said nothing")?.to_owned())
}

fn command(program: &str, words: &[&str], last: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(words).arg(last);
    command
}
