//! Task types that Elasticsearch knows. Only `sparse_embedding` is served; the others are known so that the
//! refusal can say so.

use std::fmt;

use super::error::Refusal;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TaskTypeName {
    TextEmbedding,
    SparseEmbedding,
    Embedding,
    Rerank,
    Completion,
    ChatCompletion,
    Any,
}

impl TaskTypeName {
    const ALL: [Self; 7] = [
        Self::TextEmbedding,
        Self::SparseEmbedding,
        Self::Embedding,
        Self::Rerank,
        Self::Completion,
        Self::ChatCompletion,
        Self::Any,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TextEmbedding => "text_embedding",
            Self::SparseEmbedding => "sparse_embedding",
            Self::Embedding => "embedding",
            Self::Rerank => "rerank",
            Self::Completion => "completion",
            Self::ChatCompletion => "chat_completion",
            Self::Any => "any",
        }
    }

    /// Trimmed and in any case, as in Elasticsearch.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let wanted = text.trim();
        Self::ALL.into_iter().find(|name| name.as_str().eq_ignore_ascii_case(wanted)).ok_or_else(|| {
            Refusal::status(format!(
                "unknown task_type [{text}]; this server offers [{}]",
                Self::SparseEmbedding
            ))
        })
    }

    /// Whether a path with this task type means an endpoint of another.
    pub(crate) fn matches(self, stored: Self) -> bool {
        self == Self::Any || self == stored
    }
}

impl fmt::Display for TaskTypeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl From<lexiscale_crds::TaskType> for TaskTypeName {
    fn from(stored: lexiscale_crds::TaskType) -> Self {
        match stored {
            lexiscale_crds::TaskType::SparseEmbedding => Self::SparseEmbedding,
        }
    }
}

/// The type that path and body name: one of them, or both the same.
pub(crate) fn agreed(
    path: Option<TaskTypeName>,
    body: Option<TaskTypeName>,
) -> Result<TaskTypeName, Refusal> {
    match (path, body) {
        (None, None) => {
            Err(Refusal::status("missing required [task_type]: name it in the path or in the body"))
        }
        (Some(task), None) | (None, Some(task)) => Ok(task),
        (Some(path), Some(body)) if path == body => Ok(path),
        (Some(path), Some(body)) => Err(Refusal::status(format!(
            "[task_type] of the path is [{path}] and does not match [task_type] of the body, [{body}]"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_and_ignores_case() {
        assert_eq!(TaskTypeName::parse(" Sparse_Embedding "), Ok(TaskTypeName::SparseEmbedding));
        assert_eq!(TaskTypeName::parse("ANY"), Ok(TaskTypeName::Any));
        assert!(TaskTypeName::parse("sparse").unwrap_err().to_string().contains("[sparse]"));
    }

    #[test]
    fn any_matches_everything_and_nothing_else_does() {
        assert!(TaskTypeName::Any.matches(TaskTypeName::SparseEmbedding));
        assert!(!TaskTypeName::Rerank.matches(TaskTypeName::SparseEmbedding));
    }
}
