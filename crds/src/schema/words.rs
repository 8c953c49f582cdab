//! What the patterns of the schemas mean to people. Pure.
//!
//! An API server can only show the pattern itself. Whoever is asked here is told what to write, with examples.

use crate::{duration, instant, port, processor, quantity, schedule, start};

/// What a text of each pattern is. A test knows whether each has its words.
const WORDS: [(&str, &str); 23] = [
    (duration::PATTERN, "a duration such as 500ms, 30s, 5m or 1h30m"),
    (quantity::PATTERN, "a size such as 1048576, 512Ki, 8Mi or 1Gi"),
    (instant::PATTERN, "an instant since 1970 such as 2026-01-31T08:00:00Z"),
    (schedule::BASE64, "bytes in base64 with their padding, such as aGVsbG8="),
    (schedule::ATTRIBUTE, "a text without control characters, such as shop.nightly"),
    (
        "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "a Secret's name: lower-case letters, digits, '-' and '.', such as billing-token",
    ),
    ("^[-._a-zA-Z0-9]+$", "a key of a Secret: letters, digits, '-', '.' and '_', such as token"),
    (start::PATTERN, "Latest, Earliest, Committed or an instant such as 2026-01-31T08:00:00Z"),
    (port::PATTERN, "a port's name such as http, or its number without quotes"),
    (
        processor::URL_PATTERN,
        "an http or https URL without user or fragment, such as http://127.0.0.1:8089/events",
    ),
    ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a name of lower-case letters, digits and '-', such as orders"),
    ("^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", "a namespace: lower-case letters, digits and '-', such as shop"),
    ("^([a-z0-9]([-a-z0-9]*[a-z0-9])?|[*])$", "a namespace such as audit, or \"*\" for any"),
    (
        "^[a-z]([-a-z0-9]*[a-z0-9])?$",
        "a Service's name: lower-case letters, digits and '-', a letter first, such as billing",
    ),
    ("^/[!-\"$-~]*$", "a path that begins with '/' and has no blanks and no '#', such as /events"),
    ("^[A-Za-z0-9._-]+$", "letters, digits, '.', '_' and '-', such as shop.orders"),
    (
        "^[^,=\\s]([^,=]*[^,=\\s])?$",
        "a key without ',' and '=' and without blanks at its ends, such as reminder",
    ),
    ("^[^,\\s]([^,]*[^,\\s])?$", "a tag without ',' and without blanks at its ends, such as paid"),
    (
        "^([^*]+[*]?|[*])$",
        "a type such as shop.order.paid, or the beginning of types and one '*' at its end, such as shop.order.*",
    ),
    ("^[A-Za-z0-9!#$%&'*+.^_|~-]+$", "a header's name, which has no blanks and no ':', such as X-Team"),
    (
        "^[!-~]([ -~]*[!-~])?$",
        "a header's value: visible ASCII characters, blanks only between them, such as billing",
    ),
    ("^[345]([0-9]{2}|xx)$", "a status from 300 to 599 such as 503, or all of one hundred such as 5xx"),
    ("^[A-Z]+(_[A-Z]+)*$", "the name of a gRPC code such as UNAVAILABLE"),
];

/// What a text of this pattern is, for example a duration.
pub(super) fn of(pattern: &str) -> Option<&'static str> {
    WORDS.iter().find(|(known, _)| *known == pattern).map(|(_, words)| *words)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::Kind;

    fn patterns(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                found.extend(fields.get("pattern").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| patterns(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| patterns(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_pattern_of_a_spec_has_words_and_no_words_are_idle() {
        let mut found = Vec::new();
        for kind in Kind::ALL {
            patterns(&super::super::of(kind)["properties"]["spec"], &mut found);
        }
        let mute: Vec<_> = found.iter().filter(|pattern| of(pattern).is_none()).collect();
        assert!(mute.is_empty(), "{mute:?}");
        let idle: Vec<_> =
            WORDS.iter().filter(|(pattern, _)| !found.iter().any(|one| one == pattern)).collect();
        assert!(idle.is_empty(), "{idle:?}");
    }
}
