//! Whether a proposed number may be carried out now. PURE.

use jiff::{SignedDuration, Timestamp};

use super::{COOLDOWN, Checked, Decision, Reason, keep};

/// The proposal, or the current number with what holds it.
pub(super) fn unless_held(
    proposed: Decision,
    observed: Checked<'_>,
    last_scale_up: Option<Timestamp>,
    now: Timestamp,
) -> Decision {
    let current = observed.desired;
    let Decision { replicas, message, .. } = &proposed;
    if *replicas == current {
        return proposed;
    }
    // The original's assignment is then not started yet.
    if observed.ready == 0 {
        let held = format!("would be {replicas}, but no allocation is ready; {message}");
        return keep(current, Reason::Cooldown, held);
    }
    if *replicas > current {
        return proposed;
    }
    let starting = observed.starting;
    if starting > 0 {
        let held = format!("would be {replicas}, but of its allocations {starting} still start; {message}");
        return keep(current, Reason::Cooldown, held);
    }
    let left = cooldown_left(last_scale_up, observed.youngest, now);
    if left.is_positive() {
        let seconds = left.as_secs_f64().ceil();
        let held = format!("would be {replicas}, but {seconds:.0} s of cooldown are left; {message}");
        return keep(current, Reason::Cooldown, held);
    }
    proposed
}

/// Counted from the latest scale-up, and from when the youngest allocation began to serve: somebody else may have scaled.
fn cooldown_left(last_scale_up: Option<Timestamp>, youngest: Option<f64>, now: Timestamp) -> SignedDuration {
    let cooldown = SignedDuration::try_from(COOLDOWN).unwrap_or_default();
    let scaled = last_scale_up.map(|time| now.duration_since(time));
    let started = youngest.and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok());
    scaled.into_iter().chain(started).min().map_or(SignedDuration::ZERO, |age| cooldown - age)
}
