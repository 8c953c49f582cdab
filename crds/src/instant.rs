//! Instants as RFC 3339 writes them, since 1970: `2026-01-31T08:00:00Z`.

use std::{borrow::Cow, fmt, str::FromStr};

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    text: String,
    millis: i64,
}

/// The text is no instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an instant since 1970: write one as 2026-01-31T08:00:00Z")]
pub struct Invalid;

/// The form, as the schema states it.
pub const PATTERN: &str =
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$";

// === impl Instant ===

impl Instant {
    /// In milliseconds since the Unix epoch.
    pub const fn millis(&self) -> i64 {
        self.millis
    }
}

impl FromStr for Instant {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // The parser would also take a space for the T, and lower case.
        if !text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.TZ+".contains(&byte)) {
            return Err(Invalid);
        }
        match text.parse::<Timestamp>() {
            Ok(instant) if instant.as_millisecond() >= 0 => {
                Ok(Self { text: text.to_owned(), millis: instant.as_millisecond() })
            }
            _ => Err(Invalid),
        }
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Instant {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Instant".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": 40, "example": "2026-01-31T08:00:00Z" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_and_printed_as_they_were_written() {
        for (text, millis) in
            [("2026-01-31T08:00:00Z", 1_769_846_400_000), ("2026-01-31T08:00:00.5+02:00", 1_769_839_200_500)]
        {
            let instant: Instant = text.parse().unwrap();
            assert_eq!((instant.millis(), instant.to_string().as_str()), (millis, text));
            assert!(regex_lite::Regex::new(PATTERN).unwrap().is_match(text), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "2026-01-31",
            "2026-02-30T00:00:00Z",
            "2026-01-31T08:00:00",
            "1969-12-31T23:59:59Z",
            "2026-01-31 08:00:00Z",
            "2026-01-31t08:00:00z",
            "2026-01-31T25:00:00Z",
            "now",
            "1h",
        ] {
            assert_eq!(text.parse::<Instant>(), Err(Invalid), "{text}");
        }
    }
}
