//! The error body that every Elasticsearch client reads, its `type`s, and the refusals that reading a request
//! can end in. Clients depend on status, type and envelope; the reasons are our own words.

use std::fmt;

use serde::Serialize;

/// `error.type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ErrorType {
    Status,
    Validation,
    ActionRequestValidation,
    XContentParse,
    Parse,
    IllegalArgument,
    MediaTypeHeader,
    ResourceNotFound,
    ResourceAlreadyExists,
    ModelDeploymentTimeout,
    EsRejectedExecution,
    Security,
}

impl ErrorType {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status_exception",
            Self::Validation => "validation_exception",
            Self::ActionRequestValidation => "action_request_validation_exception",
            Self::XContentParse => "x_content_parse_exception",
            Self::Parse => "parse_exception",
            Self::IllegalArgument => "illegal_argument_exception",
            Self::MediaTypeHeader => "media_type_header_exception",
            Self::ResourceNotFound => "resource_not_found_exception",
            Self::ResourceAlreadyExists => "resource_already_exists_exception",
            Self::ModelDeploymentTimeout => "model_deployment_timeout_exception",
            Self::EsRejectedExecution => "es_rejected_execution_exception",
            Self::Security => "security_exception",
        }
    }
}

/// The body of an error, field for field.
#[derive(Debug, Serialize)]
pub(crate) struct Envelope<'a> {
    error: Cause<'a>,
    status: u16,
}

#[derive(Debug, Serialize)]
struct Cause<'a> {
    #[serde(rename = "root_cause")]
    root: [RootCause<'a>; 1],
    #[serde(rename = "type")]
    kind: &'static str,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct RootCause<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    reason: &'a str,
}

impl<'a> Envelope<'a> {
    pub(crate) fn new(status: u16, kind: ErrorType, reason: &'a str) -> Self {
        let kind = kind.as_str();
        Self { error: Cause { root: [RootCause { kind, reason }], kind, reason }, status }
    }
}

/// A request that says something Elasticsearch refuses with status 400.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Most refusals, and every one for which Elasticsearch has no type of its own.
    #[error("{0}")]
    Status(String),
    /// Settings that are wrong, all of them at once.
    #[error("Validation Failed: {0}")]
    Settings(Items),
    /// A request that is wrong as a whole.
    #[error("Validation Failed: {0}")]
    Request(Items),
    /// A value outside the list of those that are known.
    #[error("{0}")]
    Argument(String),
    /// A body that is not the JSON it should be.
    #[error("{0}")]
    Json(String),
}

impl Refusal {
    pub(crate) fn status(reason: impl Into<String>) -> Self {
        Self::Status(reason.into())
    }

    pub(crate) fn argument(reason: impl Into<String>) -> Self {
        Self::Argument(reason.into())
    }

    /// One item that refuses the whole request.
    pub(crate) fn request(item: impl Into<String>) -> Self {
        Self::Request(Items::one(item))
    }

    pub(crate) const fn kind(&self) -> ErrorType {
        match self {
            Self::Status(_) => ErrorType::Status,
            Self::Settings(_) => ErrorType::Validation,
            Self::Request(_) => ErrorType::ActionRequestValidation,
            Self::Argument(_) => ErrorType::IllegalArgument,
            Self::Json(_) => ErrorType::XContentParse,
        }
    }
}

/// What is wrong, numbered as Elasticsearch numbers it: `1: a;2: b;`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Items(Vec<String>);

impl Items {
    pub(crate) fn one(item: impl Into<String>) -> Self {
        Self(vec![item.into()])
    }

    pub(crate) fn push(&mut self, item: impl Into<String>) {
        self.0.push(item.into());
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// `value` when nothing was found wrong with it.
    pub(crate) fn or_refuse<T>(self, value: T) -> Result<T, Refusal> {
        if self.0.is_empty() { Ok(value) } else { Err(Refusal::Settings(self)) }
    }
}

impl fmt::Display for Items {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            write!(formatter, "{}: {item};", index + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_repeats_the_error_as_its_own_root_cause() {
        insta::assert_snapshot!(
            serde_json::to_string(&Envelope::new(400, ErrorType::Status, "no such task")).unwrap(),
            @r#"{"error":{"root_cause":[{"type":"status_exception","reason":"no such task"}],"type":"status_exception","reason":"no such task"},"status":400}"#
        );
    }

    #[test]
    fn items_are_numbered_without_a_blank_between_them() {
        let mut items = Items::one("a");
        items.push("b");
        assert_eq!(items.or_refuse(()).unwrap_err().to_string(), "Validation Failed: 1: a;2: b;");
        assert_eq!(Items::default().or_refuse(7), Ok(7));
    }
}
