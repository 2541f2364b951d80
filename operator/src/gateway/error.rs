//! Everything a request can end in but success.

mod answer;

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use lexiscale_wire::WorkerErrorKind;

use self::answer::Answer;
use super::auth::Denied;
use super::elastic::endpoint::State;
use super::elastic::error::{Envelope, Refusal};
use super::elastic::media_type::MediaTypeError;
use super::elastic::task_type::TaskTypeName;
use super::server::BadHead;

/// Says where an endpoint is on its way. Elasticsearch has no such header; clients ignore what they do not
/// know.
pub(crate) const INFERENCE_STATE: HeaderName = HeaderName::from_static("x-inference-state");

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    // The request as HTTP.
    #[error("no handler found for uri [{path}] and method [{method}]")]
    UnknownPath { method: Method, path: String },
    #[error("incorrect HTTP method for uri [{path}] and method [{method}]")]
    WrongMethod { method: Method, path: String },
    #[error("{0}")]
    MediaType(#[from] MediaTypeError),
    #[error("Content-Encoding [{0}] is not supported; send the body with [gzip] or without it")]
    Encoding(String),
    #[error("request body is required")]
    NoBody,
    #[error("the request body is larger than [{limit}] bytes, the most that is accepted")]
    BodyTooLarge { limit: usize },
    #[error("the request body comes too slowly: less than [{least}] bytes in [{}ms]", .within.as_millis())]
    BodyTrickles { least: usize, within: Duration },
    #[error("the request body did not arrive within [{}ms]", .0.as_millis())]
    BodyTooSlow(Duration),
    #[error(
        "failed to read the request body: it ended early, or it is not packed as its Content-Encoding says"
    )]
    BodyBroken,
    #[error(
        "failed to read the settings in the request body, which is a mistake of the gateway and not of the request"
    )]
    SettingsBroken,
    #[error("failed to read the answer that was to be written anew")]
    AnswerBroken,
    #[error("the allocation that worked on the request broke off its answer; send the request again")]
    AnswerCut,
    #[error("the path is not valid UTF-8 once decoded")]
    BadPath,
    #[error("{0}")]
    BadHead(#[from] BadHead),
    #[error("{0}")]
    Denied(#[from] Denied),

    // What the request asks for.
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("[{name}] is no namespace: lower-case letters, digits and inner hyphens, at most 63")]
    BadNamespace { name: String },
    #[error("namespace [{name}] is not served here, or does not exist")]
    ForeignNamespace { name: String },
    #[error("inference endpoint [{id}] does not exist")]
    NotFound { id: String },
    #[error("inference endpoint [{id}] has task type [{stored}], the path asks for [{requested}]")]
    OtherTaskType { id: String, requested: TaskTypeName, stored: TaskTypeName },
    #[error("streaming is not allowed for service [{service}] and task type [{task}]", task = TaskTypeName::SparseEmbedding)]
    Streaming { service: &'static str },

    // Create and delete.
    #[error("inference endpoint [{id}] already exists")]
    AlreadyExists { id: String },
    #[error(
        "inference endpoint [{id}] cannot be created: its object name [{name}] is taken by inference endpoint [{other}]"
    )]
    NameTaken { id: String, name: String, other: String },
    #[error("Validation Failed: 1: {0};")]
    RefusedByCluster(String),
    #[error("not allowed by the cluster: {0}")]
    Forbidden(String),
    #[error("inference endpoint [{id}] could not be started and was removed: [{reason}] {message}")]
    StartFailed { id: String, reason: String, message: String },
    #[error(
        "inference endpoint [{id}], made by an earlier request, could not be started and was kept: [{reason}] {message}; to make it anew, \
         remove it first with DELETE _inference/{id}"
    )]
    JoinedFailed { id: String, reason: String, message: String },
    #[error("inference endpoint [{id}] was deleted while it was being started")]
    DeletedWhileStarting { id: String },
    #[error(
        "timed out after [{}ms] waiting for inference endpoint [{id}] to start; the start goes on ({progress}): look with GET _inference/{id}, \
         or send the same request again to go on waiting", .timeout.as_millis()
    )]
    StartTimeout { id: String, timeout: Duration, progress: String },
    #[error(
        "inference endpoint [{id}] could not be stored within [{}ms]; send the same request again", .timeout.as_millis()
    )]
    StoreTimeout { id: String, timeout: Duration },
    #[error("[{id}] is a default inference endpoint; to delete it all the same, set [force=true]")]
    DefaultEndpoint { id: String },
    #[error("inference endpoint [{id}] is being deleted, and was not gone after [{}ms]", .timeout.as_millis())]
    DeleteTimeout { id: String, timeout: Duration },

    #[error(transparent)]
    InUse(#[from] InUse),

    // Attaching to a deployment.
    #[error(
        "there is no deployment [{deployment}]; [deployment_id] must be the id of an endpoint that has a deployment of its own{others}"
    )]
    NoDeployment { deployment: String, others: String },
    #[error(
        "deployment [{deployment}] serves model [{serves}] and not [{asked}], which the request names as [model_id]"
    )]
    OtherModel { deployment: String, asked: String, serves: String },
    #[error(
        "[{id}] cannot be the id of a new inference endpoint: it is the [deployment_id] of inference endpoint [{by}]; delete that \
         one first, or choose another id"
    )]
    DeploymentIdTaken { id: String, by: String },
    #[error(
        "inference endpoint [{id}] is attached to deployment [{deployment}], whose allocations are updated through the endpoint \
         that made it: PUT _inference/{deployment}/_update"
    )]
    Attached { id: String, deployment: String },

    // Update.
    #[error("inference endpoint [{id}] cannot be updated while it is [{}]: it must have started first", .state.as_str())]
    NotStarted { id: String, state: State },
    #[error("inference endpoint [{id}] is being changed by others all the time; send the same request again")]
    UpdateConflict { id: String },
    #[error(
        "inference endpoint [{id}] was not seen updated within [{}ms]; look with GET _inference/{id}, or send the same request again",
        .timeout.as_millis()
    )]
    UpdateTimeout { id: String, timeout: Duration },

    // Inference.
    #[error("inference endpoint [{id}] is not serving: [{reason}] {message}")]
    NotServing { id: String, reason: String, message: String },
    #[error("too many requests are being processed; at most [{limit}] are accepted at once")]
    TooManyRequests { limit: usize },
    #[error(
        "too many requests of namespace [{namespace}] are being processed: of the [{limit}] that are accepted at once, others need their part"
    )]
    TooManyOfTenant { namespace: String, limit: usize },
    #[error("too many requests wait for inference endpoint [{id}] to start; at most [{limit}] may wait")]
    TooManyHeld { id: String, limit: usize },
    #[error("the queue of inference endpoint [{id}] is full: at most [{limit}] texts may wait")]
    QueueFull { id: String, limit: usize, retry_after: u64 },
    #[error("at most [{limit}] bytes are held for requests at once, and this request would be more")]
    TooManyBytes { limit: usize },
    #[error("timed out after [{}ms] waiting for {waited_for} of inference endpoint [{id}]", .timeout.as_millis())]
    InferTimeout { id: String, timeout: Duration, waited_for: &'static str },
    #[error("[{id}] {message}")]
    Worker { id: String, kind: WorkerErrorKind, message: String, retry_after: Option<HeaderValue> },
    #[error("inference endpoint [{id}] lost the allocation that worked on the request")]
    WorkerLost { id: String },
    #[error("an allocation of inference endpoint [{id}] gave an answer that does not fit the request")]
    WorkerAnswer { id: String },
    #[error(
        "the answer is larger than [{limit}] bytes, the most that is given at once; send fewer texts in one request"
    )]
    AnswerTooLarge { limit: usize },
    #[error(
        "the texts make more than [{limit}] chunks, the most that one request may have; send fewer texts, or set a larger [max_chunk_size]"
    )]
    TooManyChunks { limit: usize },
    #[error("the text could not be cut into chunks: {0}")]
    Chunking(String),

    // The cluster behind it all.
    #[error("the gateway does not know the cluster's endpoints yet")]
    NotReady,
    #[error(
        "failed to reach the Kubernetes API, without which inference goes on, but no inference endpoint is made, changed or deleted; \
         send the request again later"
    )]
    Kubernetes(#[source] kube::Error),
}

