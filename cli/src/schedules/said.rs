//! What a schedule is as the command line says it, or a file. Reads files and standard input.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use anyhow::Context as _;
use serde_json::{Map, Value};

use crate::exit::Usage;

/// Above what any hub takes; a larger file is a mistake.
const LARGEST: u64 = 2 << 20;

/// What it is: a file, or the flags of what is needed most.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("pace").required(true).args(["file", "cron", "every"])))]
pub(super) struct Said {
    /// As YAML or JSON in the shape of a Producer's schedules[], or as `show` prints it; - reads standard input
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["time_zone", "kind", "data", "key", "suspend"])]
    file: Option<PathBuf>,
    /// When it fires, as a crontab
    #[arg(long, value_name = "CRONTAB")]
    cron: Option<String>,
    /// How long after each other it fires, as 90s or 1h30m
    #[arg(long, value_name = "DURATION")]
    every: Option<String>,
    /// The clocks that the crontab means, as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", conflicts_with = "every")]
    time_zone: Option<String>,
    /// The event's type
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "file")]
    kind: Option<String>,
    /// The event's data, as JSON
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// The event's partitionkey: runs with a key are delivered in order
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// It does not fire for now
    #[arg(long)]
    suspend: bool,
}

impl Said {
    /// As the hub takes it.
    pub(super) fn document(&self) -> anyhow::Result<Value> {
        match &self.file {
            Some(file) if file.as_os_str() == "-" => {
                read(io::stdin().lock()).context("could not read the schedule from standard input")
            }
            Some(file) => File::open(file)
                .map_err(anyhow::Error::from)
                .and_then(read)
                .with_context(|| format!("could not read the schedule from {}", file.display())),
            None => self.flags(),
        }
    }

    fn flags(&self) -> anyhow::Result<Value> {
        let data = self.data.as_deref().map(serde_json::from_str::<Value>).transpose();
        let data = data.map_err(|error| Usage(format!("--data is not JSON: {error}")))?;
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let event = [("type", text(&self.kind)), ("data", data), ("partitionKey", text(&self.key))];
        let given = |fields: &mut dyn Iterator<Item = (&str, Option<Value>)>| -> Map<String, Value> {
            fields.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
        };
        let whole = [
            ("cron", text(&self.cron)),
            ("every", text(&self.every)),
            ("timeZone", text(&self.time_zone)),
            ("suspend", self.suspend.then_some(Value::Bool(true))),
            ("event", Some(given(&mut event.into_iter()).into())),
        ];
        Ok(given(&mut whole.into_iter()).into())
    }
}

fn read(from: impl Read) -> anyhow::Result<Value> {
    let mut text = String::new();
    from.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        anyhow::bail!("it is larger than {} MiB", LARGEST >> 20);
    }
    // JSON is YAML as well.
    serde_saphyr::from_str(&text).context("it is not YAML")
}
