//! Which right a request needs, from its method and route. PURE.

use http::Method;

use super::api_key::Verb;
use crate::gateway::elastic::id::EVERY;

/// What a request needs beyond credentials.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    /// Nothing: it is about no endpoint.
    Login,
    Right(Access),
}

/// A right, as RBAC has it: a verb on the inferenceendpoints of a namespace, or on one of them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Access {
    pub(crate) verb: Verb,
    pub(crate) namespace: String,
    /// The endpoint as the path names it.
    pub(crate) id: Option<String>,
    /// The endpoint as Kubernetes names it.
    pub(crate) object: Option<String>,
}

/// The verb for a route; none for what is about no endpoint. A method that no route offers needs the right
/// that fewest have.
pub(crate) fn need(method: &Method, route: &str, id: Option<&str>) -> Option<Verb> {
    if route == "/" || route.starts_with("/_inference/_services") {
        return None;
    }
    let is_update = route.ends_with("/_update");
    Some(match *method {
        Method::GET | Method::HEAD => match id {
            Some(id) if !EVERY.contains(&id) => Verb::Get,
            Some(_) | None => Verb::List,
        },
        Method::POST if is_update => Verb::Update,
        Method::POST => Verb::Infer,
        Method::PUT if !is_update => Verb::Create,
        Method::DELETE => Verb::Delete,
        _ => Verb::Update,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_follows_from_method_and_route() {
        let table = [
            (Method::GET, "/", None, None),
            (Method::HEAD, "/", None, None),
            (Method::GET, "/_inference/_services/{task_type}", None, None),
            (Method::GET, "/_inference", None, Some(Verb::List)),
            (Method::GET, "/_inference/{id}", Some("_all"), Some(Verb::List)),
            (Method::HEAD, "/_inference/{id}", Some("a"), Some(Verb::Get)),
            (Method::PUT, "/_inference/{task_type}/{id}", Some("a"), Some(Verb::Create)),
            (Method::PUT, "/_inference/{id}/_update", Some("a"), Some(Verb::Update)),
            (Method::POST, "/_inference/{id}/_update", Some("a"), Some(Verb::Update)),
            (Method::DELETE, "/_inference/{id}", Some("a"), Some(Verb::Delete)),
            (Method::POST, "/_inference/{id}", Some("_all"), Some(Verb::Infer)),
            (Method::POST, "/_inference/{id}/_chunk", Some("a"), Some(Verb::Infer)),
            (Method::POST, "/tei/{id}/embed_sparse", Some("a"), Some(Verb::Infer)),
            (Method::GET, "/tei/{id}/info", Some("a"), Some(Verb::Get)),
            (Method::PATCH, "/_inference/{id}", Some("a"), Some(Verb::Update)),
        ];
        for (method, route, id, expected) in table {
            assert_eq!(need(&method, route, id), expected, "{method} {route}");
        }
    }
}
