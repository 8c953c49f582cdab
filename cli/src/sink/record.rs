//! What `sink --record` writes: one JSON object a line for every attempt. Writes to its file.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use super::Attempt;

/// Appends to one file, whole lines at a time.
pub(super) struct Recorder {
    path: PathBuf,
    file: Mutex<File>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: String,
    path: &'a str,
    headers: BTreeMap<&'a str, String>,
    body_base64: String,
    status: u16,
}

impl Recorder {
    /// Opens the file, or makes it; what it holds stays.
    pub(super) fn append(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("could not open {} to record into", path.display()))?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Writes one attempt and the status it is about to get.
    pub(super) fn write(&self, attempt: &Attempt, status: StatusCode) -> anyhow::Result<()> {
        let line = line(attempt, status)?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes())
            .with_context(|| format!("could not record into {}", self.path.display()))
    }
}

fn line(attempt: &Attempt, status: StatusCode) -> anyhow::Result<String> {
    let line = Line {
        time: instant(attempt.time),
        path: &attempt.path,
        headers: headers(attempt),
        body_base64: STANDARD.encode(&attempt.body),
        status: status.as_u16(),
    };
    Ok(serde_json::to_string(&line).context("could not write JSON")? + "\n")
}

/// RFC 3339 in UTC with milliseconds.
fn instant(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Every header by its lower-case name; one that repeats becomes a list, as HTTP joins them.
fn headers(attempt: &Attempt) -> BTreeMap<&str, String> {
    let mut all = BTreeMap::<&str, String>::new();
    for (name, value) in &attempt.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        all.entry(name.as_str())
            .and_modify(|v| *v = format!("{v}, {value}"))
            .or_insert_with(|| value.into_owned());
    }
    all
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    #[test]
    fn an_attempt_is_one_line() {
        let mut headers = HeaderMap::new();
        headers.append("ce-id", "a".parse().unwrap());
        headers.append("x", "1".parse().unwrap());
        headers.append("x", "2".parse().unwrap());
        let attempt = Attempt {
            time: Timestamp::from_millisecond(1_500).unwrap(),
            path: "/events?a=b".to_owned(),
            headers,
            body: Bytes::from_static(b"\xff\n"),
        };
        assert_eq!(
            line(&attempt, StatusCode::OK).unwrap(),
            "{\"time\":\"1970-01-01T00:00:01.500Z\",\"path\":\"/events?a=b\",\"headers\":{\"ce-id\":\"a\",\
             \"x\":\"1, 2\"},\"bodyBase64\":\"/wo=\",\"status\":200}\n"
        );
    }
}
