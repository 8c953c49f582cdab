//! What strangers and libraries say, made fit for logs, terminals and dead letters. Pure.

use std::{error::Error, fmt::Write, io};

use rustls::CertificateError;

/// As much of a failing answer as is kept with its cause.
pub(super) const KEPT: usize = 1 << 10;

/// A stranger's text: short, and without anything that a terminal or a log would obey.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    // What is no text grows when it is replaced.
    let kept = &text[..text.floor_char_boundary(KEPT)];
    let plain: String = kept.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    redacted(&plain)
}

/// What stands before a secret, in lower case.
const SECRETS: [&str; 8] =
    ["bearer ", "basic ", "password", "passwd", "secret", "token", "api_key", "apikey"];

/// The same text without what looks like a secret: a target may answer with what it was sent.
fn redacted(text: &str) -> String {
    // Of the same length as the text, because only ASCII changes.
    let lower = text.to_ascii_lowercase();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(begin) = secret(&lower, at) {
        let end =
            lower[begin..].find([' ', '&', ',', ';', '"', '<']).map_or(text.len(), |length| begin + length);
        out.push_str(&text[at..begin]);
        out.push('…');
        at = end;
    }
    out.push_str(&text[at..]);
    out
}

/// Where the next secret begins.
fn secret(lower: &str, from: usize) -> Option<usize> {
    let begin = |word: &&str| {
        let found = from + lower.get(from..)?.find(*word)? + word.len();
        let rest = &lower[found..];
        // Of those that are no words before a secret by themselves, only what is assigned is one.
        let assigned = rest.trim_start_matches(['"', '\'', ' ']).strip_prefix(['=', ':']);
        let value = match assigned {
            Some(value) => value.trim_start_matches(['"', '\'', ' ']),
            None if word.ends_with(' ') => rest,
            None => return None,
        };
        (!value.is_empty()).then(|| lower.len() - value.len())
    };
    SECRETS.iter().filter_map(begin).min()
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

    use super::{KEPT, printable, redacted};

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
        ] {
            assert_eq!(redacted(text), expected);
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
