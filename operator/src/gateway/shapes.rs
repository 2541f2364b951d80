//! What an endpoint answers to others than Elasticsearch's own clients: chunks with their vectors, and the requests of Text
//! Embeddings Inference, of OpenSearch's connectors and of Elasticsearch's `custom` service. All of them are read here, admitted
//! as any inference is, and worked on by [`super::embed`].

mod chunk;
mod custom;
mod opensearch;
mod tei;

use axum::body::Bytes;
use axum::extract::Request;
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, get, post};
use http::{HeaderMap, Uri};
use tokio::time::timeout_at;

use super::Gateway;
use super::admission::Admitted;
use super::dispatch::too_late;
use super::elastic::query::{Own, Query};
use super::embed::Call;
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

pub(crate) fn routes() -> [(&'static str, MethodRouter<Gateway>); 7] {
    let tei = |route: MethodRouter<Gateway>| route.layer(from_fn(tei::translate_errors));
    [
        (CHUNK, post(chunk::chunk)),
        (CHUNK_OF_TASK, post(chunk::chunk)),
        (OPENSEARCH, post(opensearch::embed)),
        (CUSTOM, post(custom::embed)),
        (EMBED_SPARSE, tei(post(tei::embed_sparse))),
        ("/tei/{id}/info", tei(get(tei::info))),
        ("/tei/{id}/health", tei(get(tei::health))),
    ]
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
        let deadline = gateway.deadline(query.timeout, gateway.settings.infer_timeout);
        let (parts, body) = request.into_parts();
        let body = timeout_at(deadline.at, request::body(&parts, body, &gateway.settings))
            .await
            .map_err(|_| too_late(id, deadline, "the request body"))??;
        let admitted = gateway.admission.admit(deadline);
        let admitted = admitted.inspect_err(|_| gateway.metrics.rejected(Rejection::Requests))?;
        Ok(Self { query, admitted, headers: parts.headers, body })
    }
}
