//! For Elasticsearch's own `custom` inference service. It finds tokens and weights by two paths, each of which has to lead to a
//! list of lists, so an embedding is a list of pairs here and not an object. The request is the one of `POST _inference`.

use axum::extract::{Request, State};
use axum::response::Response;
use lexiscale_wire::TextEmbedding;
use serde::Serialize;

use super::{Error, Gateway, Shaped, Target};
use crate::gateway::auth::Caller;
use crate::gateway::elastic::infer;
use crate::gateway::presentation::json;

pub(super) async fn embed(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    request: Request,
) -> Result<Response, Error> {
    let shaped = Shaped { target, request };
    shaped.embed(&gateway, |body| infer::parse(None, body), |rows| json(&Answer::new(rows))).await
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    sparse_embedding: Vec<OfText<'a>>,
}

#[derive(Debug, Serialize)]
struct OfText<'a> {
    is_truncated: bool,
    embedding: Vec<Pair<'a>>,
}

#[derive(Debug, Serialize)]
struct Pair<'a> {
    token: &'a str,
    weight: f32,
}

impl<'a> Answer<'a> {
    fn new(rows: &'a [TextEmbedding]) -> Self {
        let of_text = |row: &'a TextEmbedding| {
            let entries = row.embedding.entries().iter();
            OfText {
                is_truncated: row.is_truncated,
                embedding: entries.map(|entry| Pair { token: &entry.token, weight: entry.weight }).collect(),
            }
        };
        Self { sparse_embedding: rows.iter().map(of_text).collect() }
    }
}

#[cfg(test)]
mod tests {
    use lexiscale_wire::SparseEmbedding;

    use super::*;

    #[test]
    fn an_embedding_is_a_list_of_pairs() {
        let rows = [
            TextEmbedding {
                is_truncated: true,
                embedding: SparseEmbedding::from_weights([(1, "a", 0.1), (2, "b", 2.0)]),
            },
            TextEmbedding { is_truncated: false, embedding: SparseEmbedding::default() },
        ];
        assert_eq!(
            serde_json::to_string(&Answer::new(&rows)).unwrap(),
            r#"{"sparse_embedding":[{"is_truncated":true,"embedding":[{"token":"b","weight":2.0},{"token":"a","weight":0.1}]},{"is_truncated":false,"embedding":[]}]}"#
        );
    }
}
