//! The answer of `GET _inference/_services`, from which Kibana draws its forms. Only sparse embedding is
//! offered; the two threads are a form's suggestion, the API itself has no default and requires the value.

use super::task_type::TaskTypeName;

const SERVICES: &str = include_str!("services.json");

/// The services that offer a task; all of them for no task or `any`.
pub(crate) fn services(task: Option<TaskTypeName>) -> &'static str {
    if task.is_none_or(|task| task.matches(TaskTypeName::SparseEmbedding)) { SERVICES } else { "[]" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::elastic::json::Json;

    #[test]
    fn only_sparse_embedding_is_offered() {
        assert_eq!(services(None), services(Some(TaskTypeName::Any)));
        assert_eq!(services(Some(TaskTypeName::Rerank)), "[]");
        assert!(matches!(Json::parse(SERVICES.as_bytes()), Ok(Json::Array(list)) if list.len() == 1));
    }
}
