//! Sizes in bytes as Kubernetes writes quantities: `1048576`, `1Mi`, `1.5G`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A whole number of bytes, written as a number with or without one of the suffixes `k M G T P E Ki Mi Gi Ti Pi Ei`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(u64);

/// The text is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is not of the form described.
    #[error("not a size: write a number with or without a suffix such as Ki, Mi, Gi, for example 1Mi")]
    Form,
    /// It does not come to whole bytes.
    #[error("not a whole number of bytes")]
    Fraction,
    /// It does not fit.
    #[error("more than 2^64 - 1 bytes")]
    TooLarge,
}

/// The form, as the schema states it.
pub const PATTERN: &str = "^[0-9]{1,18}([.][0-9]{1,9})?(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$";

const BINARY: [(&str, u64); 6] =
    [("Ei", 1 << 60), ("Pi", 1 << 50), ("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];

const DECIMAL: [(&str, u64); 6] = [
    ("E", 1_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1000),
];

// === impl Quantity ===

impl Quantity {
    /// So many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// How many bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Quantity {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let factor = u128::from(factor(suffix).ok_or(Invalid::Form)?);
        let (whole, fraction) = number.split_once('.').map_or((number, None), |(w, f)| (w, Some(f)));
        if whole.len() > 18 || fraction.is_some_and(|f| f.is_empty() || f.len() > 9) {
            return Err(Invalid::Form);
        }
        let digits = |text: &str| text.parse::<u128>().map_err(|_| Invalid::Form);
        let scale = 10u128.pow(fraction.map_or(0, |f| f.len() as u32));
        let scaled = digits(whole)? * scale + fraction.map_or(Ok(0), digits)?;
        let bytes = scaled.checked_mul(factor).ok_or(Invalid::TooLarge)?;
        if bytes % scale != 0 {
            return Err(Invalid::Fraction);
        }
        u64::try_from(bytes / scale).map(Self).map_err(|_| Invalid::TooLarge)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BINARY.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)) {
            Some((suffix, factor)) => write!(f, "{}{suffix}", self.0 / factor),
            None => {
                match DECIMAL.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)) {
                    Some((suffix, factor)) => write!(f, "{}{suffix}", self.0 / factor),
                    // Longer than the form allows without a suffix, but such a number is never a sensible size.
                    None => write!(f, "{}", self.0),
                }
            }
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 1Mi")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Quantity, E> {
                Ok(Quantity(bytes))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Quantity, E> {
                Err(E::custom("must not be negative"))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": PATTERN,
            "maxLength": 32,
            "example": "1Mi",
        })
    }
}

fn factor(suffix: &str) -> Option<u64> {
    if suffix.is_empty() {
        return Some(1);
    }
    BINARY.iter().chain(&DECIMAL).find(|(name, _)| *name == suffix).map(|(_, factor)| *factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<u64, Invalid>) {
        assert_eq!(text.parse::<Quantity>(), expected.map(Quantity), "{text}");
    }

    #[test]
    fn reads_what_the_form_allows() {
        check("0", Ok(0));
        check("1048576", Ok(1 << 20));
        check("1Ki", Ok(1024));
        check("1.5Ki", Ok(1536));
        check("8Mi", Ok(8 << 20));
        check("2k", Ok(2000));
        check("0.001k", Ok(1));
    }

    #[test]
    fn refuses_everything_else() {
        for text in
            ["", "Mi", "-1", "+1", "1 Mi", "1mi", "1KB", "1.", ".5", "1.2.3", "1e3", "0x10", "1,5Mi", "1m"]
        {
            check(text, Err(Invalid::Form));
        }
        check("0.5", Err(Invalid::Fraction));
        check("1.0001Ki", Err(Invalid::Fraction));
        check("16Ei", Err(Invalid::TooLarge));
        check("999999999999999999E", Err(Invalid::TooLarge));
        check("3000000000000.00000000Ei", Err(Invalid::TooLarge));
    }

    #[test]
    fn a_bare_number_is_bytes() {
        let read: Quantity = serde_json::from_str("4096").unwrap();
        assert_eq!((read.bytes(), read.to_string()), (4096, "4Ki".into()));
        serde_json::from_str::<Quantity>("-1").unwrap_err();
        serde_json::from_str::<Quantity>("1.5").unwrap_err();
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(bytes in 0..1u64 << 56, shift in 0..8u32) {
            let quantity = Quantity(bytes << shift);
            if quantity.0 < 1_000_000_000_000_000_000 {
                prop_assert_eq!(quantity.to_string().parse(), Ok(quantity));
            }
        }

        #[test]
        fn reads_only_what_the_pattern_matches(text in "[0-9]{0,19}([.][0-9]{0,10})?(k|M|Ki|Mi|Ei|m|x|)") {
            let matches = regex_lite::Regex::new(PATTERN).unwrap().is_match(&text);
            prop_assert_eq!(matches, text.parse::<Quantity>() != Err(Invalid::Form));
        }
    }
}
