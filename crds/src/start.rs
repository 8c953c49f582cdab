//! Where a Processor begins that has not read yet: a word, or an instant as RFC 3339 writes it.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Instant;

/// Where a Processor begins that has not read yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StartFrom {
    /// At the Processor's creation.
    #[default]
    Latest,
    /// At the beginning.
    Earliest,
    /// Where its group has committed.
    Committed,
    /// At an instant.
    At(Instant),
}

/// The text is no start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a start: write Latest, Earliest, Committed or an instant since 1970, for example 2026-01-31T08:00:00Z"
)]
pub struct Invalid;

/// The form, as the schema states it.
pub const PATTERN: &str = "^(Latest|Earliest|Committed|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2}))$";

// === impl StartFrom ===

impl FromStr for StartFrom {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "Latest" => Ok(Self::Latest),
            "Earliest" => Ok(Self::Earliest),
            "Committed" => Ok(Self::Committed),
            _ => text.parse().map(Self::At).map_err(|_| Invalid),
        }
    }
}

impl fmt::Display for StartFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latest => "Latest",
            Self::Earliest => "Earliest",
            Self::Committed => "Committed",
            Self::At(instant) => return instant.fmt(f),
        })
    }
}

impl Serialize for StartFrom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StartFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for StartFrom {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StartFrom".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": 40, "example": "2026-01-31T08:00:00Z" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_instants_are_read_and_printed() {
        for text in ["Latest", "Earliest", "Committed", "2026-01-31T08:00:00Z", "2026-01-31T08:00:00.5+02:00"]
        {
            assert_eq!(text.parse::<StartFrom>().unwrap().to_string(), text);
            assert!(regex_lite::Regex::new(PATTERN).unwrap().is_match(text), "{text}");
        }
        let Ok(StartFrom::At(instant)) = "2026-01-31T08:00:00.5+02:00".parse() else { panic!("no instant") };
        assert_eq!(instant.millis(), 1_769_839_200_500);
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "latest",
            "Newest",
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
            assert_eq!(text.parse::<StartFrom>(), Err(Invalid), "{text}");
        }
    }
}
