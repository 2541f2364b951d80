//! The body of `PUT _inference/{task_type}/{id}`, checked in the order in which Elasticsearch checks it.

use lexiscale_crds::{InferenceEndpointSpec, Service, TaskSettings, TaskType};

use super::error::Refusal;
use super::json::{Json, Object, short, short_text};
use super::service_settings::Asked;
use super::task_type::{self, TaskTypeName};
use super::{chunking_settings, service_settings};

/// What a body asks for.
#[derive(Debug)]
pub(crate) struct Create {
    /// `inference_id` is left to the caller, who knows the object's name.
    pub(crate) spec: InferenceEndpointSpec,
    /// Service settings that stand beside a `deployment_id` and have no effect there.
    pub(crate) beside: Object,
}

pub(crate) fn parse(path_task: Option<TaskTypeName>, body: &[u8]) -> Result<Create, Refusal> {
    let mut body = Object::parse(body)?;
    let task = task_type(path_task, string(&mut body, "task_type")?.as_deref())?;
    let service = service(string(&mut body, "service")?.as_deref())?;
    let task_type = offered(task, service)?;
    let Some(settings) = object(&mut body, "service_settings")? else {
        return Err(Refusal::status(missing("service_settings")));
    };
    let chunking_settings = object(&mut body, "chunking_settings")?
        .map(chunking_settings::parse)
        .transpose()?
        .map(|accepted| accepted.settings);
    let Asked { settings: service_settings, beside } = service_settings::parse(service, settings)?;
    // Dropped unread, as in Elasticsearch: sparse models have no task settings, and clients send `{}` as
    // often as not.
    let task_settings = object(&mut body, "task_settings")?.map(|_| TaskSettings::default());
    service_settings::refuse_unknown(&body, service)?;
    let spec = InferenceEndpointSpec {
        inference_id: None,
        task_type,
        service,
        service_settings,
        task_settings,
        chunking_settings,
        deployment: None,
    };
    Ok(Create { spec, beside })
}

/// The deprecations that the answer has to name, if any.
pub(crate) fn deprecation(spec: &InferenceEndpointSpec) -> Option<&'static str> {
    let settings = &spec.service_settings;
    match (spec.service, settings.model_id.as_ref().or(settings.deployment_id.as_ref())) {
        (Service::Elasticsearch, _) => None,
        (Service::Elser, Some(_)) => Some(
            "The [elser] service is deprecated and will be removed in a future release. Use the [elasticsearch] service instead.",
        ),
        (Service::Elser, None) => Some(
            "The [elser] service is deprecated and will be removed in a future release. Use the [elasticsearch] service instead, with \
             [model_id] set to [.elser_model_2_linux-x86_64] in the [service_settings]; the request has no [model_id].",
        ),
    }
}

fn task_type(path: Option<TaskTypeName>, body: Option<&str>) -> Result<TaskTypeName, Refusal> {
    let body = body.map(TaskTypeName::parse).transpose()?;
    if [path, body].contains(&Some(TaskTypeName::Any)) {
        return Err(Refusal::status("[task_type] type [any] is not valid when an endpoint is created"));
    }
    task_type::agreed(path, body)
}

fn service(name: Option<&str>) -> Result<Service, Refusal> {
    match name {
        Some("elasticsearch") => Ok(Service::Elasticsearch),
        Some("elser") => Ok(Service::Elser),
        Some(unknown) => {
            let unknown = short_text(unknown);
            Err(Refusal::status(format!("unknown service [{unknown}]; this server offers [elasticsearch]")))
        }
        None => Err(Refusal::status(missing("service"))),
    }
}

fn offered(task: TaskTypeName, service: Service) -> Result<TaskType, Refusal> {
    match task {
        TaskTypeName::SparseEmbedding => Ok(TaskType::SparseEmbedding),
        TaskTypeName::TextEmbedding
        | TaskTypeName::Embedding
        | TaskTypeName::Rerank
        | TaskTypeName::Completion
        | TaskTypeName::ChatCompletion
        | TaskTypeName::Any => Err(Refusal::status(format!(
            "the [{}] service does not support task type [{task}]; it offers [{}]",
            service_settings::service_name(service),
            TaskTypeName::SparseEmbedding
        ))),
    }
}

