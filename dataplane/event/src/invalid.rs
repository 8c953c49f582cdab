//! Why something is not an event: a stable word, the field at fault, and a sentence that a person can act on. Pure.

use std::fmt;

/// How much of an input a detail may repeat, in bytes: enough to recognise it, too little to flood a log.
const QUOTED: usize = 64;

/// What is wrong with what a publisher sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Invalid {
    /// The stable word for it.
    pub reason: Reason,
    /// The attribute, header or member at fault, cut to 64 bytes.
    pub field: Option<String>,
    /// One sentence that says what to change. It quotes at most 64 bytes of input, escaped.
    pub detail: String,
}

/// The kinds of [`Invalid`], each with a word that clients may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `data` and `data_base64` in one event.
    AmbiguousData,
    /// More than one content mode in one request, or an event that a binary mode would turn into another one.
    AmbiguousMode,
    /// An attribute value over [`crate::attributes::MAX_VALUE`].
    AttributeTooLong,
    /// A batch of more events than are taken at once.
    BatchTooLarge,
    /// An attribute given twice.
    DuplicateAttribute,
    /// A control that names one key twice.
    DuplicateKey,
    /// An attribute that may be left out but not be empty.
    EmptyAttribute,
    /// A batch without events.
    EmptyBatch,
    /// Structured mode without a body.
    EmptyBody,
    /// An attribute name that the specification does not allow.
    InvalidAttributeName,
    /// A JSON value of a type that this attribute cannot have.
    InvalidAttributeType,
    /// `data_base64` that is not base64.
    InvalidBase64,
    /// A character that no attribute may contain.
    InvalidCharacter,
    /// A control whose value makes no sense.
    InvalidControl,
    /// A header that cannot be read.
    InvalidHeader,
    /// A body that is not one JSON object.
    InvalidJson,
    /// A content type that is not a media type.
    InvalidMediaType,
    /// A `time` that is not an RFC 3339 instant.
    InvalidTime,
    /// A URI attribute that is not a URI.
    InvalidUri,
    /// A required attribute that is missing or empty.
    MissingAttribute,
    /// A number outside of what attributes can hold.
    OutOfRange,
    /// A name that is the hub's own.
    ReservedAttribute,
    /// JSON nested deeper than [`crate::json::MAX_DEPTH`].
    TooDeep,
    /// More than [`crate::attributes::MAX_ATTRIBUTES`] attributes.
    TooManyAttributes,
    /// An event format that is not spoken here.
    UnsupportedMediaType,
    /// A `specversion` other than 1.0.
    UnsupportedSpecversion,
}

impl Invalid {
    /// A finding about one field.
    pub fn new(reason: Reason, field: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut field = field.into();
        field.truncate(field.floor_char_boundary(QUOTED));
        Self { reason, field: Some(field), detail: detail.into() }
    }

    /// The same finding, of the event at this index of a batch.
    #[must_use]
    pub fn within(self, index: usize) -> Self {
        let field = self.field.map_or_else(|| format!("[{index}]"), |field| format!("[{index}].{field}"));
        Self::new(self.reason, field, format!("event {index} of the batch: {}", self.detail))
    }

    /// A finding about the whole.
    pub fn whole(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, field: None, detail: detail.into() }
    }
}

impl Reason {
    /// The word on the wire and in logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::AmbiguousData => "AMBIGUOUS_DATA",
            Self::AmbiguousMode => "AMBIGUOUS_MODE",
            Self::AttributeTooLong => "ATTRIBUTE_TOO_LONG",
            Self::BatchTooLarge => "BATCH_TOO_LARGE",
            Self::DuplicateAttribute => "DUPLICATE_ATTRIBUTE",
            Self::DuplicateKey => "DUPLICATE_KEY",
            Self::EmptyAttribute => "EMPTY_ATTRIBUTE",
            Self::EmptyBatch => "EMPTY_BATCH",
            Self::EmptyBody => "EMPTY_BODY",
            Self::InvalidAttributeName => "INVALID_ATTRIBUTE_NAME",
            Self::InvalidAttributeType => "INVALID_ATTRIBUTE_TYPE",
            Self::InvalidBase64 => "INVALID_BASE64",
            Self::InvalidCharacter => "INVALID_CHARACTER",
            Self::InvalidControl => "INVALID_CONTROL",
            Self::InvalidHeader => "INVALID_HEADER",
            Self::InvalidJson => "INVALID_JSON",
            Self::InvalidMediaType => "INVALID_MEDIA_TYPE",
            Self::InvalidTime => "INVALID_TIME",
            Self::InvalidUri => "INVALID_URI",
            Self::MissingAttribute => "MISSING_ATTRIBUTE",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::ReservedAttribute => "RESERVED_ATTRIBUTE",
            Self::TooDeep => "TOO_DEEP",
            Self::TooManyAttributes => "TOO_MANY_ATTRIBUTES",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::UnsupportedSpecversion => "UNSUPPORTED_SPECVERSION",
        }
    }

    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::AttributeTooLong | Self::BatchTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            _ => 400,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The beginning of an input, in quotes and escaped, fit for a detail or a log line.
pub fn quote(input: &str) -> String {
    let start = &input[..input.floor_char_boundary(QUOTED)];
    let more = if start.len() < input.len() { "…" } else { "" };
    format!("\"{}\"{more}", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_quote_is_short_escaped_and_whole_characters() {
        assert_eq!(quote("a\r\nb\"\u{202e}"), r#""a\r\nb\"\u{202e}""#);
        assert_eq!(quote(&"é".repeat(40)), format!("\"{}\"…", "é".repeat(32)));
        assert_eq!(quote(&format!("a{}", "é".repeat(40))), format!("\"a{}\"…", "é".repeat(31)));
    }
}
