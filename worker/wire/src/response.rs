//! The answer of `POST /_inference`. The gateway passes the worker's bytes through, so this shape and its field order
//! are what Elasticsearch clients see.

use serde::{Deserialize, Serialize};

use crate::SparseEmbedding;

/// One entry for each text, in the order asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferenceResponse {
    pub sparse_embedding: Vec<TextEmbedding>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextEmbedding {
    /// The text was longer than the model's window; what lies beyond it is not in the vector.
    pub is_truncated: bool,
    pub embedding: SparseEmbedding,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_the_one_of_elasticsearch() {
        let response = InferenceResponse {
            sparse_embedding: vec![TextEmbedding {
                is_truncated: false,
                embedding: SparseEmbedding::from_weights([(5, "token", 1.23)]),
            }],
        };
        let json = r#"{"sparse_embedding":[{"is_truncated":false,"embedding":{"token":1.23}}]}"#;
        assert_eq!(serde_json::to_string(&response).unwrap(), json);
        assert_eq!(serde_json::from_str::<InferenceResponse>(json).unwrap(), response);
    }
}
