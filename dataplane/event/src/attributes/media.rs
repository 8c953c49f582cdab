//! Media types: which strings are one, and what they say about the bytes they describe. Pure.

use crate::invalid::{Invalid, Reason, quote};

/// Heads the media types of all CloudEvents formats.
const CLOUDEVENTS: &str = "application/cloudevents";

/// A media type, taken apart as far as anybody here cares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Media<'a> {
    kind: &'a str,
    subtype: &'a str,
    charset: Option<&'a str>,
}

impl Media<'_> {
    /// Whether it declares JSON, as the JSON format defines that.
    pub(crate) fn is_json(&self) -> bool {
        self.subtype.eq_ignore_ascii_case("json") || has_suffix(self.subtype, "+json")
    }

    /// Whether people read it, so that it should show as text inside JSON.
    pub(crate) fn is_text(&self) -> bool {
        let xml = self.subtype.eq_ignore_ascii_case("xml") || has_suffix(self.subtype, "+xml");
        self.kind.eq_ignore_ascii_case("text") || xml
    }

    /// Whether its characters are written as UTF-8, of which US-ASCII is a part.
    pub(crate) fn is_utf8(&self) -> bool {
        let known =
            |charset: &str| ["utf-8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known));
        self.charset.is_none_or(known)
    }
}

/// Whether this names a CloudEvents format, known or not.
pub(crate) fn is_cloudevents(content_type: &str) -> bool {
    content_type.get(..CLOUDEVENTS.len()).is_some_and(|start| start.eq_ignore_ascii_case(CLOUDEVENTS))
}

/// What a body in a CloudEvents format holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One event.
    Single,
    /// An array of events.
    Batch,
}

/// Which of the JSON formats the body is in, if it is in a CloudEvents format at all. One of any other kind is refused.
pub(crate) fn format(content_type: &str) -> Result<Option<Format>, Invalid> {
    if !is_cloudevents(content_type) {
        return Ok(None);
    }
    let media = parse(content_type);
    let known = media.and_then(|media| {
        let formats = [("cloudevents+json", Format::Single), ("cloudevents-batch+json", Format::Batch)];
        formats.into_iter().find(|(name, _)| media.subtype.eq_ignore_ascii_case(name))
    });
    let detail = match (media, known) {
        (Some(media), Some((_, format))) if media.is_utf8() => return Ok(Some(format)),
        (_, Some((name, _))) => format!("application/{name} is taken in utf-8 only"),
        _ => format!(
            "{} is not taken; send application/cloudevents+json, application/cloudevents-batch+json, or ce- headers and \
             the content type of the data",
            quote(content_type)
        ),
    };
    Err(Invalid::new(Reason::UnsupportedMediaType, "content-type", detail))
}

/// Whether the body is one event in the JSON format. A CloudEvents format of any other kind is refused.
pub(crate) fn is_structured(content_type: &str) -> Result<bool, Invalid> {
    match format(content_type)? {
        None => Ok(false),
        Some(Format::Single) => Ok(true),
        Some(Format::Batch) => {
            let detail = "a batch is not one event";
            Err(Invalid::new(Reason::UnsupportedMediaType, "content-type", detail))
        }
    }
}

/// Takes a media type apart as RFC 9110 writes it; `None` when it is none.
pub(crate) fn parse(text: &str) -> Option<Media<'_>> {
    let (essence, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    let essence = if rest.is_empty() { essence } else { essence.trim_end_matches([' ', '\t']) };
    let (kind, subtype) = essence.split_once('/')?;
    let mut charset = None;
    while let Some(parameter) = rest.strip_prefix(';') {
        let parameter = parameter.trim_start_matches([' ', '\t']);
        if parameter.is_empty() || parameter.starts_with(';') {
            rest = parameter;
            continue;
        }
        let (name, value) = parameter.split_once('=')?;
        let (value, after) = split_value(value)?;
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case("charset") {
            charset = charset.or(Some(value));
        }
        // Space may stand before a semicolon, not at the end, where HTTP would lose it.
        let next = after.trim_start_matches([' ', '\t']);
        rest = if next.is_empty() { after } else { next };
    }
    (rest.is_empty() && !text.ends_with([' ', '\t']) && is_token(kind) && is_token(subtype))
        .then_some(Media { kind, subtype, charset })
}

/// A parameter's value, without its quotes, and what follows it.
fn split_value(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = text.split_at(text.find([';', ' ', '\t']).unwrap_or(text.len()));
        return is_token(token).then_some((token, rest));
    };
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return Some((&quoted[..at], &quoted[at + 1..])),
            b' '..=b'~' => escaped = byte == b'\\' && !escaped,
            _ => return None,
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn has_suffix(text: &str, suffix: &str) -> bool {
    let start = text.len().checked_sub(suffix.len());
    start.and_then(|start| text.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn media_types() {
        for good in [
            "text/plain",
            "application/json;charset=utf-8",
            "application/json ; charset=\"utf-8\"; a=b",
            "text/html;",
            "text/html;;a=b",
            "multipart/form-data; boundary=\"a \\\" b;c\"",
            "*/*",
        ] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "text",
            "text/",
            "/plain",
            "text/plain ",
            " text/plain",
            "text/pl ain",
            "text/plain; a",
            "text/plain; =b",
            "text/plain; a=",
            "text/plain; a=\"b",
            "text/plain; a=\"b\"c",
            "text/plain; a=b ",
            "text/plain; a = b",
            "text/plain; a=\"ü\"",
            "text/plain; a=\"b\nc\"",
            "a/b/c",
            "text/plain, text/html",
            "text/plain; ",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_they_say() {
        let check = |text: &str, json: bool, readable: bool, utf8: bool| {
            let media = parse(text).unwrap();
            assert_eq!((media.is_json(), media.is_text(), media.is_utf8()), (json, readable, utf8), "{text}");
        };
        check("application/JSON; Charset=\"UTF-8\"", true, false, true);
        check("application/vnd.a+json; charset=utf-16", true, false, false);
        check("text/json", true, true, true);
        check("image/svg+xml", false, true, true);
        check("TEXT/csv;charset=us-ascii", false, true, true);
        check("application/jsonl", false, false, true);
        check("image/png", false, false, true);
    }
}
