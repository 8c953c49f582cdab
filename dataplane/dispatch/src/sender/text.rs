//! What strangers and libraries say, made fit for logs, terminals and dead letters. Pure.

use std::{cmp::Reverse, error::Error, fmt::Write, io, ops::Range};

use http::{HeaderName, HeaderValue};
use rustls::CertificateError;

/// As much of a failing answer as is kept with its cause.
pub(super) const KEPT: usize = 1 << 10;

/// A stranger's text: short, and without anything that a terminal or a log would obey.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    // What is no text grows when it is replaced.
    let kept = &text[..text.floor_char_boundary(KEPT)];
    let plain: String = kept.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    short(redacted(&plain))
}

fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(KEPT));
    text
}

/// What stands before a secret when it is assigned, in lower case.
const NAMES: [&str; 9] =
    ["password", "passwd", "secret", "token", "api_key", "apikey", "api-key", "authorization", "cookie"];
/// What stands before a secret by itself.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];

/// The same text without what looks like a secret: a target may answer with what it was sent.
fn redacted(text: &str) -> String {
    // Of the same length as the text, because only ASCII changes.
    let lower = text.to_ascii_lowercase();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(Range { start, end }) = next_secret(&lower, at) {
        out.push_str(&text[at..start]);
        out.push('…');
        at = end;
    }
    out.push_str(&text[at..]);
    out
}

/// Where the next secret lies.
fn next_secret(lower: &str, from: usize) -> Option<Range<usize>> {
    let first = |word: &str, read: fn(&str) -> Option<Range<usize>>| {
        let mut found = lower[from..].match_indices(word).map(|(at, _)| from + at + word.len());
        found.find_map(|at| read(&lower[at..]).map(|range| at + range.start..at + range.end))
    };
    let named = NAMES.iter().filter_map(|name| first(name, assigned));
    let schemed = SCHEMES.iter().filter_map(|scheme| first(scheme, |rest| bare(rest, 0)));
    named.chain(schemed).min_by_key(|range| range.start)
}

/// The value behind a name: behind what assigns it, in quotes or not, and behind the scheme of an authorization.
fn assigned(rest: &str) -> Option<Range<usize>> {
    let value = rest.trim_start_matches(['"', '\'', '\\', ' ']).strip_prefix(['=', ':'])?.trim_start();
    let quote = ["\\\"", "\"", "'"].into_iter().find(|quote| value.starts_with(quote));
    let inner = &value[quote.map_or(0, str::len)..];
    let scheme = SCHEMES.iter().find(|scheme| inner.starts_with(**scheme));
    let start = rest.len() - inner.len() + scheme.map_or(0, |scheme| scheme.len());
    match quote {
        None => bare(rest, start),
        Some(quote) => some(start..start + quoted(&rest[start..], quote)),
    }
}

/// How long what is in quotes goes on: to the first such quote before which there is no backslash.
fn quoted(inner: &str, quote: &str) -> usize {
    let mut ends = inner.match_indices(quote).map(|(at, _)| at);
    ends.find(|at| !inner[..*at].ends_with('\\')).unwrap_or(inner.len())
}

/// A value without quotes.
fn bare(rest: &str, start: usize) -> Option<Range<usize>> {
    let start = rest.len() - rest[start..].trim_start().len();
    let length = rest[start..].find([' ', '&', ',', ';', '"', '<']).unwrap_or(rest.len() - start);
    some(start..start + length)
}

fn some(range: Range<usize>) -> Option<Range<usize>> {
    (!range.is_empty()).then_some(range)
}

/// A shorter value is no secret, and without it no text could be read.
const SECRET: usize = 4;

/// A text without the values that went with the request as headers.
pub(super) fn without(text: &str, headers: &[(HeaderName, HeaderValue)]) -> String {
    let values = headers.iter().filter_map(|(_, value)| std::str::from_utf8(value.as_bytes()).ok());
    // Behind the scheme of an authorization comes what must not be known.
    let parts = values.flat_map(|value| [Some(value), value.split_once(' ').map(|(_, rest)| rest)]).flatten();
    let mut parts: Vec<&str> = parts.filter(|part| part.len() >= SECRET).collect();
    parts.sort_by_key(|part| Reverse(part.len()));
    let text = parts.into_iter().fold(text.to_owned(), |text, value| {
        let hidden = text.replace(value, "…");
        // The text may have been cut in the middle of it.
        let cut = (SECRET..value.len()).rev().filter(|length| value.is_char_boundary(*length));
        let half = cut.map(|length| &value[..length]).find(|part| hidden.ends_with(part));
        match half.and_then(|part| hidden.strip_suffix(part)) {
            Some(rest) => format!("{rest}…"),
            None => hidden,
        }
    });
    short(text)
}

