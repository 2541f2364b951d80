//! Namespaces separate tenants. The gateway's own namespace answers at `/`, any other under
//! `/namespaces/{namespace}`, a prefix that official clients take as part of a server's URL. It is cut off
//! before routing, so that every route exists for every tenant.

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{Extensions, Request};
use lexiscale_core::name::is_dns_label;

use super::Gateway;
use super::error::Error;
use super::page::Unslashed;

const PREFIX: &str = "/namespaces/";

/// The namespace that a path names, as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Named(String);

/// The namespace that a request is about, one that this gateway serves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Tenant(pub(crate) String);

impl FromRequestParts<Gateway> for Tenant {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Error> {
        Self::of(&parts.extensions, gateway)
    }
}

impl Tenant {
    /// The one that a request names.
    pub(crate) fn of(extensions: &Extensions, gateway: &Gateway) -> Result<Self, Error> {
        let own = &gateway.settings.namespace;
        match extensions.get::<Named>() {
            None => Ok(Self(own.clone())),
            Some(Named(name)) if !is_dns_label(name) => Err(Error::BadNamespace { name: shortened(name) }),
            Some(Named(name)) if name == own || gateway.settings.all_namespaces => Ok(Self(name.clone())),
            Some(Named(name)) => Err(Error::ForeignNamespace { name: name.clone() }),
        }
    }
}

/// A path as the router knows it: without the tenant, which goes with the request, and without slashes at the
/// end, which Elasticsearch's router does not see.
pub(crate) fn routable<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path();
    let (namespace, rest) = split(path);
    let rest = match rest.trim_end_matches('/') {
        "" => "/",
        trimmed => trimmed,
    };
    if rest.len() == path.len() {
        return request;
    }
    let text = match request.uri().query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    let named = namespace.map(|name| Named(name.to_owned()));
    let is_bare = named.is_some() && !path.ends_with('/') && rest == "/";
    let mut parts = request.uri().clone().into_parts();
    if let Ok(path_and_query) = PathAndQuery::try_from(text) {
        parts.path_and_query = Some(path_and_query);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
            if let Some(named) = named {
                if is_bare {
                    request.extensions_mut().insert(Unslashed(named.0.clone()));
                }
                request.extensions_mut().insert(named);
            }
        }
    }
    request
}

/// A path as its namespace and what is behind it.
fn split(path: &str) -> (Option<&str>, &str) {
    let Some(named) = path.strip_prefix(PREFIX) else { return (None, path) };
    match named.find('/') {
        Some(end) => (Some(&named[..end]), &named[end..]),
        None => (Some(named), "/"),
    }
}

/// What came from outside is told back only as far as it helps.
fn shortened(name: &str) -> String {
    name.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(uri: &'static str) -> (String, Option<String>) {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_static(uri);
        let request = routable(request);
        let named = request.extensions().get::<Named>().map(|Named(name)| name.clone());
        (request.uri().to_string(), named)
    }

    #[test]
    fn slashes_at_the_end_do_not_count() {
        for (uri, expected) in [
            ("/_inference/a/", "/_inference/a"),
            ("/_inference//?pretty", "/_inference?pretty"),
            ("/", "/"),
            ("/a?b=/", "/a?b=/"),
        ] {
            assert_eq!(routed(uri), (expected.to_owned(), None));
        }
    }

    #[test]
    fn the_tenant_is_cut_off_the_path() {
        for (uri, expected) in [
            ("/namespaces/a", "/"),
            ("/namespaces/a/", "/"),
            ("/namespaces/a/_inference/b/?pretty", "/_inference/b?pretty"),
            ("/namespaces/a/namespaces/b", "/namespaces/b"),
        ] {
            assert_eq!(routed(uri), (expected.to_owned(), Some("a".to_owned())), "{uri}");
        }
        assert_eq!(routed("/namespaces//x"), ("/x".to_owned(), Some(String::new())));
    }
}
