//! Spans of time as GEP-2257 writes them: `250ms`, `30s`, `1h30m`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time, written as up to four numbers of up to five digits with the units `h`, `m`, `s` and `ms`. Whole
/// milliseconds, at most [`Duration::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// The text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is not of the form described.
    #[error("not a duration: write up to four numbers with the units h, m, s, ms, for example 1h30m")]
    Form,
    /// It is longer than can be written.
    #[error("longer than 99999h59m59s999ms")]
    TooLong,
}

/// The form, as the schema states it.
pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

// === impl Duration ===

impl Duration {
    /// The longest: more hours do not fit five digits.
    pub const MAX: Self = Self::from_millis(99_999 * 3_600_000 + 3_599_999);

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// As the standard library knows it.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl FromStr for Duration {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut rest = text;
        let mut millis = 0;
        let mut parts = 0;
        while !rest.is_empty() {
            let (number, after) = leading(rest, |c| c.is_ascii_digit());
            let (unit, after) = leading(after, |c| c.is_ascii_lowercase());
            parts += 1;
            if parts > 4 || number.len() > 5 {
                return Err(Invalid::Form);
            }
            let number: u64 = number.parse().map_err(|_| Invalid::Form)?;
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(Invalid::Form)?;
            millis += number * factor;
            rest = after;
        }
        match Self::from_millis(millis) {
            _ if parts == 0 => Err(Invalid::Form),
            long if long > Self::MAX => Err(Invalid::TooLong),
            duration => Ok(duration),
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis() as u64;
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": 24, "example": "1h30m" })
    }
}

fn leading(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !wanted(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<u64, Invalid>) {
        assert_eq!(text.parse::<Duration>(), expected.map(Duration::from_millis), "{text}");
    }

    #[test]
    fn reads_what_the_form_allows() {
        check("250ms", Ok(250));
        check("10s", Ok(10_000));
        check("1h30m", Ok(5_400_000));
        check("0s", Ok(0));
        check("99999h59m59s999ms", Ok(359_999_999_999));
        check("1m1m1m1m", Ok(240_000));
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "", "10", "-1s", "1.5s", "1h30", "s", "1d", "PT5M", "NaN", " 1s", "1 s", "1S", "100000ms", "1us",
            "١s",
        ] {
            check(text, Err(Invalid::Form));
        }
        check("1s1s1s1s1s", Err(Invalid::Form));
        check("99999h99999h", Err(Invalid::TooLong));
        check("99999h60m", Err(Invalid::TooLong));
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(millis in 0..=Duration::MAX.get().as_millis() as u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn reads_exactly_what_the_pattern_matches(text in "([0-9]{0,6}(h|m|s|ms|us|)){0,5}") {
            let matches = regex_lite::Regex::new(PATTERN).unwrap().is_match(&text);
            let read = text.parse::<Duration>();
            prop_assert_eq!(matches, read != Err(Invalid::Form));
        }
    }
}
