//! An event: what a producer says happened, as CloudEvents 1.0 describes it.

use bytes::Bytes;
use uuid::Uuid;

use crate::{attributes, invalid::Invalid};

/// A checked CloudEvent.
///
/// Attribute values are kept as the canonical strings of the CloudEvents type system, because that is all that binary
/// modes can carry: an integer or boolean extension of a structured event reads back as its string form. `data` is
/// opaque and never parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Identifies the event within its `source`.
    pub id: String,
    /// The context in which the event happened: a URI reference.
    pub source: String,
    /// The `type` attribute.
    pub kind: String,
    /// What the event is about, within `source`.
    pub subject: Option<String>,
    /// When it happened: an RFC 3339 instant, kept as it was written.
    pub time: Option<String>,
    /// The media type of `data`.
    pub datacontenttype: Option<String>,
    /// The schema that `data` adheres to: a URI.
    pub dataschema: Option<String>,
    /// Extension attributes in the order they came, names lower case and unique.
    pub extensions: Vec<(String, String)>,
    /// The payload; `None` when the event carries no data at all. Never empty in an event that was decoded: binary
    /// modes cannot tell empty data from none, so every codec reads and writes empty data as none.
    pub data: Option<Bytes>,
}

impl Event {
    /// The value of an extension attribute.
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The key whose events are kept in order: the `partitionkey` extension.
    pub fn partition_key(&self) -> Option<&str> {
        self.extension("partitionkey")
    }

    /// All attributes but `specversion`, core ones first. An extension whose name no codec could carry, which no decoded
    /// event has, is left out.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let required = [("id", &self.id), ("source", &self.source), ("type", &self.kind)];
        let optional = [
            ("subject", &self.subject),
            ("time", &self.time),
            ("datacontenttype", &self.datacontenttype),
            ("dataschema", &self.dataschema),
        ];
        let extensions = self.extensions.iter().filter(|(name, _)| attributes::is_extension_name(name));
        let core = required.into_iter().map(|(name, value)| (name, value.as_str()));
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        core.chain(optional).chain(extensions.map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// How large this event is, for limits: the bytes of names and values of its attributes, and of its data.
    pub fn size(&self) -> usize {
        let attributes: usize = self.attributes().map(|(name, value)| name.len() + value.len()).sum();
        attributes + self.data.as_ref().map_or(0, Bytes::len)
    }

    /// Holds the attributes against the specification and our limits. Every decoded event has passed this.
    pub fn check(&self) -> Result<(), Invalid> {
        attributes::check(self)
    }

    /// A new id, unique and growing with time: a version 7 UUID.
    pub fn new_id() -> String {
        Uuid::now_v7().to_string()
    }
}
