//! The body of `POST _inference/{id}`: what Elasticsearch accepts and refuses, and in which order.

use lexiscale_wire::{InferenceRequest, InputType, Options, Pruning};
use serde::de::{Error as _, MapAccess};

use super::error::Refusal;
use super::fields::{self, Fields};
use super::json::{AtDepth, Json, short_text};
use super::pruning;
use super::task_type::TaskTypeName;
use super::texts::TextsReader;

/// How Elasticsearch names the parser of this body in its errors.
const PARSER: &str = "[cluster:internal/xpack/inference]";

/// The body as it came.
#[derive(Debug, Default, PartialEq)]
struct Body {
    input: Option<Vec<String>>,
    input_type: Option<AskedType>,
    /// Those of `return_documents`, `top_n` and `query` that are set, in this order, in which Elasticsearch
    /// looks for them.
    foreign: [Option<&'static str>; 3],
    /// Out of `task_settings`.
    pruning: Pruning,
}

/// `input_type` as clients write it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum AskedType {
    Ingest,
    Search,
    Classification,
    Clustering,
    Unspecified,
}

/// The request for the worker. `path_task` is the task type of the URL: the checks of one task type run only
/// when the URL names it, which looks odd and is what clients of Elasticsearch meet.
pub(crate) fn parse(path_task: Option<TaskTypeName>, body: &[u8]) -> Result<InferenceRequest, Refusal> {
    let Body { input, input_type, foreign, pruning } = fields::parse(body)?;
    let Some(input) = input else {
        return Err(Refusal::request("[input] must not be null"));
    };
    if input.is_empty() {
        return Err(empty());
    }
    if path_task == Some(TaskTypeName::SparseEmbedding) {
        let unwelcome = foreign.into_iter().flatten().next().or(match input_type {
            None | Some(AskedType::Unspecified) => None,
            Some(
                AskedType::Ingest | AskedType::Search | AskedType::Classification | AskedType::Clustering,
            ) => Some("input_type"),
        });
        if let Some(field) = unwelcome {
            return Err(Refusal::request(format!(
                "[{field}] is not allowed for [{}]",
                TaskTypeName::SparseEmbedding
            )));
        }
    }
    let input_type = match input_type {
        Some(AskedType::Search) => Some(InputType::Search),
        Some(AskedType::Ingest) => Some(InputType::Ingest),
        Some(AskedType::Classification | AskedType::Clustering | AskedType::Unspecified) | None => None,
    };
    let request = InferenceRequest::new(input, input_type).map_err(|_| empty())?;
    Ok(request.with_options(Options { pruning, ..Options::default() }))
}

fn empty() -> Refusal {
    Refusal::request("[input] must not be an empty array")
}

impl Fields for Body {
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, access: &mut A) -> Result<(), A::Error> {
        match key {
            "input" => self.input = access.next_value_seed(TextsReader("input"))?,
            "input_type" => {
                self.input_type = match access.next_value_seed(AtDepth(2))? {
                    Json::Null => None,
                    Json::String(name) => Some(asked_type::<A::Error>(&name)?),
                    _ => return Err(failed("input_type")),
                }
            }
            "query" => self.foreign[2] = check(&access.next_value_seed(AtDepth(2))?, "query", is_string)?,
            "top_n" => {
                self.foreign[1] = check(&access.next_value_seed(AtDepth(2))?, "top_n", is_integer)?;
            }
            "return_documents" => {
                self.foreign[0] =
                    check(&access.next_value_seed(AtDepth(2))?, "return_documents", is_boolean)?;
            }
            // Task settings do not exist for sparse models, so what Elasticsearch ignores has room for ours.
            "task_settings" => {
                self.pruning = match access.next_value_seed(AtDepth(2))? {
                    Json::Null => Pruning::default(),
                    Json::Object(settings) => pruning::of_task_settings(settings).map_err(|error| {
                        A::Error::custom(format!("{PARSER} failed to parse field [task_settings]: {error}"))
                    })?,
                    _ => return Err(failed("task_settings")),
                }
            }
            // Read and then overruled: the query parameter decides the time.
            "timeout" => check(&access.next_value_seed(AtDepth(2))?, "timeout", is_string).map(drop)?,
            unknown => {
                let unknown = short_text(unknown);
                return Err(A::Error::custom(format!("{PARSER} unknown field [{unknown}]")));
            }
        }
        Ok(())
    }
}

fn failed<E: serde::de::Error>(field: &str) -> E {
    E::custom(format!("{PARSER} failed to parse field [{field}]"))
}

/// The field's name when it is set; `null` is unset.
fn check<E: serde::de::Error>(
    value: &Json,
    field: &'static str,
    fits: fn(&Json) -> bool,
) -> Result<Option<&'static str>, E> {
    match value {
        Json::Null => Ok(None),
        value if fits(value) => Ok(Some(field)),
        _ => Err(failed(field)),
    }
}

fn is_string(value: &Json) -> bool {
    matches!(value, Json::String(_))
}

fn is_boolean(value: &Json) -> bool {
    matches!(value, Json::Bool(_))
}

fn is_integer(value: &Json) -> bool {
    matches!(value, Json::Number(number) if number.as_i64().is_some())
}

