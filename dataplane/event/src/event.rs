//! An event: what a producer says happened, as CloudEvents 1.0 describes it.

use bytes::Bytes;

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
    /// The payload; `None` when the event carries no data at all.
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
}
