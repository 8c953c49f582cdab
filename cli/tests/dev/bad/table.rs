//! The table as it is read, and what its texts stand for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// All rows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) catalogue: Vec<u16>,
    pub(super) requests: Vec<Request>,
    pub(super) calls: Vec<Call>,
    pub(super) frames: Vec<Frames>,
    pub(super) files: Vec<File>,
    pub(super) commands: Vec<Command>,
    pub(super) elsewhere: Vec<Elsewhere>,
    pub(super) excused: Vec<Excused>,
}

/// One request over HTTP.
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the table")]
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) row: String,
    pub(super) what: String,
    #[serde(default)]
    pub(super) to: Listener,
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) mode: Mode,
    #[serde(default)]
    pub(super) headers: Vec<String>,
    #[serde(default)]
    pub(super) without: Vec<String>,
    #[serde(default)]
    pub(super) body: String,
    pub(super) declares: Option<u64>,
    #[serde(default)]
    pub(super) chunked: bool,
    #[serde(default)]
    pub(super) cut: bool,
    pub(super) raw: Option<String>,
    pub(super) times: Option<u32>,

    pub(super) refused: Option<String>,
    pub(super) bare: Option<u16>,
    pub(super) taken: Option<u16>,
    #[serde(default)]
    pub(super) silent: bool,
    #[serde(default)]
    pub(super) closes: bool,
    #[serde(default)]
    pub(super) answers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) says: Vec<String>,
    pub(super) keeps: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Listener {
    #[default]
    Http,
    Api,
    Admin,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    #[default]
    Plain,
    Binary,
    Structured,
    Batch,
}

/// One call over gRPC.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    pub(super) row: String,
    pub(super) what: String,
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) headers: Vec<String>,
    pub(super) message: Option<Message>,
    pub(super) bytes: Option<String>,
    pub(super) frame: Option<String>,
    pub(super) refused: Option<String>,
    pub(super) bare: Option<u16>,
}

/// What is to be published. Of an event, all but its data are attributes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    pub(super) producer: Option<String>,
    pub(super) events: Vec<BTreeMap<String, Value>>,
}

/// Frames of HTTP/2.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Frames {
    pub(super) row: String,
    pub(super) what: String,
    pub(super) send: Vec<String>,
}

/// One manifest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) row: String,
    pub(super) what: String,
    pub(super) name: Option<String>,
    #[serde(rename = "file")]
    pub(super) whole: Option<String>,
    pub(super) producer: Option<String>,
    pub(super) processor: Option<String>,
    pub(super) target: Option<String>,
    pub(super) findings: Vec<String>,
    #[serde(default)]
    pub(super) says: Vec<String>,
    pub(super) hides: Option<String>,
}

/// One command line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    pub(super) row: String,
    pub(super) what: String,
    pub(super) run: Vec<String>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
    pub(super) exits: i32,
    pub(super) says: Vec<String>,
}

/// A row that another test shows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Elsewhere {
    pub(super) row: String,
    pub(super) file: String,
    pub(super) tests: Vec<String>,
}

/// Rows that concern nothing that is built.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Excused {
    pub(super) rows: Vec<String>,
    pub(super) why: String,
}

/// The table.
pub(super) fn table() -> Table {
    serde_saphyr::from_str(include_str!("inputs.yaml")).unwrap_or_else(|error| panic!("inputs.yaml: {error}"))
}

/// The bytes that a text stands for.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['\\', '<']) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        let (written, after) = repeated(rest).or_else(|| escaped(rest)).unwrap_or_else(|| {
            let (one, after) = rest.split_at(1);
            (one.as_bytes().to_vec(), after)
        });
        out.extend_from_slice(&written);
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// The text that a text stands for.
pub(super) fn text(text: &str) -> String {
    String::from_utf8(bytes(text)).expect("this text is text")
}

/// `<<40*x>>`
fn repeated(text: &str) -> Option<(Vec<u8>, &str)> {
    let (count, rest) = text.strip_prefix("<<")?.split_once('*')?;
    // What is repeated may itself end in `>`, never in `>>`.
    let (what, after) = rest.split_once(">>")?;
    Some((bytes(what).repeat(count.parse().ok()?), after))
}

/// `\xff`
fn escaped(text: &str) -> Option<(Vec<u8>, &str)> {
    let digits = text.strip_prefix("\\x")?;
    let (two, after) = digits.split_at_checked(2)?;
    Some((vec![u8::from_str_radix(two, 16).ok()?], after))
}

#[test]
fn texts_stand_for_bytes() {
    for (text, expected) in [
        ("a", &b"a"[..]),
        ("<<3*ab>>c", b"abababc"),
        (r"\x00\xffz", b"\0\xffz"),
        (r"<<2*\x01x>>", b"\x01x\x01x"),
        (r"\u0000 \x <a> <<b>>", br"\u0000 \x <a> <<b>>"),
    ] {
        assert_eq!(bytes(text), expected, "{text}");
    }
}
