//! For OpenSearch's remote connectors: a list of texts in, a list of `{token: weight}` out. A bare list is what a connector
//! without a post-processing function files under `response`, where neural sparse search looks for it.

use axum::extract::{Request, State};
use axum::response::Response;
use lexiscale_wire::{InferenceRequest, InputType, Options, Pruning, SparseEmbedding, TextEmbedding};

use super::{Error, Gateway, Shaped, Target};
use crate::gateway::auth::Caller;
use crate::gateway::elastic::error::Refusal;
use crate::gateway::elastic::json::{Json, short, short_text};
use crate::gateway::elastic::pruning;
use crate::gateway::presentation::json;

/// The texts' name, where the body is an object: what connectors call their parameter, most usual first.
const NAMES: [&str; 3] = ["input", "inputs", "text_docs"];

pub(super) async fn embed(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    request: Request,
) -> Result<Response, Error> {
    let shaped = Shaped { target, request };
    let write = |rows: &[TextEmbedding]| {
        json(&rows.iter().map(|row| &row.embedding).collect::<Vec<&SparseEmbedding>>())
    };
    shaped.embed(&gateway, parse, write).await
}

/// PURE.
fn parse(body: &[u8]) -> Result<InferenceRequest, Refusal> {
    let (texts, input_type, pruning) = match Json::parse(body)? {
        list @ Json::Array(_) => (texts(list, "the body")?, None, Pruning::default()),
        Json::Object(mut object) => {
            let given = NAMES.map(|name| (name, object.take(name)));
            let mut given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let Some((name, value)) = given.next() else {
                return Err(Refusal::request("[input] must not be null"));
            };
            if let Some((other, _)) = given.next() {
                return Err(Refusal::request(format!(
                    "[{name}] and [{other}] exclude each other; give one of them"
                )));
            }
            let input_type = object.take("input_type").map(|value| input_type(&value)).transpose()?;
            let pruning = pruning::take(&mut object).map_err(Refusal::Json)?;
            if let Some((unknown, _)) = object.entries().first() {
                return Err(Refusal::Json(format!("unknown field [{}]", short_text(unknown))));
            }
            (texts(value, name)?, input_type, pruning)
        }
        other => {
            return Err(Refusal::Json(format!(
                "the body must be a list of texts, or an object with one in [input], not [{}]",
                short(&other)
            )));
        }
    };
    let request = InferenceRequest::new(texts, input_type)
        .map_err(|_| Refusal::request("[input] must not be an empty array"))?;
    Ok(request.with_options(Options { pruning, ..Options::default() }))
}

fn texts(value: Json, name: &str) -> Result<Vec<String>, Refusal> {
    let text = |value| match value {
        Json::String(text) => Ok(text),
        other => {
            Err(Refusal::Json(format!("[{name}] must hold nothing but strings, not [{}]", short(&other))))
        }
    };
    match value {
        Json::Array(values) => values.into_iter().map(text).collect(),
        single => text(single).map(|text| vec![text]),
    }
}

fn input_type(value: &Json) -> Result<InputType, Refusal> {
    match value {
        Json::String(name) if name == "search" => Ok(InputType::Search),
        Json::String(name) if name == "ingest" => Ok(InputType::Ingest),
        other => {
            Err(Refusal::Json(format!("[input_type] must be [search] or [ingest], not [{}]", short(other))))
        }
    }
}

#[cfg(test)]
mod tests {
    use lexiscale_fuzz::{Inputs, fuzz};

    use super::*;
    use crate::gateway::elastic::error::ErrorType;

    #[test]
    fn takes_a_list_or_an_object_with_one() {
        for (body, texts) in [
            (r#"["a","b"]"#, vec!["a", "b"]),
            (r#"{"input":["a"]}"#, vec!["a"]),
            (r#"{"inputs":"a","input":null}"#, vec!["a"]),
            (r#"{"text_docs":["a",""]}"#, vec!["a", ""]),
        ] {
            let request = parse(body.as_bytes()).unwrap();
            assert_eq!(request.texts(), texts, "{body}");
            assert_eq!(request.input_type(), None);
        }
        let search = parse(br#"{"input":["a"],"input_type":"search"}"#).unwrap();
        assert_eq!(search.input_type(), Some(InputType::Search));
        let pruned = parse(br#"{"input":["a"],"top_k":64,"min_weight":0.5}"#).unwrap();
        let pruning = serde_json::to_string(&pruned.options().pruning).unwrap();
        assert_eq!(pruning, r#"{"top_k":64,"min_weight":0.5}"#);
    }

    #[test]
    fn any_body_gets_a_verdict() {
        let seeds =
            [r#"["a","b"]"#, r#"{"text_docs":["a"],"input_type":"search","top_k":64,"min_weight":0.5}"#];
        let words = ["\"input\":", "\"inputs\":", "null", "[", "{", "\"max_ratio\":1e-400", "\"\\ud800\""];
        fuzz(&Inputs::of_texts("opensearch", &seeds, &words), |body| {
            if let Ok(request) = parse(body) {
                assert!(!request.texts().is_empty(), "{request:?}");
            }
        });
    }

    #[test]
    fn refuses_what_is_no_list_of_texts() {
        let request = ErrorType::ActionRequestValidation;
        let json = ErrorType::XContentParse;
        for (body, kind, part) in [
            ("[]", request, "empty"),
            ("{}", request, "[input] must not be null"),
            (r#"{"input":[],"text_docs":["a"]}"#, request, "[input] and [text_docs]"),
            (r#"[["a"]]"#, json, "the body"),
            (r#"["a",1]"#, json, "[1]"),
            (r#"{"input":{"a":"b"}}"#, json, "[input]"),
            (r#"{"input":["a"],"parameters":{}}"#, json, "[parameters]"),
            (r#"{"input":["a"],"input_type":"query"}"#, json, "[query]"),
            (r#"{"input":["a"],"max_ratio":2}"#, json, "[max_ratio] must be a number from 0 to 1"),
            (r#""a""#, json, "[a]"),
            ("", json, "[1:0]"),
        ] {
            let refusal = parse(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.kind(), kind, "{body}: {refusal}");
            assert!(refusal.to_string().contains(part), "{body}: {refusal}");
        }
    }
}
