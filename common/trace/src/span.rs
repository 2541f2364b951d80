//! One span, or none.

use ::http::{HeaderMap, HeaderValue};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::Span as Recorded;

pub(crate) const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// What a span is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A request that is answered.
    Server,
    /// A request that is made.
    Client,
    /// Anything within a process.
    Internal,
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Server => Self::Server,
            Kind::Client => Self::Client,
            Kind::Internal => Self::Internal,
        }
    }
}

/// What a span says of its subject.
pub type Attribute = KeyValue;

pub fn attribute(name: &'static str, value: impl Into<Value>) -> Attribute {
    KeyValue::new(name, value)
}

/// Ends when it is dropped. Boxed, as many that wait have one, and mostly it is none.
#[derive(Debug, Default)]
pub struct Span(Option<Box<Recorded>>);

impl From<Recorded> for Span {
    fn from(span: Recorded) -> Self {
        Self(Some(Box::new(span)))
    }
}

impl Span {
    /// Makes this span the one that the headers name: the parent of whatever is begun with them.
    pub fn enter(&self, headers: &mut HeaderMap) {
        let Some(span) = &self.0 else { return };
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
        if headers.get(TRACESTATE).is_some_and(HeaderValue::is_empty) {
            headers.remove(TRACESTATE);
        }
    }

    /// `attributes` is called only if somebody will see them.
    pub fn describe(&mut self, attributes: impl FnOnce() -> Vec<Attribute>) {
        if let Some(span) = self.0.as_mut().filter(|span| span.is_recording()) {
            span.set_attributes(attributes());
        }
    }

    /// What this is of went wrong. `kind` is one of few words.
    pub fn failed(&mut self, kind: impl FnOnce() -> String) {
        if let Some(span) = self.0.as_mut().filter(|span| span.is_recording()) {
            span.set_attribute(attribute("error.type", kind()));
            span.set_status(Status::error(""));
        }
    }

    pub fn trace_id(&self) -> Option<String> {
        self.0.as_ref().map(|span| span.span_context().trace_id().to_string())
    }
}

/// What the headers say, or nothing.
pub(crate) fn context(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Traces, trace_id};

    const CLIENTS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn without_a_collector_trace_context_passes_by_and_nothing_is_asked_for() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, CLIENTS.parse().unwrap());
        let mut span = Traces::default().begin(Kind::Server, || panic!("for nobody"), &headers);
        span.enter(&mut headers);
        span.describe(|| panic!("for nobody"));
        span.failed(|| panic!("for nobody"));
        assert_eq!((span.trace_id(), &headers[TRACEPARENT]), (None, &CLIENTS.parse().unwrap()));
    }

    #[test]
    fn the_trace_of_a_request_is_read_where_it_is_one() {
        let mut headers = HeaderMap::new();
        assert_eq!(trace_id(&headers), None);
        headers.insert(TRACEPARENT, CLIENTS.parse().unwrap());
        assert_eq!(trace_id(&headers).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        for nonsense in ["00-1", "", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            headers.insert(TRACEPARENT, nonsense.parse().unwrap());
            assert_eq!(trace_id(&headers), None, "{nonsense}");
        }
    }
}
