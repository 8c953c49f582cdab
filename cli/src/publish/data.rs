//! Where a payload comes from. Reads files and standard input.

use std::{
    convert::Infallible,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    str::FromStr,
};

use anyhow::Context as _;
use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::exit::Usage;

/// Above what any Producer lets in; a file larger than this is a mistake.
const LARGEST: u64 = 64 << 20;

/// What `--data` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The payload itself.
    Literal(String),
    /// A file with it.
    File(PathBuf),
    /// Whatever comes in.
    Stdin,
}

/// The payload's media type, and the payload.
pub(super) fn read(source: &Source, content_type: Option<String>) -> anyhow::Result<(String, Bytes)> {
    let bytes = match source {
        Source::Literal(text) => Bytes::from(text.clone()),
        Source::Stdin => {
            bounded(io::stdin().lock()).context("could not read the payload from standard input")?
        }
        Source::File(path) => File::open(path)
            .and_then(bounded)
            .with_context(|| format!("could not read the payload from {}", path.display()))?,
    };
    match content_type {
        Some(content_type) => Ok((content_type, bytes)),
        None if serde_json::from_slice::<IgnoredAny>(&bytes).is_ok() => {
            Ok(("application/json".to_owned(), bytes))
        }
        None => {
            Err(Usage("--data is not JSON; say what it is, as in --content-type text/plain".to_owned())
                .into())
        }
    }
}

fn bounded(from: impl Read) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it is larger than {} MiB", LARGEST >> 20)));
    }
    Ok(bytes.into())
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix('@') {
            Some(path) => Self::File(path.into()),
            None if text == "-" => Self::Stdin,
            None => Self::Literal(text.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_off_its_first_character() {
        assert_eq!("@a b".parse(), Ok(Source::File("a b".into())));
        assert_eq!("-".parse(), Ok(Source::Stdin));
        assert_eq!("-1".parse(), Ok(Source::Literal("-1".to_owned())));
    }

    #[test]
    fn only_json_needs_no_type() {
        let json = Source::Literal("{\"a\":1}".to_owned());
        let text = Source::Literal("{a:1}".to_owned());
        assert_eq!(read(&json, None).unwrap().0, "application/json");
        assert!(read(&text, None).unwrap_err().is::<Usage>());
        let (content_type, bytes) = read(&text, Some("text/plain".to_owned())).unwrap();
        assert_eq!((content_type.as_str(), &bytes[..]), ("text/plain", &b"{a:1}"[..]));
    }

    #[test]
    fn a_file_is_read_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, b"\xff\xfe").unwrap();
        let source = Source::File(file.path().to_owned());
        assert_eq!(&read(&source, Some("a/b".to_owned())).unwrap().1[..], b"\xff\xfe");
        assert!(read(&Source::File("/no/such/file".into()), None).is_err());
    }

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        assert!(bounded(io::repeat(b'x')).is_err());
    }
}