/// Why there was no answer: the error and its causes, outermost first, and what to do where that is known.
pub(super) fn failure(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {said}");
        }
        source = cause.source();
    }
    let mut text = printable(text.as_bytes());
    if let Some(remedy) = tls(error).and_then(remedy) {
        let _ = write!(text, " ({remedy})");
    }
    text
}

/// What TLS complained of, however deep below.
fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error hides what it is made of from those who ask for its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

fn remedy(error: &rustls::Error) -> Option<&'static str> {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => Some("name the authority that signed it in spec.target.tls.caBundle"),
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                Some("say which name it is valid for in spec.target.tls.serverName")
            }
            Bad::Expired | Bad::ExpiredContext { .. } => Some("the target must renew its certificate"),
            _ => None,
        },
        rustls::Error::InvalidMessage(_) => Some("does the target speak TLS at this port?"),
        rustls::Error::NoApplicationProtocol
        | rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol) => {
            Some("the target does not offer the HTTP version that the protocol needs")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use http::{HeaderName, HeaderValue};

    use super::{KEPT, printable, redacted, without};

    #[test]
    fn secrets_are_not_kept() {
        for (text, expected) in [
            ("Authorization: Bearer abc.def", "Authorization: Bearer …"),
            ("BASIC dXNlcg== is wrong", "BASIC … is wrong"),
            ("password=hunter2&user=ada", "password=…&user=ada"),
            (r#"{"token": "t0k3n", "user": "ada"}"#, r#"{"token": "…", "user": "ada"}"#),
            ("api_key: k, apikey=l", "api_key: …, apikey=…"),
            ("the password is wrong", "the password is wrong"),
            ("no token", "no token"),
            ("token=", "token="),
            (r#"{"x-api-token":"Bearer abc.def"}"#, r#"{"x-api-token":"Bearer …"}"#),
            (r#"{"password":"a b", "user": "ada"}"#, r#"{"password":"…", "user": "ada"}"#),
            (r#"{"password":"a\"b", "user": "ada"}"#, r#"{"password":"…", "user": "ada"}"#),
            ("{'secret': 'a \"b', 'user': 'ada'}", "{'secret': '…', 'user': 'ada'}"),
            (r#"{"sent":"{\"token\": \"a b\", \"n\": 1}"}"#, r#"{"sent":"{\"token\": \"…\", \"n\": 1}"}"#),
            ("no token; token=abc", "no token; token=…"),
            ("a secret, a password: one, the secret: two", "a secret, a password: …, the secret: …"),
            ("bearer  abc bearer def", "bearer  … bearer …"),
            ("x-api-key: abc", "x-api-key: …"),
            ("authorization: Custom", "authorization: …"),
            ("authorization: basic abc=", "authorization: basic …"),
        ] {
            assert_eq!(redacted(text), expected);
        }
    }

    #[test]
    fn what_went_with_the_request_is_not_kept() {
        let headers = ["Custom s3cr3t", "s3cr3t-and-more", "on"]
            .map(|value| (HeaderName::from_static("x"), HeaderValue::from_static(value)));
        for (text, expected) in [
            ("x is Custom s3cr3t, on the way", "x is …, on the way"),
            ("s3cr3t twice: s3cr3t", "… twice: …"),
            ("s3cr3t-and-more", "…"),
            ("cut off: s3cr3t-an", "cut off: …"),
            ("cut off: s3cr", "cut off: …"),
            ("as it was", "as it was"),
        ] {
            assert_eq!(without(text, &headers), expected);
        }
    }

    proptest! {
        #[test]
        fn short_and_without_control_whatever_comes(
            bytes in prop::collection::vec(any::<u8>(), 0..3000),
            text in "(token=|[a-z\u{e9} ]|bearer |\"|: ){0,40}",
        ) {
            for printed in [printable(&bytes), printable(text.as_bytes())] {
                prop_assert!(printed.len() <= KEPT && !printed.contains(char::is_control));
            }
        }
    }
}
