//! A collector of OpenTelemetry for tests: takes spans by OTLP over HTTP, and tells what it was sent.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1;
use prost::Message;
use tokio::net::TcpListener;

/// Runs on a thread of its own until the process ends, so that tests of any kind can have one.
pub struct Collector {
    url: String,
    spans: Spans,
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// As much of a span as tests ask for. Ids are in hexadecimal, an absent parent is empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    /// `SPAN_KIND_SERVER` and so on.
    pub kind: String,
    pub is_error: bool,
    /// Sorted; numbers as text.
    pub attributes: Vec<(String, String)>,
}

impl Span {
    /// What it says under a name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Collector {
    pub fn start() -> anyhow::Result<Self> {
        let spans = Spans::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&spans));
        let (sender, receiver) = mpsc::channel();
        let serve = async move {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            // Nobody waits any more if this fails.
            let _ = sender.send(listener.local_addr()?);
            axum::serve(listener, router).await
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || runtime.block_on(serve));
        Ok(Self { url: format!("http://{}", receiver.recv()?), spans })
    }

    /// What a process is told of it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything that was sent.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take(State(spans): State<Spans>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let mut spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
    for resource in request.resource_spans {
        let service = service(resource.resource.as_ref());
        let sent = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(sent.map(|span| read(&service, &span)));
    }
    StatusCode::OK
}

fn service(resource: Option<&Resource>) -> String {
    let attributes = resource.map_or_else(Vec::new, |resource| attributes(&resource.attributes));
    let name = attributes.into_iter().find(|(name, _)| name == "service.name");
    name.map_or_else(String::new, |(_, value)| value)
}

fn read(service: &str, span: &v1::Span) -> Span {
    Span {
        service: service.to_owned(),
        name: span.name.clone(),
        trace: hexadecimal(&span.trace_id),
        id: hexadecimal(&span.span_id),
        parent: hexadecimal(&span.parent_span_id),
        kind: span.kind().as_str_name().to_owned(),
        is_error: span.status.as_ref().is_some_and(|status| status.code() == v1::status::StatusCode::Error),
        attributes: attributes(&span.attributes),
    }
}

fn attributes(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let value = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    };
    let mut read: Vec<_> =
        attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect();
    read.sort();
    read
}

fn hexadecimal(id: &[u8]) -> String {
    let digits = id.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}
