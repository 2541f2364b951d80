//! Requests for an endpoint that has no allocation to work on them: they wait here, a bounded number of them,
//! until one is ready or their time is over. This waiting is the demand that will wake an endpoint from zero.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::directory::EndpointKey;

pub(crate) struct Hold {
    /// How many wait, by endpoint. Touched only by requests that have to wait.
    waiting: Mutex<HashMap<EndpointKey, usize>>,
    limit: usize,
}

/// One waiting request.
pub(crate) struct Held<'a> {
    hold: &'a Hold,
    key: &'a EndpointKey,
}

/// As many requests wait as may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full {
    pub(crate) limit: usize,
}

impl Hold {
    pub(crate) fn new(limit: usize) -> Self {
        Self { waiting: Mutex::default(), limit }
    }

    pub(crate) fn wait<'a>(&'a self, key: &'a EndpointKey) -> Result<Held<'a>, Full> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(key.clone()).or_default();
        if *count >= self.limit {
            return Err(Full { limit: self.limit });
        }
        *count += 1;
        Ok(Held { hold: self, key })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut waiting = self.hold.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(self.key) {
            *count -= 1;
            // Ids come and go; a map that only grows would be a leak.
            if *count == 0 {
                waiting.remove(self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_its_own_bound() {
        let hold = Hold::new(2);
        let (a, b) = (EndpointKey::new("n", "a"), EndpointKey::new("n", "b"));
        let first = hold.wait(&a).unwrap_or_else(|full| panic!("{full:?}"));
        let _second = hold.wait(&a);
        assert_eq!(hold.wait(&a).err(), Some(Full { limit: 2 }));
        assert!(hold.wait(&b).is_ok());
        drop(first);
        assert!(hold.wait(&a).is_ok());
    }

    #[test]
    fn nothing_is_kept_of_endpoints_that_nobody_waits_for() {
        let hold = Hold::new(2);
        drop(hold.wait(&EndpointKey::new("n", "a")));
        assert!(hold.waiting.lock().unwrap().is_empty());
    }
}
