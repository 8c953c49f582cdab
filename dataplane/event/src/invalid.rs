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

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident $word:ident $status:literal,)*) => {
        /// The kinds of [`Invalid`], each with a word that clients may rely on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word on the wire and in logs.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($word),)*
                }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)*
                }
            }
        }
    };
}

reasons! {
    /// `data` and `data_base64` in one event.
    AmbiguousData AMBIGUOUS_DATA 400,
    /// More than one content mode in one request, or an event that a binary mode would turn into another one.
    AmbiguousMode AMBIGUOUS_MODE 400,
    /// An attribute value over [`crate::attributes::MAX_VALUE`].
    AttributeTooLong ATTRIBUTE_TOO_LONG 413,
    /// A batch of more events than are taken at once.
    BatchTooLarge BATCH_TOO_LARGE 413,
    /// A delay that is longer than any may be, or than the Producer allows.
    DelayTooLong DELAY_TOO_LONG 400,
    /// An attribute given twice.
    DuplicateAttribute DUPLICATE_ATTRIBUTE 400,
    /// A control that names one key twice.
    DuplicateKey DUPLICATE_KEY 400,
    /// An attribute that may be left out but not be empty.
    EmptyAttribute EMPTY_ATTRIBUTE 400,
    /// A batch without events.
    EmptyBatch EMPTY_BATCH 400,
    /// Structured mode without a body.
    EmptyBody EMPTY_BODY 400,
    /// An attribute name that the specification does not allow.
    InvalidAttributeName INVALID_ATTRIBUTE_NAME 400,
    /// A JSON value of a type that this attribute cannot have.
    InvalidAttributeType INVALID_ATTRIBUTE_TYPE 400,
    /// `data_base64` that is not base64.
    InvalidBase64 INVALID_BASE64 400,
    /// A character that no attribute may contain.
    InvalidCharacter INVALID_CHARACTER 400,
    /// A control whose value makes no sense.
    InvalidControl INVALID_CONTROL 400,
    /// A header that cannot be read.
    InvalidHeader INVALID_HEADER 400,
    /// A body that is not one JSON object.
    InvalidJson INVALID_JSON 400,
    /// A content type that is not a media type.
    InvalidMediaType INVALID_MEDIA_TYPE 400,
    /// A `time` or `expirytime` that is not an RFC 3339 instant.
    InvalidTime INVALID_TIME 400,
    /// A URI attribute that is not a URI.
    InvalidUri INVALID_URI 400,
    /// A required attribute that is missing or empty.
    MissingAttribute MISSING_ATTRIBUTE 400,
    /// A number outside of what attributes can hold.
    OutOfRange OUT_OF_RANGE 400,
    /// A name that is the hub's own.
    ReservedAttribute RESERVED_ATTRIBUTE 400,
    /// JSON nested deeper than [`crate::json::MAX_DEPTH`].
    TooDeep TOO_DEEP 400,
    /// More than [`crate::attributes::MAX_ATTRIBUTES`] attributes.
    TooManyAttributes TOO_MANY_ATTRIBUTES 400,
    /// An event format that is not spoken here.
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE 415,
    /// A `specversion` other than 1.0.
    UnsupportedSpecversion UNSUPPORTED_SPECVERSION 400,
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
