//! What an endpoint answers to others than Elasticsearch's own clients: chunks with their vectors, and the requests of Text
//! Embeddings Inference, of OpenSearch's connectors and of Elasticsearch's `custom` service. All of them are read here, admitted
//! as any inference is, and worked on by [`super::embed`].

mod chunk;
mod custom;
mod opensearch;
mod tei;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, Uri};
use lexiscale_wire::{InferenceRequest, TextEmbedding};
use tokio::time::timeout_at;

use super::Gateway;
use super::admission::{Admitted, Deadline};
use super::dispatch::too_late;
use super::elastic::error::Refusal;
use super::elastic::query::{Own, Query};
use super::embed::{self, Call};
use super::error::Error;
use super::metrics::Rejection;
use super::request::{self, Target};

const CHUNK: &str = "/_inference/{id}/_chunk";
const CHUNK_OF_TASK: &str = "/_inference/{task_type}/{id}/_chunk";
const EMBED_SPARSE: &str = "/tei/{id}/embed_sparse";
const OPENSEARCH: &str = "/opensearch/{id}";
const CUSTOM: &str = "/custom/{id}";

/// The routes that are counted as inference.
pub(crate) const INFERENCES: [&str; 5] = [CHUNK, CHUNK_OF_TASK, EMBED_SPARSE, OPENSEARCH, CUSTOM];

pub(crate) fn router() -> Router<Gateway> {
    let tei = Router::new()
        .route(EMBED_SPARSE, post(tei::embed_sparse))
        .route("/tei/{id}/info", get(tei::info))
        .route("/tei/{id}/health", get(tei::health))
        .layer(from_fn(tei::translate_errors));
    Router::new()
        .route(CHUNK, post(chunk::chunk))
        .route(CHUNK_OF_TASK, post(chunk::chunk))
        .route(OPENSEARCH, post(opensearch::embed))
        .route(CUSTOM, post(custom::embed))
        .merge(tei)
}

/// A request that is admitted and whose body is here.
struct Arrived {
    query: Query,
    admitted: Admitted,
    headers: HeaderMap,
    body: Bytes,
}

impl Arrived {
    async fn read(
        gateway: &Gateway,
        id: &str,
        uri: &Uri,
        own: &[Own],
        request: Request,
    ) -> Result<Self, Error> {
        let query = request::query(uri, own)?;
        let deadline = Deadline::after(query.timeout.unwrap_or(gateway.settings.infer_timeout));
        let (parts, body) = request.into_parts();
        let body = timeout_at(deadline.at, request::body(&parts, body, &gateway.settings))
            .await
            .map_err(|_| too_late(id, deadline, "the request body"))??;
        let admitted = gateway.admission.admit(deadline);
        let admitted = admitted.inspect_err(|_| gateway.metrics.rejected(Rejection::Requests))?;
        Ok(Self { query, admitted, headers: parts.headers, body })
    }
}

/// A request that differs from `POST _inference` in how its body is read and how its answer is written.
struct Shaped {
    target: Target,
    uri: Uri,
    request: Request,
}

impl Shaped {
    async fn embed(
        self,
        gateway: &Gateway,
        read: impl FnOnce(&[u8]) -> Result<InferenceRequest, Refusal>,
        write: impl FnOnce(&[TextEmbedding]) -> Vec<u8> + Send + 'static,
    ) -> Result<Response, Error> {
        let Self { target, uri, request } = self;
        let arrived = Arrived::read(gateway, &target.id, &uri, &[], request).await?;
        let Arrived { query: _, admitted, headers, body } = arrived;
        let request = read(&body)?;
        drop(body);
        gateway.find(&target)?;
        let input_type = request.input_type();
        let call = Call { key: &target.key(), admitted, headers: &headers };
        embed::embed(gateway, call, request.into_texts(), input_type, |rows| write(&rows)).await
    }
}
