//! By what the gateway tells its counts apart. Endpoints are named only if they exist, the rest are enums: nobody can make any number of
//! series by asking.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelSetEncoder};

use crate::gateway::directory::EndpointKey;

#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Operation {
    Create,
    Update,
    Get,
    Delete,
    Infer,
    Info,
    Other,
}

impl Operation {
    pub(super) const ALL: [Self; 7] =
        [Self::Create, Self::Update, Self::Get, Self::Delete, Self::Infer, Self::Info, Self::Other];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Get => "get",
            Self::Delete => "delete",
            Self::Infer => "infer",
            Self::Info => "info",
            Self::Other => "other",
        }
    }
}

/// How a request ended, as coarse as a label may be.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Outcome {
    Success,
    ClientError,
    ServerError,
    /// The client left before the answer was complete.
    Cancelled,
}

impl Outcome {
    pub(super) const ALL: [Self; 4] = [Self::Success, Self::ClientError, Self::ServerError, Self::Cancelled];
}

/// How a piece of work left the line.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Waited {
    /// To an allocation.
    Served,
    /// Nobody would serve it any more.
    Refused,
    /// Its deadline passed.
    Late,
    /// Who asked is gone.
    Cancelled,
}

impl Waited {
    pub(super) const ALL: [Self; 4] = [Self::Served, Self::Refused, Self::Late, Self::Cancelled];
}

/// How a piece of work ended at a worker.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Worked {
    Answered,
    /// The worker was not there, was lost, or was full; others may do it.
    Failed,
    /// Refused for good, too late, or given up by who asked.
    Ended,
}

impl Worked {
    pub(super) const ALL: [Self; 3] = [Self::Answered, Self::Failed, Self::Ended];
}

/// Why a request was answered 429 by the gateway itself.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Rejection {
    /// Too many texts stand in line for the endpoint.
    Queue,
    /// Too many requests wait for the endpoint's first allocation.
    Held,
    /// Too many requests at once, of all endpoints.
    Requests,
    /// Too many bytes held for them.
    Bytes,
}

/// To whom a certificate is shown.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Purpose {
    Clients,
    Workers,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ByPurpose {
    pub(super) purpose: Purpose,
}

/// Both empty for what is of no endpoint that exists.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct ByEndpoint {
    pub(crate) namespace: String,
    pub(crate) endpoint: String,
}

impl ByEndpoint {
    /// `key` is of an endpoint that exists.
    pub(crate) fn of(key: &EndpointKey) -> Self {
        let EndpointKey { namespace, id: endpoint } = key.clone();
        Self { namespace, endpoint }
    }

    pub(super) fn none() -> Self {
        Self { namespace: String::new(), endpoint: String::new() }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ByOperation {
    pub(super) operation: Operation,
    #[prometheus(flatten)]
    pub(super) endpoint: ByEndpoint,
}

/// By endpoint, and by one word of a few.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct ByOutcome<O> {
    pub(crate) endpoint: ByEndpoint,
    pub(crate) outcome: O,
}

/// The derive knows no generic types.
impl<O: Copy + EncodeLabelValue> EncodeLabelSet for ByOutcome<O> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.endpoint.encode(encoder)?;
        [("outcome", self.outcome)].encode(encoder)
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ByOperationAndOutcome {
    #[prometheus(flatten)]
    pub(super) operation: ByOperation,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ByReason {
    #[prometheus(flatten)]
    pub(super) endpoint: ByEndpoint,
    pub(super) reason: Rejection,
}
