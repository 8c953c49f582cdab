//! An expression in the Common Expression Language over an event, parsed and bounded.

use std::{fmt, str::FromStr, sync::Arc};

use cel::Program;
use serde::{Serialize, Serializer};

/// A condition on an event: `event` is its attributes, all of them strings, `data` its JSON body.
#[derive(Clone)]
pub struct Cel(Arc<str>);

/// The text is no expression that is evaluated here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is longer than [`MAX_SOURCE_BYTES`].
    #[error("longer than {MAX_SOURCE_BYTES} bytes")]
    TooLong,
    /// It is no CEL.
    #[error("not an expression: {0}")]
    Syntax(String),
}

/// The longest expression. What is longer is a program, and belongs into the service.
pub const MAX_SOURCE_BYTES: usize = 1024;

// === impl Cel ===

impl Cel {
    /// As it was written.
    pub fn source(&self) -> &str {
        &self.0
    }
}

impl FromStr for Cel {
    type Err = Invalid;

    fn from_str(source: &str) -> Result<Self, Invalid> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(Invalid::TooLong);
        }
        Program::compile(source).map_err(|errors| Invalid::Syntax(errors.to_string()))?;
        Ok(Self(source.into()))
    }
}

/// Two expressions are the same when they are written alike.
impl PartialEq for Cel {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Cel {}

impl fmt::Debug for Cel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cel({:?})", self.source())
    }
}

impl Serialize for Cel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.source())
    }
}
