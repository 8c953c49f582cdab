//! An event being put together, attribute by attribute, as a codec finds them. Pure.

use bytes::Bytes;

use crate::{
    Event, attributes,
    invalid::{Invalid, Reason, quote},
};

/// The one version of the specification that is spoken here.
pub(crate) const SPECVERSION: &str = "1.0";

/// What is known of an event so far. Bounded: it refuses one attribute too many before it stores it.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    kind: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    datacontenttype: Option<String>,
    dataschema: Option<String>,
    extensions: Vec<(String, String)>,
    count: usize,
}

impl Draft {
    /// Takes an attribute; a second one of the same name is refused.
    pub(crate) fn set(&mut self, name: &str, value: String) -> Result<(), Invalid> {
        attributes::check_name(name)?;
        self.put(name, value)
    }

    /// Takes an attribute whose name has been checked.
    pub(crate) fn put(&mut self, name: &str, value: String) -> Result<(), Invalid> {
        if self.has(name) {
            return Err(attributes::duplicate(name));
        }
        self.count += 1;
        if self.count > attributes::MAX_ATTRIBUTES {
            return Err(attributes::too_many());
        }
        match self.slot(name) {
            Some(slot) => *slot = Some(value),
            None => self.extensions.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// Whether this attribute has come already.
    pub(crate) fn has(&mut self, name: &str) -> bool {
        match self.slot(name) {
            Some(slot) => slot.is_some(),
            None => self.extensions.iter().any(|(other, _)| other == name),
        }
    }

    /// What the data's media type is, as far as known.
    pub(crate) fn datacontenttype(&self) -> Option<&str> {
        self.datacontenttype.as_deref()
    }

    /// The checked event. Empty data is no data: the binary modes cannot tell them apart, so no event is ever the one
    /// in one place and the other in the next.
    pub(crate) fn finish(self, data: Option<Bytes>) -> Result<Event, Invalid> {
        match self.specversion.as_deref() {
            None | Some("") => return Err(attributes::missing("specversion")),
            Some(SPECVERSION) => {}
            Some(other) => return Err(unsupported(other)),
        }
        let event = Event {
            id: self.id.unwrap_or_default(),
            source: self.source.unwrap_or_default(),
            kind: self.kind.unwrap_or_default(),
            subject: self.subject,
            time: self.time,
            datacontenttype: self.datacontenttype,
            dataschema: self.dataschema,
            extensions: self.extensions,
            data: data.filter(|data| !data.is_empty()),
        };
        event.check()?;
        Ok(event)
    }

    fn slot(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "specversion" => Some(&mut self.specversion),
            "id" => Some(&mut self.id),
            "source" => Some(&mut self.source),
            "type" => Some(&mut self.kind),
            "subject" => Some(&mut self.subject),
            "time" => Some(&mut self.time),
            "datacontenttype" => Some(&mut self.datacontenttype),
            "dataschema" => Some(&mut self.dataschema),
            _ => None,
        }
    }
}

fn unsupported(version: &str) -> Invalid {
    let detail = format!("specversion {} is not spoken here; {SPECVERSION} is", quote(version));
    Invalid::new(Reason::UnsupportedSpecversion, "specversion", detail)
}
