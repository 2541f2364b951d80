//! What an endpoint answers to others than Elasticsearch's own clients: chunks with their vectors, and the requests of Text
//! Embeddings Inference, of OpenSearch's connectors and of Elasticsearch's `custom` service. All of them are read here, admitted
//! as any inference is, and worked on by [`super::embed`].

mod chunk;
mod custom;
mod opensearch;
mod tei;

use axum::extract::Request;
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use lexiscale_wire::{InferenceRequest, TextEmbedding};

use super::Gateway;
use super::arrived::Arrived;
use super::elastic::error::Refusal;
use super::elastic::query::Own;
use super::embed::{self, Call, Wanted};
use super::error::Error;
use super::request::Target;

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

/// A request that differs from `POST _inference` in how its body is read and how its answer is written.
struct Shaped {
    target: Target,
    request: Request,
}

impl Shaped {
    async fn embed(
        self,
        gateway: &Gateway,
        read: impl FnOnce(&[u8]) -> Result<InferenceRequest, Refusal>,
        write: impl FnOnce(&[TextEmbedding]) -> Vec<u8> + Send + 'static,
    ) -> Result<Response, Error> {
        let Self { target, request } = self;
        let arrived = Arrived::read(gateway, &target.id, &[], request).await?;
        let Arrived { query: _, admitted, headers, body } = arrived;
        let request = read(&body)?;
        drop(body);
        gateway.find(&target)?;
        let call = Call { key: &target.key(), admitted, headers: &headers };
        embed::embed(gateway, call, Wanted::from(request), |rows| write(&rows)).await
    }
}
