//! Spans: what was done, from when to when, as part of which trace. Whoever makes one sends nothing: that is the export's.

use std::time::SystemTime;

use opentelemetry::{
    KeyValue, Value,
    trace::{Link, Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use crate::Context;

/// Makes spans; cheap to clone. The default one makes none.
#[derive(Clone, Debug, Default)]
pub struct Tracer(pub(crate) Option<SdkTracer>);

/// What a span says from its beginning.
#[derive(Debug)]
pub struct What(SpanBuilder);

/// Which end of a message's way a span is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The message begins its way here.
    Producer,
    /// It ends its way here.
    Consumer,
    /// Neither.
    Internal,
}

/// Something under way; it has ended when this is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<SdkSpan>);

// === impl Tracer ===

impl Tracer {
    /// Whether anybody is told of spans.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span, as a part of another's work if there is one. What it says is asked only where somebody is told.
    pub fn begin(&self, parent: Option<&Context>, what: impl FnOnce() -> What) -> Span {
        let Some(tracer) = &self.0 else { return Span::default() };
        let mut surrounding = opentelemetry::Context::new();
        if let Some(Context(parent)) = parent {
            surrounding = surrounding.with_remote_span_context(parent.clone());
        }
        Span(Some(tracer.build_with_context(what().0, &surrounding)))
    }
}

// === impl What ===

impl What {
    /// A span of this name.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        let kind = match kind {
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
            Kind::Internal => SpanKind::Internal,
        };
        Self(SpanBuilder::from_name(name.into()).with_kind(kind))
    }

    /// It has begun already.
    #[must_use]
    pub fn since(mut self, began: Option<SystemTime>) -> Self {
        self.0.start_time = began;
        self
    }

    /// It has this attribute.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.attributes.get_or_insert_default().push(KeyValue::new(name, value));
        self
    }

    /// It has to do with these, which are parts of other work.
    #[must_use]
    pub fn linked<'a>(mut self, others: impl IntoIterator<Item = &'a Context>) -> Self {
        let links = others.into_iter().map(|Context(other)| Link::with_context(other.clone()));
        self.0.links.get_or_insert_default().extend(links);
        self
    }
}

// === impl Span ===

impl Span {
    /// The place of what is done as part of this. None where nobody is told of it, or no longer.
    pub fn context(&self) -> Option<Context> {
        let context = self.0.as_ref()?.span_context();
        context.is_valid().then(|| Context(context.clone()))
    }

    /// Says more about it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// It failed: a word for how, and what happened. Neither is asked where nobody is told.
    pub fn failed<W: Into<Value>>(&mut self, how: impl FnOnce() -> (W, String)) {
        if let Some(span) = &mut self.0 {
            let (word, text) = how();
            span.set_attribute(KeyValue::new("error.type", word));
            span.set_status(Status::error(text));
        }
    }
}
