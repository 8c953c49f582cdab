//! Which strings are URIs and relative references, as RFC 3986 writes them. Pure.

use std::net::Ipv6Addr;

/// Whether this is a URI or a relative reference.
pub(crate) fn is_reference(text: &str) -> bool {
    let (text, fragment) = cut(text, '#');
    let (text, query) = cut(text, '?');
    let (scheme, hierarchy) = split_scheme(text);
    scheme.is_none_or(is_scheme)
        && is_hierarchy(hierarchy)
        && [query, fragment].into_iter().flatten().all(|part| is_made_of(part, b":@/?"))
}

/// Whether this is a URI with a scheme. A fragment is allowed: schemas are often named by one.
pub(super) fn is_absolute(text: &str) -> bool {
    let (hierarchy, _) = cut(text, '#');
    let (hierarchy, _) = cut(hierarchy, '?');
    split_scheme(hierarchy).0.is_some() && is_reference(text)
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// A colon ends a scheme unless a slash comes first; so a relative path cannot begin with a segment that has a colon.
fn split_scheme(text: &str) -> (Option<&str>, &str) {
    match text.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') => (Some(scheme), rest),
        _ => (None, text),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn is_hierarchy(text: &str) -> bool {
    let Some(text) = text.strip_prefix("//") else { return is_made_of(text, b":@/") };
    let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    is_authority(authority) && is_made_of(path, b":@/")
}

fn is_authority(text: &str) -> bool {
    let (user, place) = text.rsplit_once('@').map_or((None, text), |(user, place)| (Some(user), place));
    let literal = place.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host_is_fine, port) = literal.map_or_else(
        || {
            let (host, port) = place.split_at(place.find(':').unwrap_or(place.len()));
            (is_made_of(host, b""), port)
        },
        |(literal, rest)| (is_ip_literal(literal), rest),
    );
    let port_is_fine =
        port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    host_is_fine && port_is_fine && user.is_none_or(|user| is_made_of(user, b":"))
}

fn is_ip_literal(text: &str) -> bool {
    let is_future = || {
        let (version, address) = text.strip_prefix(['v', 'V'])?.split_once('.')?;
        let hex = !version.is_empty() && version.bytes().all(|b| b.is_ascii_hexdigit());
        Some(hex && !address.is_empty() && !address.contains('%') && is_made_of(address, b":"))
    };
    text.parse::<Ipv6Addr>().is_ok() || is_future().unwrap_or(false)
}

/// Whether these are unreserved characters, sub-delimiters, escapes, and what this part allows besides.
fn is_made_of(text: &str, also: &[u8]) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let plain =
            byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) || also.contains(&byte);
        let mut hex = || bytes.next().is_some_and(|b| b.is_ascii_hexdigit());
        if !(plain || byte == b'%' && hex() && hex()) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{is_absolute, is_reference};

    #[test]
    fn references() {
        for good in [
            "https://github.com/cloudevents",
            "mailto:cncf-wg-serverless@lists.cncf.io",
            "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
            "/cloudevents/spec/pull/123",
            "1-555-123-4567",
            "#fragment",
            "?query",
            "",
            "//host",
            "a/b:c",
            "http://[::1]:8080/x",
            "http://[v1.a:b]/",
            "http://user:pw@host:/p%20q?a=b/c?d#e/f?g",
            "file:///etc/hosts",
            "//a.b:",
        ] {
            assert!(is_reference(good), "{good}");
        }
        for bad in [
            "a b",
            "http://[::1",
            "http://[::g]/",
            "http://[1.2.3.4]/",
            "http://host:80a/",
            "a%2",
            "a%zz",
            "ü",
            "1:b",
            ":b",
            "a\\b",
            "a#b#c",
            "http://a[b]/",
            "/a[0]",
            "a\"b",
            "<a>",
            "{a}",
            "a|b",
            "a^b",
            "http://a@b@c/",
            "http://[v.a]/",
            "a\nb",
        ] {
            assert!(!is_reference(bad), "{bad}");
        }
    }

    #[test]
    fn absolute_ones() {
        for good in ["https://a/b#c", "urn:a", "a:"] {
            assert!(is_absolute(good), "{good}");
        }
        for bad in ["", "/a", "//a/b", "a", "#a:b", "?a:b", "1:a", "https://a b"] {
            assert!(!is_absolute(bad), "{bad}");
        }
    }
}
