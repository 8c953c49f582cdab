//! How a port of a Service is written: its name or its number.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// By its number, from 1 on.
    Number(u16),
    /// By its name.
    Name(String),
}

/// What a name looks like.
pub(crate) const PATTERN: &str = "^[a-z0-9]+(-[a-z0-9]+)*$";

const ONE: &str =
    "must be a port's name, which has a letter, or a number between 1 and 65535, without quotes";

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u16(*number),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port's name or number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Port, E> {
                let number = u16::try_from(number).ok().filter(|number| *number > 0);
                number.map(Port::Number).ok_or_else(|| E::custom(ONE))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Port, E> {
                Err(E::custom(ONE))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Port, E> {
                let lettered = name.bytes().any(|c| c.is_ascii_lowercase());
                lettered.then(|| Port::Name(name.to_owned())).ok_or_else(|| E::custom(ONE))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Port {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": PATTERN,
            "maxLength": 15,
            "example": "http",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let read = |text: &str| serde_json::from_str::<Port>(text);
        assert_eq!(read("8080").unwrap(), Port::Number(8080));
        assert_eq!(read("\"http\"").unwrap(), Port::Name("http".into()));
        for text in ["0", "65536", "-1", "\"8080\"", "1.5", "true"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
