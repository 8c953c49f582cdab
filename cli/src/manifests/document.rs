//! What the text of a file comes to: one object for each document, whatever state it is in. Pure.

use evhub_compile::{Asked, Kept, Object, Origin, Resource};
use evhub_crds::{API_VERSION, GROUP, Kind, schema};
use evhub_routing::Name;
use serde_json::Value;

use super::Loaded;

/// Reads all documents of a file. One that is broken says nothing about the others.
pub(super) fn read(file: &str, text: &str, loaded: &mut Loaded) {
    for chunk in split(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let origin = Origin { file: file.into(), line: chunk.begins };
        match parse(&chunk) {
            Err((line, problem)) => {
                let origin = Origin { line, ..origin };
                loaded.objects.push(Object::Undecodable { kind: None, origin, problem });
            }
            Ok(document) => match object(origin.clone(), &document) {
                Ok(object) => loaded.objects.push(object),
                Err(warning) => loaded.warnings.push(format!("{origin}: {warning}")),
            },
        }
    }
}

// === documents ===

/// A document of a file.
struct Chunk<'a> {
    text: &'a str,
    /// How many lines come before the text.
    offset: u64,
    /// The line of the file on which its content begins.
    begins: u64,
}

/// Splits where YAML does: `---` at the beginning of a line can be nothing else, whatever surrounds it.
fn split(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let mut open = Chunk { text: "", offset: 0, begins: 0 };
    let (mut start, mut at, mut number, mut marked) = (0, 0, 0, false);
    for line in text.split_inclusive('\n') {
        let marker = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        // What stands before the first marker may be comments and directives that belong to its document.
        if marker.is_some() && (marked || open.begins > 0) {
            chunks.push(Chunk { text: &text[start..at], ..open });
            (start, open) = (at, Chunk { text: "", offset: number, begins: 0 });
        }
        marked |= marker.is_some();
        number += 1;
        at += line.len();
        let content = marker.unwrap_or(line).trim();
        if open.begins == 0 && !content.is_empty() && !content.starts_with(['#', '%']) {
            open.begins = number;
        }
    }
    chunks.push(Chunk { text: &text[start..], ..open });
    chunks.retain(|chunk| chunk.begins > 0);
    chunks
}

/// The document, or the line and words of what is wrong with it.
fn parse(chunk: &Chunk<'_>) -> Result<Value, (u64, String)> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 32, max_nodes: 100_000, max_aliases: 1000, max_anchors: 1000 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 10_000 },
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(chunk.text, options).map_err(|error| {
        let line = error.location().map_or(chunk.begins, |location| chunk.offset + location.line());
        let text = error.render_with_options(serde_saphyr::render_options! { line_offset: chunk.offset });
        (line, text.split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

// === objects ===

/// What a document comes to, or why it is none of ours.
fn object(origin: Origin, document: &Value) -> Result<Object, String> {
    let undecodable = |kind, problem| Ok(Object::Undecodable { kind, origin: origin.clone(), problem });
    if !document.is_object() {
        return undecodable(None, "must be a mapping with apiVersion, kind, metadata and spec".into());
    }
    let (version, kind) = match (text(document, "/apiVersion"), text(document, "/kind")) {
        (Ok(Some(version)), Ok(Some(kind))) => (version, kind),
        (Err(problem), _) | (_, Err(problem)) => return undecodable(None, problem),
        (Ok(None), _) => return undecodable(None, format!("apiVersion is required: {API_VERSION}")),
        (_, Ok(None)) => return undecodable(None, "kind is required: Producer or Processor".into()),
    };
    if version != API_VERSION {
        return match version.split_once('/') {
            Some((GROUP, _)) => undecodable(
                None,
                format!("apiVersion {version} is unknown here; this evhub knows {API_VERSION}"),
            ),
            _ => Err(format!("left out: {version} {kind} is not one of evhub's")),
        };
    }
    let Some(kind) = Kind::ALL.into_iter().find(|known| known.as_str() == kind) else {
        return undecodable(None, format!("kind {kind} is unknown; evhub knows Producer and Processor"));
    };
    match name(document) {
        Ok(name) => Ok(Object::Resource(Box::new(resource(kind, name, origin, document)))),
        Err(problem) => undecodable(Some(kind), problem),
    }
}

fn name(document: &Value) -> Result<Name, String> {
    let namespace = text(document, "/metadata/namespace")?.unwrap_or("default");
    match text(document, "/metadata/name")? {
        Some(name) => Ok(Name::new(namespace, name)),
        None => Err("metadata.name is required (generateName works with an API server only)".into()),
    }
}

fn resource(kind: Kind, name: Name, origin: Origin, document: &Value) -> Resource {
    Resource {
        kind,
        name,
        uid: String::new(),
        created: 0,
        generation: 1,
        kept: Kept::default(),
        origin: Some(origin),
        asked: Asked::of(kind, document),
        unknown: schema::unknown_fields(kind, document),
        spec: document.get("spec").cloned(),
    }
}

/// A text; a null is none. YAML 1.1, which kubectl reads, makes booleans of some words: a name is never guessed.
fn text<'a>(document: &'a Value, pointer: &str) -> Result<Option<&'a str>, String> {
    let field = pointer.trim_start_matches('/').replace('/', ".");
    match document.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Bool(_)) => Err(format!(
            "{field} must be a string: unquoted, on, off, yes, no, y, n, true and false are booleans; write quotes"
        )),
        Some(Value::Number(number)) => {
            Err(format!("{field} must be a string: unquoted, {number} is a number; write quotes"))
        }
        Some(_) => Err(format!("{field} must be a string")),
    }
}
