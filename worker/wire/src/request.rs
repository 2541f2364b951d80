//! The body of `POST /_inference`, parsed once: never without a text.

use serde::{Deserialize, Serialize};

/// What the vectors are for. It decides who is served first, never what the vector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    /// Somebody waits for a query's result: goes ahead of everything else.
    Search,
    /// Documents on their way into an index.
    Ingest,
}

/// Texts to embed. Holds at least one text; blank ones are allowed, because Elasticsearch allows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Body")]
pub struct InferenceRequest {
    input: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_type: Option<InputType>,
}

/// The request carried `"input": []`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("input must not be an empty array")]
pub struct EmptyInput;

impl InferenceRequest {
    pub fn new(input: Vec<String>, input_type: Option<InputType>) -> Result<Self, EmptyInput> {
        if input.is_empty() {
            return Err(EmptyInput);
        }
        Ok(Self { input, input_type })
    }

    pub fn texts(&self) -> &[String] {
        &self.input
    }

    pub fn into_texts(self) -> Vec<String> {
        self.input
    }

    pub fn input_type(&self) -> Option<InputType> {
        self.input_type
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    input: OneOrMany,
    #[serde(default)]
    input_type: Option<InputType>,
}

/// Elasticsearch takes a lone string as well as a list.
#[derive(Deserialize)]
#[serde(untagged, expecting = "input must be a string or an array of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<Body> for InferenceRequest {
    type Error = EmptyInput;

    fn try_from(Body { input, input_type }: Body) -> Result<Self, EmptyInput> {
        let texts = match input {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        };
        Self::new(texts, input_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_string_is_a_list_of_one() {
        let request: InferenceRequest = serde_json::from_str(r#"{"input":"Kubernetes"}"#).unwrap();
        assert_eq!(request.texts(), ["Kubernetes"]);
        assert_eq!(request.input_type(), None);
    }

    #[test]
    fn writes_what_it_reads() {
        let json = r#"{"input":["a",""],"input_type":"search"}"#;
        let request: InferenceRequest = serde_json::from_str(json).unwrap();
        assert_eq!(request.input_type(), Some(InputType::Search));
        assert_eq!(serde_json::to_string(&request).unwrap(), json);
    }

    #[test]
    fn refuses_what_is_not_a_request() {
        let table = [
            (r#"{"input":[]}"#, "input must not be an empty array"),
            ("{}", "missing field `input`"),
            (r#"{"input":null}"#, "input must be a string or an array of strings"),
            (r#"{"input":[1]}"#, "input must be a string or an array of strings"),
            (r#"{"input":["a"],"inputs":["b"]}"#, "unknown field `inputs`"),
            (r#"{"input":["a"],"input_type":"classify"}"#, "unknown variant `classify`"),
        ];
        for (json, message) in table {
            let error = serde_json::from_str::<InferenceRequest>(json).unwrap_err().to_string();
            assert!(error.contains(message), "{json}: {error}");
        }
    }
}
