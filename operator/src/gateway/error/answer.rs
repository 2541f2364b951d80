//! The one place that says with which status and type an error is answered, and what else its answer says. PURE.

use http::{HeaderValue, StatusCode};
use lexiscale_wire::WorkerErrorKind;

use super::Error;
use crate::gateway::auth::Denied;
use crate::gateway::elastic::endpoint::State;
use crate::gateway::elastic::error::ErrorType;
use crate::gateway::elastic::media_type::MediaTypeError;
use crate::gateway::server::BadHead;

/// How an error is answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) kind: ErrorType,
    pub(super) retry_after: Option<HeaderValue>,
    pub(super) state: Option<State>,
}

impl Answer {
    const fn new(status: StatusCode, kind: ErrorType) -> Self {
        Self { status, kind, retry_after: None, state: None }
    }

    fn retry(self) -> Self {
        Self { retry_after: Some(HeaderValue::from_static("1")), ..self }
    }
}

impl Error {
    pub(super) fn answer(&self) -> Answer {
        use ErrorType as Type;
        use StatusCode as Status;
        match self {
            Self::Refused(refusal) => Answer::new(Status::BAD_REQUEST, refusal.kind()),
            Self::UnknownPath { .. }
            | Self::BodyBroken
            | Self::OtherTaskType { .. }
            | Self::NameTaken { .. }
            | Self::OtherModel { .. }
            | Self::DeploymentIdTaken { .. }
            | Self::DefaultEndpoint { .. }
            | Self::Chunking(_) => Answer::new(Status::BAD_REQUEST, Type::Status),
            Self::BadPath | Self::BadNamespace { .. } | Self::BadHead(BadHead::Malformed { .. }) => {
                Answer::new(Status::BAD_REQUEST, Type::IllegalArgument)
            }
            Self::NoBody => Answer::new(Status::BAD_REQUEST, Type::Parse),
            Self::MediaType(MediaTypeError::WrongVersion { .. }) => {
                Answer::new(Status::BAD_REQUEST, Type::MediaTypeHeader)
            }
            Self::AlreadyExists { .. } => Answer::new(Status::BAD_REQUEST, Type::ResourceAlreadyExists),
            Self::RefusedByCluster(_) => Answer::new(Status::BAD_REQUEST, Type::Validation),
            Self::StartFailed { reason, .. } => Answer::new(start_failure_status(reason), Type::Status),
            Self::JoinedFailed { reason, .. } => Answer {
                state: Some(State::Failed),
                ..Answer::new(start_failure_status(reason), Type::Status)
            },
            Self::BadHead(BadHead::TooLarge | BadHead::TooManyFields) => {
                Answer::new(Status::REQUEST_HEADER_FIELDS_TOO_LARGE, Type::IllegalArgument)
            }
            Self::Denied(
                Denied::NoCredentials | Denied::Unreadable { .. } | Denied::BadToken | Denied::BadKey,
            ) => Answer::new(Status::UNAUTHORIZED, Type::Security),
            Self::Forbidden(_) | Self::Denied(Denied::NotAllowed { .. }) => {
                Answer::new(Status::FORBIDDEN, Type::Security)
            }
            Self::NotFound { .. } | Self::NoDeployment { .. } | Self::ForeignNamespace { .. } => {
                Answer::new(Status::NOT_FOUND, Type::ResourceNotFound)
            }
            Self::WrongMethod { .. } | Self::Streaming { .. } => {
                Answer::new(Status::METHOD_NOT_ALLOWED, Type::Status)
            }
            Self::MediaType(MediaTypeError::Missing | MediaTypeError::Unsupported { .. }) => {
                Answer::new(Status::NOT_ACCEPTABLE, Type::Status)
            }
            Self::BodyTooSlow(_)
            | Self::BodyTrickles { .. }
            | Self::InferTimeout { .. }
            | Self::DeleteTimeout { .. }
            | Self::UpdateTimeout { .. } => Answer::new(Status::REQUEST_TIMEOUT, Type::Status),
            Self::StartTimeout { .. } => Answer {
                state: Some(State::Deploying),
                ..Answer::new(Status::REQUEST_TIMEOUT, Type::ModelDeploymentTimeout)
            },
            Self::StoreTimeout { .. } => Answer::new(Status::REQUEST_TIMEOUT, Type::ModelDeploymentTimeout),
            Self::NotServing { .. } => {
                Answer { state: Some(State::Failed), ..Answer::new(Status::CONFLICT, Type::Status) }
            }
            Self::NotStarted { state, .. } => {
                Answer { state: Some(*state), ..Answer::new(Status::CONFLICT, Type::Status) }
            }
            Self::DeletedWhileStarting { .. }
            | Self::UpdateConflict { .. }
            | Self::InUse(_)
            | Self::Attached { .. } => Answer::new(Status::CONFLICT, Type::Status),
            Self::BodyTooLarge { .. } | Self::AnswerTooLarge { .. } | Self::TooManyChunks { .. } => {
                Answer::new(Status::PAYLOAD_TOO_LARGE, Type::Status)
            }
            Self::Encoding(_) => Answer::new(Status::UNSUPPORTED_MEDIA_TYPE, Type::Status),
            Self::TooManyRequests { .. }
            | Self::TooManyOfTenant { .. }
            | Self::TooManyHeld { .. }
            | Self::TooManyBytes { .. } => {
                Answer::new(Status::TOO_MANY_REQUESTS, Type::EsRejectedExecution).retry()
            }
            Self::QueueFull { retry_after, .. } => Answer {
                retry_after: Some(HeaderValue::from(*retry_after)),
                ..Answer::new(Status::TOO_MANY_REQUESTS, Type::EsRejectedExecution)
            },
            Self::Worker { kind, retry_after, .. } => of_worker(*kind, retry_after.as_ref()),
            Self::SettingsBroken | Self::AnswerBroken | Self::WorkerAnswer { .. } => {
                Answer::new(Status::INTERNAL_SERVER_ERROR, Type::Status)
            }
            Self::WorkerLost { .. }
            | Self::AnswerCut
            | Self::NotReady
            | Self::Kubernetes(_)
            | Self::Denied(Denied::Unavailable { .. }) => {
                Answer::new(Status::SERVICE_UNAVAILABLE, Type::Status).retry()
            }
        }
    }
}

fn of_worker(kind: WorkerErrorKind, retry_after: Option<&HeaderValue>) -> Answer {
    let status = StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match kind {
        WorkerErrorKind::Overloaded => Answer {
            retry_after: Some(retry_after.cloned().unwrap_or(HeaderValue::from_static("1"))),
            ..Answer::new(status, ErrorType::EsRejectedExecution)
        },
        WorkerErrorKind::NotReady => Answer::new(status, ErrorType::Status).retry(),
        WorkerErrorKind::TooLarge | WorkerErrorKind::BadRequest | WorkerErrorKind::Internal => {
            Answer::new(status, ErrorType::Status)
        }
    }
}

/// Whose fault it was that an endpoint did not start: the request's, or the cluster's.
fn start_failure_status(reason: &str) -> StatusCode {
    match reason {
        "UnknownModel"
        | "ModelNotFound"
        | "RevisionNotFound"
        | "Unauthorized"
        | "UnsupportedModel"
        | "InvalidModel"
        | "InvalidSpec"
        | "DuplicateInferenceId" => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_answers_for_itself_and_not_for_the_client() {
        assert_eq!(start_failure_status("ModelNotFound"), StatusCode::BAD_REQUEST);
        assert_eq!(start_failure_status("InsufficientStorage"), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
