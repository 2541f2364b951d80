//! Who sends a request. This gateway lets everybody in; a NetworkPolicy or an ingress has to decide who
//! reaches it. Every handler asks for a [`Caller`] after the path is understood and before the body is read,
//! which is where credentials will be checked.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;

/// The sender of a request, admitted.
#[derive(Clone, Debug)]
pub(crate) struct Caller;

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self)
    }
}
