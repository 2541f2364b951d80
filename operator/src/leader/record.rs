//! What stands in the Lease, and whether it may be taken. PURE.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease as LeaseObject, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};

use super::{DURATION, Lease};

/// The version of the Lease that was seen last, and when it was seen first.
#[derive(Debug, Default)]
pub(super) struct Sighting(Option<(String, Instant)>);

/// What to do about a Lease that one wants.
#[derive(Debug, PartialEq)]
pub(super) enum Claim {
    Create(LeaseObject),
    Replace(LeaseObject),
    Wait,
}

impl Sighting {
    /// How long this version has been there, as far as we know.
    fn age(&mut self, version: &str, instant: Instant) -> Duration {
        match &self.0 {
            Some((seen, since)) if seen == version => instant.saturating_duration_since(*since),
            Some(_) | None => {
                self.0 = Some((version.to_owned(), instant));
                Duration::ZERO
            }
        }
    }
}

pub(super) fn holder(object: &LeaseObject) -> Option<&str> {
    object.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// Decides about the Lease as it was just seen.
pub(super) fn claim(
    seen: Option<&LeaseObject>,
    lease: &Lease,
    sighting: &mut Sighting,
    instant: Instant,
    time: Timestamp,
) -> Claim {
    let Some(seen) = seen else {
        let metadata = ObjectMeta {
            name: Some(lease.name.clone()),
            namespace: Some(lease.namespace.clone()),
            ..ObjectMeta::default()
        };
        return Claim::Create(taken(metadata, lease, 0, time));
    };
    let age = sighting.age(seen.metadata.resource_version.as_deref().unwrap_or_default(), instant);
    let transitions = seen.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
    if holder(seen).is_none() || age > term(seen) {
        Claim::Replace(taken(seen.metadata.clone(), lease, transitions.saturating_add(1), time))
    } else {
        Claim::Wait
    }
}

/// The Lease for another term.
pub(super) fn renewed(held: &LeaseObject, lease: &Lease, time: Timestamp) -> LeaseObject {
    let mut object = held.clone();
    let spec = object.spec.get_or_insert_default();
    spec.holder_identity = Some(lease.holder.clone());
    spec.renew_time = Some(MicroTime(time));
    object
}

/// The Lease for anybody.
pub(super) fn released(held: &LeaseObject, time: Timestamp) -> LeaseObject {
    let mut object = held.clone();
    let spec = object.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.renew_time = Some(MicroTime(time));
    object
}

fn taken(metadata: ObjectMeta, lease: &Lease, transitions: i32, time: Timestamp) -> LeaseObject {
    let spec = LeaseSpec {
        holder_identity: Some(lease.holder.clone()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: Some(MicroTime(time)),
        renew_time: Some(MicroTime(time)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    LeaseObject { metadata, spec: Some(spec) }
}

/// The holder's own idea of the duration: it may be of another version.
fn term(seen: &LeaseObject) -> Duration {
    let seconds = seen.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str) -> Lease {
        Lease { name: "controller".to_owned(), namespace: "system".to_owned(), holder: holder.to_owned() }
    }

    fn stored(holder: &str, version: &str) -> LeaseObject {
        let mut object = taken(ObjectMeta::default(), &lease(holder), 3, Timestamp::UNIX_EPOCH);
        object.metadata.resource_version = Some(version.to_owned());
        object
    }

    fn decide(seen: &LeaseObject, sighting: &mut Sighting, instant: Instant) -> Claim {
        claim(Some(seen), &lease("me"), sighting, instant, Timestamp::UNIX_EPOCH)
    }

    /// Two leaders write over each other.
    #[test]
    fn a_lease_that_is_renewed_is_never_taken() {
        let (mut sighting, start) = (Sighting::default(), Instant::now());
        for second in 0..60 {
            let seen = stored("other", &second.to_string());
            assert_eq!(decide(&seen, &mut sighting, start + Duration::from_secs(second)), Claim::Wait);
        }
    }

    /// The times in the Lease are another machine's; only how long we have seen no change counts.
    #[test]
    fn a_silent_holder_is_replaced_after_the_duration_on_our_own_clock() {
        let (mut sighting, start) = (Sighting::default(), Instant::now());
        let seen = stored("other", "1");
        assert_eq!(decide(&seen, &mut sighting, start), Claim::Wait);
        assert_eq!(decide(&seen, &mut sighting, start + Duration::from_secs(9)), Claim::Wait);
        let Claim::Replace(taken) = decide(&seen, &mut sighting, start + Duration::from_secs(10)) else {
            panic!("the holder has been silent for longer than its term");
        };
        assert_eq!(holder(&taken), Some("me"));
        assert_eq!(taken.spec.unwrap().lease_transitions, Some(4));
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("1"), "guards against another taker");
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let seen = released(&stored("other", "1"), Timestamp::UNIX_EPOCH);
        assert_eq!(holder(&seen), None);
        assert!(matches!(decide(&seen, &mut Sighting::default(), Instant::now()), Claim::Replace(_)));
    }
}
