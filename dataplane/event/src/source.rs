//! Any text as an event's source, and back. Pure.
//!
//! A source is a URI reference here; to EvHub it is whatever its publishers write: `10.0.0.1:8080`, `100%`, a name with
//! spaces. What is a URI reference stays as it is. Anything else becomes a URI of the scheme `evhub`, from which the very text
//! comes back; so does what would be taken for such a URI.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::attributes::is_reference;

/// Heads a URI that holds any text.
const SCHEME: &str = "evhub:";
/// What the path of a URI cannot hold as it is. The path may not begin with two slashes, which would be a host's.
const NOT_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':')
    .remove(b'@')
    .remove(b'=')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b';');

/// The source of what came without one to a topic of an app.
pub fn of_topic(app: &str, topic: &str) -> String {
    // Neither may look like a longer path than it is.
    const NOT_SEGMENT: &AsciiSet = &NOT_PATH.add(b'/');
    format!("/evhub/{}/{}", utf8_percent_encode(app, NOT_SEGMENT), utf8_percent_encode(topic, NOT_SEGMENT))
}

/// A text as a source. An empty one is none, and has the topic's.
pub fn of_text(text: &str, app: &str, topic: &str) -> String {
    let own = of_topic(app, topic);
    if text.is_empty() {
        return own;
    }
    let scheme = text.get(..SCHEME.len()).unwrap_or_default();
    if is_reference(text) && !scheme.eq_ignore_ascii_case(SCHEME) && text != own {
        return text.to_owned();
    }
    let path = utf8_percent_encode(text, NOT_PATH).to_string();
    match path.strip_prefix("//") {
        Some(rest) => format!("{SCHEME}%2F/{rest}"),
        None => format!("{SCHEME}{path}"),
    }
}

/// The text that a source was made of; empty for the topic's own.
pub fn text<'a>(source: &'a str, app: &str, topic: &str) -> Cow<'a, str> {
    if source == of_topic(app, topic) {
        return Cow::Borrowed("");
    }
    let path = source.strip_prefix(SCHEME);
    // Somebody else may use the scheme, for what is no text.
    path.and_then(|path| percent_decode_str(path).decode_utf8().ok()).unwrap_or(Cow::Borrowed(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_source_and_comes_back() {
        for (given, expected) in [
            ("", "/evhub/shop/orders"),
            ("/evhub/shop/orders", "evhub:/evhub/shop/orders"),
            ("till/3", "till/3"),
            ("http://a/b%20c?d=e#f", "http://a/b%20c?d=e#f"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1:8080", "evhub:10.0.0.1:8080"),
            ("host:8080", "host:8080"),
            ("100%", "evhub:100%25"),
            ("a b", "evhub:a%20b"),
            ("收银台", "evhub:%E6%94%B6%E9%93%B6%E5%8F%B0"),
            ("//a:b/c", "evhub:%2F/a:b/c"),
            ("/a|b", "evhub:/a%7Cb"),
            ("evhub:x", "evhub:evhub:x"),
            ("EvHub:x", "evhub:EvHub:x"),
            ("a\n\0b#c#d", "evhub:a%0A%00b%23c%23d"),
        ] {
            let source = of_text(given, "shop", "orders");
            assert_eq!(source, expected);
            assert!(is_reference(&source), "{source}");
            assert_eq!(text(&source, "shop", "orders"), given);
        }
    }

    #[test]
    fn a_topic_with_any_name_has_a_source_of_its_own() {
        assert_eq!(of_topic("a/b", "c d"), "/evhub/a%2Fb/c%20d");
        assert_eq!(text("/evhub/a%2Fb/c%20d", "a/b", "c d"), "");
        assert_eq!(text("/evhub/a/b", "b", "a"), "/evhub/a/b");
    }

    #[test]
    fn what_was_no_text_stays_as_it_is() {
        for source in ["evhub:%ff", "/a%20b", "urn:x"] {
            assert_eq!(text(source, "shop", "orders"), source);
        }
    }
}
