//! The events of a run: small, each different, with everything in them that has been lost on some way before. Pure.

use crate::{
    history::{draw, fingerprint},
    wire::escape,
};

/// An event to publish.
#[derive(Clone, Debug)]
pub struct Event {
    /// Unique in the run: the client's name, a dash, its count. Its `id` on the wire is the count alone where the client
    /// says so: what tells it from the others' is then its source.
    pub id: String,
    /// Its `partitionkey`.
    pub key: Option<String>,
    /// All attributes, that of the media type included.
    attributes: Vec<(&'static str, String)>,
    data: Vec<u8>,
}

/// What an event is called in a history, from what it says of itself.
pub fn name(source: &str, id: &str) -> String {
    match source.rsplit_once('/') {
        Some((_, client)) if id.bytes().all(|byte| byte.is_ascii_digit()) => format!("{client}-{id}"),
        _ => id.to_owned(),
    }
}

impl Event {
    /// Its `id` on the wire.
    pub fn wire_id(&self) -> &str {
        self.attributes.iter().find(|(name, _)| *name == "id").map_or("", |(_, value)| value)
    }

    /// The event number `n` of a client. What it looks like is drawn from the seed.
    pub fn new(seed: u64, client: &str, n: u64, key: Option<String>, alike: bool) -> Self {
        let id = format!("{client}-{n}");
        let wire = if alike { n.to_string() } else { id.clone() };
        let dice = draw(seed, &["event", &id]);
        let (media, data) = match dice % 3 {
            0 => (
                "application/json",
                format!(r#"{{"n":9007199254740993{},"x":1e-7,"q":"\u00e9"}}"#, dice % 10).into_bytes(),
            ),
            1 => ("text/plain", format!("Grüße, {id}: 100 % \"quoted\"").into_bytes()),
            _ => ("application/octet-stream", (0..dice % 300).map(|n| (n ^ dice) as u8).collect()),
        };
        let mut attributes = vec![
            ("specversion", "1.0".to_owned()),
            ("id", wire),
            ("source", format!("/e2e/{client}")),
            ("type", format!("e2e.{client}")),
            ("subject", format!("größe/{} 50% \"x\"", dice % 100)),
            ("time", format!("2026-03-01T12:{:02}:{:02}.{:03}Z", dice % 60, dice / 60 % 60, dice % 1000)),
            ("tenant", format!("t{}", dice % 7)),
            ("datacontenttype", media.to_owned()),
        ];
        attributes.extend(key.clone().map(|key| ("partitionkey", key)));
        Self { id, key, attributes, data }
    }

    /// What the checks know it by.
    pub fn hash(&self) -> u64 {
        fingerprint(self.attributes.iter().map(|(name, value)| (*name, value.as_str())), &self.data)
    }

    /// The request that publishes it, in binary mode.
    pub fn request(&self, path: &str) -> Vec<u8> {
        let headers: Vec<(String, String)> = self
            .attributes
            .iter()
            .map(|(name, value)| match *name {
                "datacontenttype" => ("content-type".to_owned(), value.clone()),
                name => (format!("ce-{name}"), escape(value)),
            })
            .collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        crate::wire::request("POST", path, &headers, &self.data)
    }
}
