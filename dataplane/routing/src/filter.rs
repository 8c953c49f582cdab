//! Which events a Processor receives. Values, checked when made.

mod expression;

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

pub use expression::{Cel, Invalid as InvalidCel, MAX_SOURCE_BYTES, Unclear};

/// Which events a Processor receives: those for which all parts hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// The event has one of these tags; empty is no condition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The event's type is one of these; empty is no condition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<TypePattern>,
    /// This is true of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cel: Option<Cel>,
}

/// A type of events, `shop.order.paid`, or all that begin alike, `shop.order.*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TypePattern {
    begins: String,
    open: bool,
}

/// The text is no [`TypePattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a type: write one, for example shop.order.paid, or how several begin, with one * at the end")]
pub struct InvalidType;

// === impl TypePattern ===

impl TypePattern {
    /// Whether a type is meant.
    pub fn matches(&self, kind: &str) -> bool {
        if self.open { kind.starts_with(&self.begins) } else { kind == self.begins }
    }
}

impl FromStr for TypePattern {
    type Err = InvalidType;

    fn from_str(text: &str) -> Result<Self, InvalidType> {
        let (begins, open) = text.strip_suffix('*').map_or((text, false), |begins| (begins, true));
        if text.is_empty() || begins.contains('*') {
            return Err(InvalidType);
        }
        Ok(Self { begins: begins.to_owned(), open })
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.begins)?;
        f.write_str(if self.open { "*" } else { "" })
    }
}

impl Serialize for TypePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_exact_or_open_at_the_end() {
        for (text, yes, no) in [
            ("shop.order.paid", &["shop.order.paid"][..], &["shop.order", "shop.order.paid.late", ""][..]),
            ("shop.order.*", &["shop.order.", "shop.order.paid"], &["shop.order", "shop.orders"]),
            ("*", &["", "anything"], &[]),
        ] {
            let pattern: TypePattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
            assert!(yes.iter().all(|kind| pattern.matches(kind)), "{text}");
            assert!(!no.iter().any(|kind| pattern.matches(kind)), "{text}");
        }
        for text in ["", "*.paid", "shop.*.paid", "**"] {
            assert_eq!(text.parse::<TypePattern>(), Err(InvalidType), "{text}");
        }
    }
}
