//! Something of which there is only so much for all requests together: places, or bytes. Where several tenants share it, each
//! may have at most four times what is left free (decision 028). So one alone has four fifths of it, and however much others
//! have, somebody who comes anew finds room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How many times what is free one tenant may have.
const TIMES_FREE: usize = 4;

/// Among whom it is shared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Among {
    /// Whoever comes is of the one tenant there is.
    One,
    Tenants,
}

#[derive(Debug)]
pub(crate) struct Shares {
    limit: usize,
    among: Among,
    taken: AtomicUsize,
    /// Of those who have something.
    of_tenants: Mutex<HashMap<String, Arc<AtomicUsize>>>,
}

/// What one request has of it; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    all: Arc<Shares>,
    of_tenant: Option<Arc<AtomicUsize>>,
    own: AtomicUsize,
}

/// Why nothing more is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NoRoom {
    #[error("all of it is taken")]
    AtAll,
    #[error("the tenant has its share")]
    ForTenant,
}

impl Shares {
    pub(crate) fn new(limit: usize, among: Among) -> Arc<Self> {
        Arc::new(Self { limit, among, taken: AtomicUsize::new(0), of_tenants: Mutex::default() })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Nothing yet.
    pub(crate) fn begin(self: &Arc<Self>, tenant: &str) -> Share {
        let of_tenant = match self.among {
            Among::One => None,
            Among::Tenants => Some(self.of(tenant)),
        };
        Share { all: Arc::clone(self), of_tenant, own: AtomicUsize::new(0) }
    }

    fn of(&self, tenant: &str) -> Arc<AtomicUsize> {
        let mut of_tenants = self.of_tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_tenant) = of_tenants.get(tenant) {
            return Arc::clone(of_tenant);
        }
        of_tenants.retain(|_, of_tenant| Arc::strong_count(of_tenant) > 1);
        Arc::clone(of_tenants.entry(tenant.to_owned()).or_default())
    }
}

impl Share {
    pub(crate) fn limit(&self) -> usize {
        self.all.limit
    }

    pub(crate) fn take(&self, more: usize) -> Result<(), NoRoom> {
        let Shares { limit, taken, .. } = &*self.all;
        if let Some(of_tenant) = &self.of_tenant {
            let free = limit.saturating_sub(taken.load(Ordering::Relaxed));
            // What is taken at once may be no more than what could be taken one by one.
            let most = free.saturating_sub(more.saturating_sub(1)).saturating_mul(TIMES_FREE);
            // Several who ask at once may get a little more than this: what must hold exactly is the limit of all.
            let fits = |had: usize| had.checked_add(more).filter(|has| *has <= most);
            let raised = of_tenant.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
            raised.map_err(|_| if more > free { NoRoom::AtAll } else { NoRoom::ForTenant })?;
        }
        let fits = |taken: usize| taken.checked_add(more).filter(|taken| taken <= limit);
        if taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            if let Some(of_tenant) = &self.of_tenant {
                of_tenant.fetch_sub(more, Ordering::Relaxed);
            }
            return Err(NoRoom::AtAll);
        }
        self.own.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what is above `most`.
    pub(crate) fn shrink(&self, most: usize) {
        let surplus = self.own.fetch_min(most, Ordering::Relaxed).saturating_sub(most);
        self.give_back(surplus);
    }

    fn give_back(&self, less: usize) {
        self.all.taken.fetch_sub(less, Ordering::Relaxed);
        if let Some(of_tenant) = &self.of_tenant {
            of_tenant.fetch_sub(less, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let own = *self.own.get_mut();
        self.give_back(own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As much as there is, one at a time.
    fn fill(shares: &Arc<Shares>, tenant: &str) -> Vec<Share> {
        std::iter::from_fn(|| {
            let share = shares.begin(tenant);
            share.take(1).ok().map(|()| share)
        })
        .collect()
    }

    #[test]
    fn one_tenant_that_is_the_only_one_has_all() {
        let shares = Shares::new(10, Among::One);
        let all = fill(&shares, "a");
        assert_eq!(all.len(), 10);
        assert_eq!(shares.begin("b").take(1), Err(NoRoom::AtAll));
        drop(all);
        assert_eq!(fill(&shares, "b").len(), 10);
        assert!(shares.of_tenants.lock().unwrap().is_empty());
    }

    /// Whoever fills the gateway fills it for themselves.
    #[test]
    fn who_comes_anew_finds_room_whatever_others_have() {
        let shares = Shares::new(1000, Among::Tenants);
        let greedy = fill(&shares, "greedy");
        assert_eq!(greedy.len(), 800);
        assert_eq!(shares.begin("greedy").take(1), Err(NoRoom::ForTenant));
        let second = fill(&shares, "second");
        let third = fill(&shares, "third");
        assert_eq!((second.len(), third.len()), (160, 32));
        assert!(shares.begin("fourth").take(1).is_ok());
        // What the first gives back is there for those who have less.
        drop(greedy);
        assert!(fill(&shares, "third").len() > 600);
    }

    /// Or one body that fits would be all that fits.
    #[test]
    fn who_takes_much_at_once_gets_no_more_than_who_takes_it_bit_by_bit() {
        let shares = Shares::new(1000, Among::Tenants);
        let share = shares.begin("greedy");
        assert_eq!(share.take(801), Err(NoRoom::ForTenant));
        assert_eq!(share.take(800), Ok(()));
        assert_eq!(shares.begin("second").take(161), Err(NoRoom::ForTenant));
        assert_eq!(shares.begin("second").take(160), Ok(()));
    }

    #[test]
    fn even_the_smallest_limit_lets_somebody_in() {
        let shares = Shares::new(1, Among::Tenants);
        let first = shares.begin("a");
        assert_eq!(first.take(1), Ok(()));
        assert_eq!(shares.begin("b").take(1), Err(NoRoom::AtAll));
    }

    #[test]
    fn what_is_given_back_in_part_is_free_again() {
        for among in [Among::One, Among::Tenants] {
            let shares = Shares::new(10, among);
            let share = shares.begin("a");
            share.take(6).unwrap();
            share.shrink(2);
            share.shrink(5);
            assert_eq!(shares.taken.load(Ordering::Relaxed), 2);
            drop(share);
            assert_eq!(shares.taken.load(Ordering::Relaxed), 0);
        }
    }

    /// Anybody may name namespaces that do not exist.
    #[test]
    fn tenants_that_have_nothing_are_forgotten() {
        let shares = Shares::new(10, Among::Tenants);
        for tenant in 0..100 {
            shares.begin(&tenant.to_string()).take(1).unwrap();
        }
        assert_eq!(shares.of_tenants.lock().unwrap().len(), 1);
    }
}
