//! An expression in the Common Expression Language over an event: parsed, held to what is evaluated here, and bounded.
//!
//! `event` is the event's attributes, all of them strings; `data` is its body, if that is JSON. The language has no
//! limit of its own, so there are three here. An expression is short and its comprehensions are not nested. A body is
//! looked into up to a size. And an expression is not evaluated over a body for which its form cannot rule out that it
//! takes long; nothing is counted while it runs.

mod cost;
mod data;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    str::FromStr,
    sync::{Arc, LazyLock},
};

use ::cel::{
    Context, Env, Program, Value,
    common::{
        types::{CelBool, CelMap, CelMapKey, CelString},
        value::Val,
    },
};
use evhub_event::Event;
use serde::{Serialize, Serializer};

use cost::Cost;

/// A condition on an event.
#[derive(Clone)]
pub struct Cel(Arc<Parsed>);

struct Parsed {
    source: String,
    program: Program,
    cost: Cost,
}

/// The text is no expression that is evaluated here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is longer than [`MAX_SOURCE_BYTES`].
    #[error("longer than {MAX_SOURCE_BYTES} bytes")]
    TooLong,
    /// It is no CEL.
    #[error("not an expression: {0}")]
    Syntax(String),
    /// It is CEL, but not of the part that is evaluated here.
    #[error("{0}")]
    Unsupported(String),
}

/// Why nobody can tell whether a condition holds: a field is missing, or of another type than the expression expects,
/// or the body is too large to look into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the expression cannot tell")]
pub struct Unclear;

/// The longest expression. What is longer is a program, and belongs into the service.
pub const MAX_SOURCE_BYTES: usize = 1024;

/// What all expressions can use, made once.
static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

// === impl Cel ===

impl Cel {
    /// As it was written.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Whether it is true of an event.
    pub fn holds(&self, event: &Event) -> Result<bool, Unclear> {
        let Parsed { program, cost, .. } = &*self.0;
        let data = match (&event.data, cost.reads_data) {
            (Some(bytes), true) => data::read(bytes),
            _ => None,
        };
        let size = data.as_ref().map_or(data::Size::default(), |(_, size)| *size);
        if !cost.allows(size.and(attributes_of(event))) {
            return Err(Unclear);
        }
        let mut context = Context::with_env(Arc::clone(&STANDARD));
        context.add_variable_as_val("event", Box::new(attributes(event)));
        if let Some((value, _)) = data {
            context.add_variable_as_val("data", value);
        }
        evaluate(program, &context)
    }
}

/// A panic of the evaluator over one event must not take the Processor's other events with it.
fn evaluate(program: &Program, context: &Context<'_, '_>) -> Result<bool, Unclear> {
    let evaluated = catch_unwind(AssertUnwindSafe(|| {
        let value = Value::resolve_val(program.expression(), context).ok()?;
        value.downcast_ref::<CelBool>().map(|value| *value.inner())
    }));
    evaluated.ok().flatten().ok_or(Unclear)
}

fn attributes_of(event: &Event) -> impl Iterator<Item = (&str, &str)> {
    event.attributes().chain([("specversion", "1.0")])
}

fn attributes(event: &Event) -> CelMap<'_> {
    let pairs = attributes_of(event);
    let value = |text| Box::new(CelString::from(text)) as Box<dyn Val>;
    let map: HashMap<CelMapKey<'_>, Box<dyn Val + '_>> =
        pairs.map(|(name, text)| (CelMapKey::from(name), value(text))).collect();
    CelMap::from(map)
}

impl FromStr for Cel {
    type Err = Invalid;

    fn from_str(source: &str) -> Result<Self, Invalid> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(Invalid::TooLong);
        }
        let parsed = catch_unwind(|| Program::compile(source));
        let program = parsed
            .map_err(|_| Invalid::Syntax("the parser gave up".to_owned()))?
            .map_err(|errors| Invalid::Syntax(first(&errors.to_string())))?;
        let cost = Cost::of(program.expression()).map_err(Invalid::Unsupported)?;
        Ok(Self(Arc::new(Parsed { source: source.to_owned(), program, cost })))
    }
}

/// The first problem, on one line; those after it mostly follow from it.
fn first(problems: &str) -> String {
    let line = problems.lines().next().unwrap_or("it cannot be read").trim();
    line.strip_prefix("ERROR: <input>:").unwrap_or(line).chars().take(200).collect()
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
