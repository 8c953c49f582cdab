//! An event's body as a value that expressions look into: read from JSON in one pass, up to a size. Pure.

use std::{borrow::Cow, collections::HashMap, fmt};

use ::cel::common::{
    types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt},
    value::Val,
};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

/// How large a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Whether it could be read at all; false for one that is too large.
    pub(super) is_readable: bool,
    /// In bytes.
    pub(super) bytes: u64,
    /// How many values it has, nested ones included.
    pub(super) nodes: u64,
    /// How many items its longest list or map has.
    pub(super) longest: u64,
}

/// The largest body that is looked into, in bytes. Reading one of this size takes about a millisecond.
pub(super) const MAX_BYTES: usize = 256 << 10;

/// The most values of a body that is looked into.
pub(super) const MAX_NODES: u64 = 10_000;

/// The body as a value, or nothing where it is no JSON. One that is too large is a null that is not to be used.
pub(super) fn read(bytes: &[u8]) -> Option<(Box<dyn Val + '_>, Size)> {
    let mut size = Size { bytes: bytes.len() as u64, ..Size::default() };
    if bytes.len() > MAX_BYTES {
        return Some((Box::new(CelNull), Size { is_readable: false, ..size }));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Node(&mut size).deserialize(&mut json);
    match value {
        Ok(value) => json.end().ok().map(|()| (value, size)),
        Err(_) if size.nodes > MAX_NODES => Some((Box::new(CelNull), Size { is_readable: false, ..size })),
        Err(_) => None,
    }
}

impl Default for Size {
    fn default() -> Self {
        Self { is_readable: true, bytes: 0, nodes: 0, longest: 0 }
    }
}

impl Size {
    /// With attributes beside the body: an expression names either.
    pub(super) fn and<'a>(self, attributes: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let (count, bytes) = attributes.fold((0, 0), |(count, bytes), (name, text)| {
            (count + 1, bytes + (name.len() + text.len()) as u64)
        });
        let longest = self.longest.max(count);
        Self { bytes: self.bytes + bytes, nodes: self.nodes + count, longest, ..self }
    }
}

/// One value, counted.
struct Node<'a>(&'a mut Size);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Box<dyn Val + 'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.nodes += 1;
        if self.0.nodes > MAX_NODES {
            return Err(D::Error::custom("too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Box<dyn Val + 'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Box::new(CelNull))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Box::new(CelBool::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Box::new(CelInt::from(value)))
    }

    /// As long as it fits, a number is an `int`, whatever its sign.
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        match i64::try_from(value) {
            Ok(value) => Ok(Box::new(CelInt::from(value))),
            Err(_) => Ok(Box::new(CelUInt::from(value))),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Box::new(CelDouble::from(value)))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Box::new(CelString::from(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Box::new(CelString::from(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list: Vec<Box<dyn Val + 'de>> = Vec::new();
        while let Some(item) = items.next_element_seed(Node(self.0))? {
            list.push(item);
        }
        self.0.longest = self.0.longest.max(list.len() as u64);
        Ok(Box::new(CelList::from(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map: HashMap<CelMapKey<'de>, Box<dyn Val + 'de>> = HashMap::new();
        while let Some(Name(name)) = entries.next_key_seed(Key)? {
            let value = entries.next_value_seed(Node(self.0))?;
            map.insert(CelMapKey::String(CelString::from(name)), value);
        }
        self.0.longest = self.0.longest.max(map.len() as u64);
        Ok(Box::new(CelMap::from(map)))
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name<'de>(Cow<'de, str>);

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Name<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Owned(value.to_owned())))
    }
}
