//! Plain requests: a body and perhaps a content type, from somebody who need not know CloudEvents. Pure.

use bytes::Bytes;

use crate::{
    Event,
    draft::{Draft, SPECVERSION},
    invalid::Invalid,
};

/// The `type` of a plain event that does not say one.
const KIND: &str = "evhub.event";

/// The attributes of a plain event that its body cannot say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plain<'a> {
    /// The `source`: the Producer's path.
    pub source: &'a str,
    /// The `type`; `evhub.event` when absent.
    pub kind: Option<&'a str>,
    /// The `subject`.
    pub subject: Option<&'a str>,
    /// The `partitionkey`.
    pub key: Option<&'a str>,
}

impl Plain<'_> {
    /// The event of a plain request, with an id of our making.
    pub(super) fn event(&self, content_type: Option<&str>, body: Bytes) -> Result<Event, Invalid> {
        let mut draft = Draft::default();
        draft.set("specversion", SPECVERSION.to_owned())?;
        draft.set("id", Event::new_id())?;
        draft.set("source", self.source.to_owned())?;
        draft.set("type", self.kind.unwrap_or(KIND).to_owned())?;
        let given =
            [("subject", self.subject), ("datacontenttype", content_type), ("partitionkey", self.key)];
        for (name, value) in given {
            if let Some(value) = value {
                draft.set(name, value.to_owned())?;
            }
        }
        draft.finish(Some(body))
    }
}
