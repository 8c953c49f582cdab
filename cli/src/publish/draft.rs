//! An event about to be published, and how it goes over the wire: CloudEvents binary mode.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use evhub_routing::Name;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{self, Client, path};

/// What the CloudEvents HTTP binding has encoded in header values; beyond ASCII everything is.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
/// Attributes with options of their own.
const CORE: [&str; 9] =
    ["id", "source", "type", "specversion", "subject", "time", "datacontenttype", "dataschema", "data"];

/// All of an event but its id, which is given when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// Where it happened.
    pub(crate) source: String,
    /// What kind of thing happened.
    pub(crate) kind: String,
    /// What it is about.
    pub(crate) subject: Option<String>,
    /// Extension attributes.
    pub(crate) extensions: Vec<(String, String)>,
    /// The payload's media type, and the payload.
    pub(crate) data: Option<(String, Bytes)>,
}

/// What the hub says of an event that it accepted; fields that this version does not know are passed on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// The event's id.
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    producer: Option<String>,
    /// Where it is in the log, if it is there yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<u64>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// What cannot be sent.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum Unsendable {
    /// Two values for one name.
    #[error("{0} is given twice")]
    Twice(String),
    /// A media type that no header can hold.
    #[error("the content type is not a media type")]
    ContentType,
}

// === impl Receipt ===

impl Receipt {
    /// When it will be published, if it is not yet.
    pub(crate) fn due(&self) -> Option<&str> {
        self.rest.get("due").and_then(Value::as_str)
    }

    /// By which timer.
    pub(crate) fn timer(&self) -> Option<&str> {
        self.rest.get("timer").and_then(Value::as_str)
    }
}

// === impl Draft ===

impl Draft {
    /// An event of that type and nothing more, from the Producer itself.
    pub(crate) fn new(producer: &Name, kind: impl Into<String>) -> Self {
        let source = path(&producer.namespace, &["producers", &producer.name]);
        Self { source, kind: kind.into(), subject: None, extensions: Vec::new(), data: None }
    }

    /// The same event with a key.
    pub(crate) fn with_key(mut self, key: &str) -> Self {
        self.extensions.push(("partitionkey".to_owned(), key.to_owned()));
        self
    }

    /// The same event with a JSON payload.
    pub(crate) fn with_json(mut self, data: &Value) -> Self {
        self.data = Some(("application/json".to_owned(), data.to_string().into()));
        self
    }

    /// Whether it can be sent at all.
    pub(crate) fn check(&self) -> Result<(), Unsendable> {
        let mut names = BTreeSet::new();
        if let Some((twice, _)) = self.extensions.iter().find(|(name, _)| !names.insert(name)) {
            return Err(Unsendable::Twice(twice.clone()));
        }
        self.headers("").map(|_| ())
    }

    /// Publishes it under this id.
    pub(crate) async fn send(
        &self,
        client: &Client,
        producer: &Name,
        id: &str,
    ) -> Result<Receipt, client::Error> {
        let path = path(&producer.namespace, &["producers", &producer.name, "events"]);
        let headers = self.headers(id).expect("a draft is checked before it is sent");
        let body = self.data.as_ref().map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        client.post(&path, headers, body).await
    }

    fn headers(&self, id: &str) -> Result<HeaderMap, Unsendable> {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let core = [
            ("specversion", "1.0"),
            ("id", id),
            ("source", &self.source),
            ("type", &self.kind),
            ("time", &now),
        ];
        let subject = self.subject.iter().map(|subject| ("subject", subject.as_str()));
        let extensions = self.extensions.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut headers: HeaderMap =
            core.into_iter().chain(subject).chain(extensions).map(attribute).collect();
        if let Some((content_type, _)) = &self.data {
            let value = HeaderValue::from_str(content_type).map_err(|_| Unsendable::ContentType)?;
            headers.insert(header::CONTENT_TYPE, value);
        }
        Ok(headers)
    }
}

fn attribute((name, value): (&str, &str)) -> (HeaderName, HeaderValue) {
    let name = format!("ce-{name}").parse().expect("attribute names are lower case letters and digits");
    let value = utf8_percent_encode(value, ENCODED).to_string();
    (name, HeaderValue::try_from(value).expect("what is encoded is visible ASCII"))
}

/// Reads `NAME=VALUE`.
pub(super) fn extension(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("an extension is NAME=VALUE, as in tenant=acme")?;
    let letters = name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if name.is_empty() || !letters {
        return Err("an attribute's name has only lower case letters and digits".to_owned());
    }
    if CORE.contains(&name) {
        return Err(format!("{name} is no extension; see --help for its option"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft::new(&Name::new("shop", "orders"), "shop.order.paid")
    }

    #[test]
    fn an_extension_is_a_name_and_a_value() {
        assert_eq!(extension("tenant=a=b "), Ok(("tenant".to_owned(), "a=b ".to_owned())));
        assert_eq!(extension("empty="), Ok(("empty".to_owned(), String::new())));
        for text in ["tenant", "=x", "Tenant=x", "te-nant=x", "té=x", "id=x", "data=x"] {
            assert!(extension(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_are_binary_mode() {
        let draft = Draft { subject: Some("50 % für \"dich\"\n".to_owned()), ..draft().with_key("ada") };
        let headers = draft.headers("a1").unwrap();
        assert_eq!(headers["ce-specversion"], "1.0");
        assert_eq!(headers["ce-id"], "a1");
        assert_eq!(headers["ce-source"], "/namespaces/shop/producers/orders");
        assert_eq!(headers["ce-type"], "shop.order.paid");
        assert_eq!(headers["ce-partitionkey"], "ada");
        assert_eq!(headers["ce-subject"], "50%20%25%20f%C3%BCr%20%22dich%22%0A");
        assert!(headers.contains_key("ce-time"));
        assert!(!headers.contains_key(header::CONTENT_TYPE), "there is no payload to describe");
        let headers = draft.with_json(&serde_json::json!({})).headers("a1").unwrap();
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    }

    #[test]
    fn what_no_header_holds_is_refused() {
        assert_eq!(draft().check(), Ok(()));
        let twice = draft().with_key("a").with_key("b");
        assert_eq!(twice.check(), Err(Unsendable::Twice("partitionkey".to_owned())));
        let typed = Draft { data: Some(("a\nb".to_owned(), Bytes::new())), ..draft() };
        assert_eq!(typed.check(), Err(Unsendable::ContentType));
    }

    #[test]
    fn a_receipt_is_printed_as_it_came() {
        for text in [
            r#"{"id":"a","producer":"shop/orders","partition":0,"offset":7}"#,
            r#"{"id":"a","due":"2026-01-01T00:00:00.000Z","timer":"t"}"#,
        ] {
            let receipt: Receipt = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&receipt).unwrap(), text);
        }
    }
}