fn missing(key: &str) -> String {
    format!("[{key}] is required and missing in the body")
}

pub(super) fn string(body: &mut Object, key: &str) -> Result<Option<String>, Refusal> {
    match body.take(key) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => Err(unexpected(key, &other, "String")),
    }
}

pub(super) fn object(body: &mut Object, key: &str) -> Result<Option<Object>, Refusal> {
    match body.take(key) {
        None => Ok(None),
        Some(Json::Object(object)) => Ok(Some(object)),
        Some(other) => Err(unexpected(key, &other, "Object")),
    }
}

fn unexpected(key: &str, value: &Json, expected: &str) -> Refusal {
    Refusal::status(format!(
        "field [{key}] is not of the expected type: the value [{}] cannot be converted to [{expected}]",
        short(value)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::elastic::error::ErrorType;

    const SPARSE: Option<TaskTypeName> = Some(TaskTypeName::SparseEmbedding);

    #[test]
    fn the_request_of_the_seed_page_is_the_example_manifest() {
        let body = br#"{"service":"elser","service_settings":{"num_allocations":1,"num_threads":1}}"#;
        insta::assert_snapshot!(serde_json::to_string(&parse(SPARSE, body).unwrap().spec).unwrap(),
            @r#"{"taskType":"sparse_embedding","service":"elser","serviceSettings":{"numAllocations":1,"numThreads":1}}"#);
    }

    #[test]
    fn the_task_type_may_stand_in_the_body() {
        let body = br#"{"task_type":" SPARSE_embedding","service":"elser","service_settings":{"num_allocations":1,"num_threads":1}}"#;
        assert!(parse(None, body).is_ok());
        assert!(parse(SPARSE, body).is_ok());
        assert!(parse(Some(TaskTypeName::Rerank), body).unwrap_err().to_string().contains("does not match"));
    }

    /// A client that fixes one mistake after the other must meet them in Elasticsearch's order.
    #[test]
    fn checks_run_in_order() {
        let table = [
            (None, r#"{"service":"x"}"#, "missing required [task_type]"),
            (None, r#"{"task_type":"any","service":"x"}"#, "[any]"),
            (Some(TaskTypeName::Any), r#"{"service":"x"}"#, "[any]"),
            (None, r#"{"task_type":"sparse","service":"x"}"#, "[sparse]"),
            (None, r#"{"task_type":7}"#, "[task_type]"),
            (SPARSE, "{}", "[service] is required"),
            (SPARSE, r#"{"service":null}"#, "[service] is required"),
            (SPARSE, r#"{"service":["elser"]}"#, "[service]"),
            (SPARSE, r#"{"service":"openai"}"#, "[openai]"),
            (Some(TaskTypeName::Rerank), r#"{"service":"elser"}"#, "does not support task type [rerank]"),
            (SPARSE, r#"{"service":"elser"}"#, "[service_settings] is required"),
            (SPARSE, r#"{"service":"elser","service_settings":[]}"#, "[service_settings]"),
            (
                SPARSE,
                r#"{"service":"elser","service_settings":{},"chunking_settings":7}"#,
                "[chunking_settings]",
            ),
            (
                SPARSE,
                r#"{"service":"elser","service_settings":{"num_allocations":1,"num_threads":1},"task_settings":1}"#,
                "[task_settings]",
            ),
            (
                SPARSE,
                r#"{"service":"elser","service_settings":{"num_allocations":1,"num_threads":1},"a":1,"b":{}}"#,
                "{a=1, b={}}",
            ),
        ];
        for (path, body, part) in table {
            let refusal = parse(path, body.as_bytes()).unwrap_err();
            assert_eq!(refusal.kind(), ErrorType::Status, "{body}: {refusal}");
            assert!(refusal.to_string().contains(part), "{body}: {refusal}");
        }
    }
}
