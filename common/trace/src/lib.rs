//! Spans of gateway and workers in W3C traces, sent by OTLP over HTTP in the background. Where no collector is named there is nothing:
//! no span, no thread, and trace context passes by as it came.

mod http_client;
mod span;

use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderMap;
use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

pub use self::span::{Attribute, Kind, Span, attribute};

/// For the last spans, when a process ends.
const FLUSH: Duration = Duration::from_secs(3);
/// What a service is called of which nobody said how it is called.
const UNNAMED: &str = "unknown_service";

/// Settings of traces. How many are begun, and how the service is called, is read from OpenTelemetry's own variables
/// (`OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_*`, `OTEL_EXPORTER_OTLP_HEADERS`).
#[derive(clap::Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Settings {
    /// Collector of OpenTelemetry that spans are sent to, by OTLP over HTTP, for example `http://collector.observability.svc:4318`. None
    /// are made unless given.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// The service in whose name spans are made.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    pub name: &'static str,
    pub version: &'static str,
}

/// Where spans come from. Cheap to clone; the default makes none.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Source>>);

struct Source {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

/// Why there are no traces though some were asked for.
#[derive(Debug, thiserror::Error)]
#[error("failed to prepare traces for {endpoint}")]
pub struct Error {
    endpoint: String,
    #[source]
    source: ExporterBuildError,
}

impl Traces {
    /// Begins to send, where a collector is named.
    pub fn start(settings: &Settings, service: Service) -> Result<Self, Error> {
        let Some(endpoint) = settings.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()) else {
            return Ok(Self::default());
        };
        // What OpenTelemetry's specification makes of this variable.
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(http_client::Client::new())
            .with_endpoint(url)
            .build()
            .map_err(|source| Error { endpoint: endpoint.to_owned(), source })?;
        // Follows the parent's sampled flag, unless OTEL_TRACES_SAMPLER says otherwise. Spans that find no room are dropped.
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(service))
            .with_batch_exporter(exporter)
            .build();
        tracing::info!(endpoint, "sending traces");
        Ok(Self(Some(Arc::new(Source { tracer: provider.tracer(service.name), provider }))))
    }

    /// A span whose parent is the one that the headers name, if they name one. Without a collector it is none, and `name` is never
    /// asked for.
    pub fn begin(&self, kind: Kind, name: impl FnOnce() -> String, headers: &HeaderMap) -> Span {
        let Some(source) = &self.0 else { return Span::default() };
        let parent = span::context(headers);
        let builder = source.tracer.span_builder(name()).with_kind(SpanKind::from(kind));
        Span::from(source.tracer.build_with_context(builder, &parent))
    }

    /// Sends what is left, and then no more. Blocks, for a few seconds at most.
    pub fn stop(&self) {
        if let Some(source) = &self.0
            && let Err(error) = source.provider.shutdown_with_timeout(FLUSH)
        {
            tracing::warn!(%error, "failed to send the last spans");
        }
    }
}

/// The trace that a request is part of, as the headers say.
pub fn trace_id(headers: &HeaderMap) -> Option<String> {
    headers.get(span::TRACEPARENT)?;
    let context: Context = span::context(headers);
    let context = context.span().span_context().clone();
    context.is_valid().then(|| context.trace_id().to_string())
}

fn resource(service: Service) -> Resource {
    // The environment first: it is what an administrator said.
    let found = Resource::builder().build();
    let name = found.get(&"service.name".into()).map(|name| name.to_string());
    let named = name.is_some_and(|name| !name.starts_with(UNNAMED));
    let builder = Resource::builder().with_attribute(KeyValue::new("service.version", service.version));
    if named { builder.build() } else { builder.with_service_name(service.name).build() }
}
