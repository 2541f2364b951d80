//! Why a request is not let in. Nothing here repeats what was sent as a secret.

use super::access::Access;
use super::metrics::AuthOutcome;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error(
        "missing authentication credentials; send [Authorization: Bearer <token>] or [Authorization: ApiKey <key>]"
    )]
    NoCredentials,
    #[error("the Authorization header is not readable: {why}")]
    Unreadable { why: &'static str },
    #[error("the bearer token is not valid, has expired, or is for another audience")]
    BadToken,
    #[error("the API key is not valid or has expired")]
    BadKey,
    #[error(
        "[{who}] may not {what}; that needs the verb [{verb}] on [inferenceendpoints] in namespace [{namespace}]"
    )]
    NotAllowed { who: String, what: String, verb: &'static str, namespace: String },
    #[error("failed to check the credentials: {why}; send the request again")]
    Unavailable { why: &'static str },
}

impl Denied {
    pub(crate) fn not_allowed(who: String, access: &Access) -> Self {
        let Access { verb, namespace, id, object: _ } = access;
        let what = match id {
            Some(id) => format!("{} inference endpoint [{id}]", verb.as_str()),
            None => format!("{} inference endpoints", verb.as_str()),
        };
        Self::NotAllowed { who, what, verb: verb.as_str(), namespace: namespace.clone() }
    }

    /// Whose credentials were valid.
    pub(crate) fn who(&self) -> Option<&String> {
        match self {
            Self::NotAllowed { who, .. } => Some(who),
            Self::NoCredentials
            | Self::Unreadable { .. }
            | Self::BadToken
            | Self::BadKey
            | Self::Unavailable { .. } => None,
        }
    }

    pub(crate) fn outcome(&self) -> AuthOutcome {
        match self {
            Self::NoCredentials | Self::Unreadable { .. } | Self::BadToken | Self::BadKey => {
                AuthOutcome::Unauthenticated
            }
            Self::NotAllowed { .. } => AuthOutcome::Forbidden,
            Self::Unavailable { .. } => AuthOutcome::Unavailable,
        }
    }
}