/// `internal_search` and `internal_ingest` exist between Elasticsearch's nodes and are unknown over HTTP.
fn asked_type<E: serde::de::Error>(name: &str) -> Result<AskedType, E> {
    match name.trim().to_ascii_lowercase().as_str() {
        "ingest" => Ok(AskedType::Ingest),
        "search" => Ok(AskedType::Search),
        "classification" => Ok(AskedType::Classification),
        "clustering" => Ok(AskedType::Clustering),
        "unspecified" => Ok(AskedType::Unspecified),
        _ => Err(E::custom(format!(
            "{PARSER} failed to parse field [input_type]: unrecognised input_type [{}]",
            short_text(name)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::elastic::error::ErrorType;

    const SPARSE: Option<TaskTypeName> = Some(TaskTypeName::SparseEmbedding);

    #[test]
    fn takes_a_text_or_a_list_of_them() {
        for (body, texts) in [
            (r#"{"input":"a"}"#, vec!["a"]),
            (r#"{"input":[""," "],"task_settings":{"x":[1]},"timeout":"1s"}"#, vec!["", " "]),
            (r#"{"input":["a"],"input_type":"UNSPECIFIED","query":null}"#, vec!["a"]),
        ] {
            let request = parse(SPARSE, body.as_bytes()).unwrap();
            assert_eq!(request.texts(), texts);
            assert_eq!(request.input_type(), None);
        }
    }

    /// With the task type in the path too, where much else is refused: to Elasticsearch it is nothing.
    #[test]
    fn task_settings_have_room_for_what_is_given_out() {
        let body = br#"{"input":"a","task_settings":{"output":{"top_k":64,"max_ratio":0.1},"x":1}}"#;
        let expected = r#"{"top_k":64,"max_ratio":0.1}"#;
        for task in [None, SPARSE] {
            let pruning = parse(task, body).unwrap().options().pruning;
            assert_eq!(serde_json::to_string(&pruning).unwrap(), expected);
        }
        let refusal = parse(None, br#"{"input":"a","task_settings":{"output":{"top_k":0}}}"#).unwrap_err();
        assert!(refusal.to_string().contains("[top_k] must be"), "{refusal}");
    }

    /// `POST /_inference/{id}` and `POST /_inference/sparse_embedding/{id}` differ here, and clients rely on
    /// the first.
    #[test]
    fn the_checks_of_a_task_run_only_when_the_path_names_it() {
        let body = br#"{"input":"a","input_type":" Search ","query":"q","top_n":3,"return_documents":true}"#;
        assert_eq!(parse(None, body).unwrap().input_type(), Some(InputType::Search));
        assert_eq!(parse(Some(TaskTypeName::Any), body).unwrap().input_type(), Some(InputType::Search));
        let refusal = parse(SPARSE, body).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "Validation Failed: 1: [return_documents] is not allowed for [sparse_embedding];"
        );
    }

    #[test]
    fn the_first_of_several_mistakes_is_told() {
        let request = ErrorType::ActionRequestValidation;
        let json = ErrorType::XContentParse;
        let table = [
            ("{}", request, "[input] must not be null"),
            (r#"{"input":null,"top_n":1}"#, request, "[input] must not be null"),
            (r#"{"input":[],"top_n":1}"#, request, "[input] must not be an empty array"),
            (r#"{"input":"a","top_n":1,"query":"q"}"#, request, "[top_n]"),
            (r#"{"input":"a","input_type":"ingest","query":"q"}"#, request, "[query]"),
            (r#"{"input":"a","input_type":"ingest"}"#, request, "[input_type]"),
            (r#"{"input":7}"#, json, "[input]"),
            (r#"{"input":["a",7]}"#, json, "expected a string"),
            (r#"{"input":["a",null]}"#, json, "expected a string"),
            (r#"{"input":{"text":"a"}}"#, json, "[input]"),
            (r#"{"input":"a","input_type":"internal_search"}"#, json, "[internal_search]"),
            (r#"{"input":"a","input_type":7}"#, json, "[input_type]"),
            (r#"{"input":"a","query":["q"]}"#, json, "[query]"),
            (r#"{"input":"a","top_n":1.5}"#, json, "[top_n]"),
            (r#"{"input":"a","return_documents":"yes"}"#, json, "[return_documents]"),
            (r#"{"input":"a","task_settings":[]}"#, json, "[task_settings]"),
            (r#"{"input":"a","timeout":30}"#, json, "[timeout]"),
            (
                r#"{"input":"a","inputs":"b"}"#,
                json,
                "[1:21] [cluster:internal/xpack/inference] unknown field [inputs]",
            ),
            (r#"{"input":"a","input":"b"}"#, json, "duplicate field [input]"),
            (r#"["a"]"#, json, "a JSON object"),
            ("", json, "[1:0]"),
        ];
        for (body, kind, part) in table {
            let refusal = parse(SPARSE, body.as_bytes()).unwrap_err();
            assert_eq!(refusal.kind(), kind, "{body}: {refusal}");
            assert!(refusal.to_string().contains(part), "{body}: {refusal}");
        }
        let deep = format!(r#"{{"input":"a","task_settings":{}1{}}}"#, r#"{"a":"#.repeat(64), "}".repeat(64));
        assert_eq!(parse(SPARSE, deep.as_bytes()).unwrap_err().kind(), json);
    }
}