/// An endpoint that others are attached to: they would lose what serves them.
#[derive(Debug)]
pub(crate) struct InUse {
    pub(crate) id: String,
    pub(crate) uses: Vec<String>,
}

impl std::fmt::Display for InUse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MOST: usize = 10;
        let Self { id, uses } = self;
        let named: Vec<_> = uses.iter().take(MOST).map(String::as_str).collect();
        let more = if uses.len() > MOST { ", ..." } else { "" };
        write!(
            formatter,
            "inference endpoints [{}{more}] are attached to the deployment of inference endpoint [{id}] and would not be served \
             any more; delete them first, or set [force=true] to delete it all the same",
            named.join(", ")
        )
    }
}

impl std::error::Error for InUse {}

impl Error {
    /// The reason with its causes, which only the cluster's own errors have.
    fn reason(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) if matches!(self, Self::Kubernetes(_)) => format!("{self}: {source}"),
            Some(_) | None => self.to_string(),
        }
    }
}

/// From a Kubernetes client's error, when an object was to be written.
pub(crate) fn of_write(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) if matches!(status.code, 400 | 422) => {
            let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
            let message = match causes {
                [] => status.message.clone(),
                causes => causes
                    .iter()
                    .map(|cause| format!("{}: {}", cause.field, cause.message))
                    .collect::<Vec<_>>()
                    .join("; "),
            };
            Error::RefusedByCluster(message)
        }
        kube::Error::Api(status) if status.code == 403 => Error::Forbidden(status.message.clone()),
        other => Error::Kubernetes(other),
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let Answer { status, kind, retry_after, state } = self.answer();
        let reason = self.reason();
        // Whoever asks the API server who somebody is says there that it does not answer.
        if status.is_server_error() && !matches!(self, Self::Denied(_)) {
            tracing::warn!(status = status.as_u16(), "{reason}");
        }
        let body = serde_json::to_vec(&Envelope::new(status.as_u16(), kind, &reason))
            .expect("an envelope is strings and a number");
        let mut response = (status, [(CONTENT_TYPE, "application/json")], body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            for challenge in [r#"Bearer realm="security""#, "ApiKey"] {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
        }
        // What follows such a head or body cannot be told from it.
        if matches!(self, Self::BadHead(_) | Self::BodyTrickles { .. } | Self::BodyTooSlow(_)) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value);
        }
        if let Some(state) = state {
            headers.insert(INFERENCE_STATE, HeaderValue::from_static(state.as_str()));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_refuses_is_a_validation_with_its_message() {
        let status: kube::core::Status = serde_json::from_value(serde_json::json!({
            "code": 422, "message": "long", "reason": "Invalid",
            "details": {"causes": [{"field": "spec.serviceSettings.numThreads", "message": "must be a power of two"}]},
        }))
        .unwrap();
        let error = of_write(kube::Error::Api(status.boxed()));
        assert_eq!(
            error.reason(),
            "Validation Failed: 1: spec.serviceSettings.numThreads: must be a power of two;"
        );
        assert_eq!(error.into_response().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn too_much_work_says_when_to_come_again() {
        let response = Error::TooManyHeld { id: "a".to_owned(), limit: 3 }.into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let response = Error::QueueFull { id: "a".to_owned(), limit: 3, retry_after: 7 }.into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "7");
    }
}
