//! The body of `POST /_inference`, parsed once: never without a text.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::options::{Format, MaxRatio, MinWeight, Options, Pruning, TruncationDirection};

/// What the vectors are for. It decides who is served first, and where the model treats queries and documents differently, how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    /// Somebody waits for a query's result: goes ahead of everything else.
    Search,
    /// Documents on their way into an index.
    Ingest,
}

/// Texts to embed. Holds at least one text; blank ones are allowed, because Elasticsearch allows them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Body")]
pub struct InferenceRequest {
    input: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_type: Option<InputType>,
    #[serde(flatten)]
    options: Options,
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
        Ok(Self { input, input_type, options: Options::default() })
    }

    #[must_use]
    pub fn with_options(self, options: Options) -> Self {
        Self { options, ..self }
    }

    pub fn texts(&self) -> &[String] {
        &self.input
    }

    pub fn input_type(&self) -> Option<InputType> {
        self.input_type
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    pub fn into_parts(self) -> (Vec<String>, Option<InputType>, Options) {
        let Self { input, input_type, options } = self;
        (input, input_type, options)
    }
}

/// The options stand here one by one: behind `flatten`, every text would be copied once more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    input: OneOrMany,
    #[serde(default)]
    input_type: Option<InputType>,
    #[serde(default)]
    top_k: Option<NonZeroU32>,
    #[serde(default)]
    max_ratio: Option<MaxRatio>,
    #[serde(default)]
    min_weight: Option<MinWeight>,
    #[serde(default)]
    truncate: Option<bool>,
    #[serde(default)]
    truncation_direction: Option<TruncationDirection>,
    #[serde(default)]
    prompt_name: Option<String>,
    #[serde(default)]
    format: Option<Format>,
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

    fn try_from(body: Body) -> Result<Self, EmptyInput> {
        let Body {
            input,
            input_type,
            top_k,
            max_ratio,
            min_weight,
            truncate,
            truncation_direction,
            prompt_name,
            format,
        } = body;
        let texts = match input {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        };
        let pruning = Pruning { top_k, max_ratio, min_weight };
        let options = Options { pruning, truncate, truncation_direction, prompt_name, format };
        Ok(Self::new(texts, input_type)?.with_options(options))
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
        assert_eq!(request.options(), &Options::default());
    }

    #[test]
    fn writes_what_it_reads() {
        for json in [
            r#"{"input":["a",""],"input_type":"search"}"#,
            r#"{"input":["a"],"top_k":3,"max_ratio":0.25,"min_weight":0.5,"truncate":true,"truncation_direction":"Left","prompt_name":"query","format":"pairs"}"#,
        ] {
            let request: InferenceRequest = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&request).unwrap(), json);
        }
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
            (r#"{"input":["a"],"max_ratio":2}"#, "max_ratio is 2, but must be from 0 to 1"),
            (r#"{"input":["a"],"format":"csv"}"#, "unknown variant `csv`"),
        ];
        for (json, message) in table {
            let error = serde_json::from_str::<InferenceRequest>(json).unwrap_err().to_string();
            assert!(error.contains(message), "{json}: {error}");
        }
    }
}
