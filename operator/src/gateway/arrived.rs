//! An inference request that is read and admitted, whatever its shape.

use axum::body::Bytes;
use axum::extract::Request;
use http::HeaderMap;
use tokio::time::timeout_at;

use super::Gateway;
use super::admission::{Admitted, Began};
use super::dispatch::too_late;
use super::elastic::query::{Own, Query};
use super::error::Error;
use super::metrics::Rejection;
use super::request::{self, Target};

pub(crate) struct Arrived {
    pub(crate) query: Query,
    pub(crate) admitted: Admitted,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Arrived {
    pub(crate) async fn read(
        gateway: &Gateway,
        target: &Target,
        own: &[Own],
        request: Request,
    ) -> Result<Self, Error> {
        let query = request::query(request.uri(), own)?;
        let (parts, body) = request.into_parts();
        let began = Began::of(&parts.extensions);
        let deadline = gateway.deadline(began, query.timeout, gateway.settings.infer_timeout);
        let body = timeout_at(deadline.at, request::body(&parts, body, &gateway.settings))
            .await
            .map_err(|_| too_late(&target.id, deadline, "the request body"))??;
        // After the body, or slow clients would hold the places of all others.
        let admitted = gateway.admission.admit(&target.tenant, deadline);
        let admitted = admitted.inspect_err(|_| gateway.metrics.rejected(Rejection::Requests))?;
        Ok(Self { query, admitted, headers: parts.headers, body })
    }
}
