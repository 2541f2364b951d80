//! How many inference requests this gateway works on at once. What is above is refused at once: a queue
//! without an end only makes every client wait for an answer that comes too late.

use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use tokio::time::Instant;

use super::error::Error;
use super::shares::{Among, NoRoom, Share, Shares};
use super::tenancy::Tenant;

pub(crate) struct Admission {
    places: Arc<Shares>,
}

/// A request that may be worked on, and until when. Its pieces share its place.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) deadline: Deadline,
    _place: Arc<Share>,
}

/// A point in time, and the span that was asked for, which is what the client is told when it is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) timeout: Duration,
}

/// When a request came. It goes with the request, among its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began(pub(crate) Instant);

impl Began {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        *extensions.get().expect("whoever counts a request says when it came")
    }
}

impl Deadline {
    pub(crate) fn of(Began(began): Began, timeout: Duration) -> Self {
        Self { at: began + timeout, timeout }
    }
}

impl Admission {
    pub(crate) fn new(limit: usize, among: Among) -> Self {
        Self { places: Shares::new(limit, among) }
    }

    pub(crate) fn admit(&self, tenant: &Tenant, deadline: Deadline) -> Result<Admitted, Error> {
        let place = self.places.begin(&tenant.0);
        let limit = self.places.limit();
        place.take(1).map_err(|full| match full {
            NoRoom::AtAll => Error::TooManyRequests { limit },
            NoRoom::ForTenant => Error::TooManyOfTenant { namespace: tenant.0.clone(), limit },
        })?;
        Ok(Admitted { deadline, _place: Arc::new(place) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_told_that_others_need_their_part() {
        let admission = Admission::new(5, Among::Tenants);
        let deadline = Deadline::of(Began(Instant::now()), Duration::from_secs(1));
        let [greedy, other] = ["greedy", "other"].map(|name| Tenant(name.to_owned()));
        let _places: Vec<_> = (0..4).map(|_| admission.admit(&greedy, deadline).unwrap()).collect();
        let refused = admission.admit(&greedy, deadline).unwrap_err();
        assert!(matches!(&refused, Error::TooManyOfTenant { namespace, limit: 5 } if namespace == "greedy"));
        assert!(admission.admit(&other, deadline).is_ok());
    }

    #[tokio::test]
    async fn a_place_is_free_again_once_its_request_is_done() {
        let admission = Admission::new(1, Among::One);
        let tenant = Tenant("a".to_owned());
        let deadline = Deadline::of(Began(Instant::now()), Duration::from_secs(1));
        let admitted = admission.admit(&tenant, deadline).unwrap();
        assert!(matches!(admission.admit(&tenant, deadline), Err(Error::TooManyRequests { limit: 1 })));
        drop(admitted);
        assert!(admission.admit(&tenant, deadline).is_ok());
    }
}
