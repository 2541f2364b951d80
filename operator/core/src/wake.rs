//! Waking an endpoint that sleeps at zero allocations: what gateways and controller have to agree on. PURE.
//!
//! A gateway annotates the object with the time of its request; the controller wakes the endpoint and notes that time in its
//! decision. Whether a wake-up is still to be answered is a comparison for equality: the two clocks may differ by any amount
//! and no wake-up is lost.

use jiff::Timestamp;
use lexiscale_crds::InferenceEndpoint;

use crate::labels::WAKE_REQUESTED_AT;

/// Where an endpoint stands between zero and serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// It has allocations, or is to have some.
    Awake,
    /// It has none, and nobody has asked for one.
    Asleep,
    /// It has none, and somebody has asked: the controller is about to answer.
    Asked,
}

/// Reads an endpoint's object.
pub fn sleep(endpoint: &InferenceEndpoint) -> Sleep {
    let status = endpoint.status.as_ref();
    let decision = status.and_then(|status| status.decision.as_ref());
    // What an operator reported that remembered no decisions.
    let was_at_zero = || {
        let adaptive = endpoint.spec.service_settings.adaptive_allocations.as_ref();
        let allocations = status.and_then(|status| status.allocations);
        adaptive.is_some_and(lexiscale_crds::AdaptiveAllocations::is_enabled)
            && allocations.is_some_and(|allocations| allocations.desired == 0)
    };
    let is_at_zero = decision.map_or_else(was_at_zero, |decision| decision.allocations == 0);
    let noted = decision.and_then(|decision| Some(decision.wake_requested_at.as_ref()?.0));
    match is_at_zero {
        false => Sleep::Awake,
        true if is_unanswered(requested_at(endpoint), noted) => Sleep::Asked,
        true => Sleep::Asleep,
    }
}

/// When a wake-up was asked for, if ever. What is no time says nothing, so that a slip of a hand cannot silence the gateways.
pub fn requested_at(endpoint: &InferenceEndpoint) -> Option<Timestamp> {
    let text = endpoint.metadata.annotations.as_ref()?.get(WAKE_REQUESTED_AT)?;
    Some(in_microseconds(text.parse().ok()?))
}

/// Whether the decision that noted `noted` has not yet answered the wake-up of `requested`.
pub fn is_unanswered(requested: Option<Timestamp>, noted: Option<Timestamp>) -> bool {
    requested.is_some() && requested != noted
}

/// What to annotate an endpoint with, to wake it: now, and in any case another time than the one that was noted.
pub fn request(endpoint: &InferenceEndpoint, now: Timestamp) -> String {
    let decision = endpoint.status.as_ref().and_then(|status| status.decision.as_ref());
    let noted = decision.and_then(|decision| Some(decision.wake_requested_at.as_ref()?.0));
    let now = in_microseconds(now);
    let step = jiff::SignedDuration::from_micros(1);
    if noted == Some(now) { now.saturating_add(step).unwrap_or(now) } else { now }.to_string()
}

/// As the status stores it.
pub(crate) fn in_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn endpoint(annotation: &str, decision: &Value) -> InferenceEndpoint {
        let annotations =
            if annotation.is_empty() { json!({}) } else { json!({WAKE_REQUESTED_AT: annotation}) };
        serde_json::from_value(json!({
            "metadata": {"name": "search", "annotations": annotations},
            "spec": {"taskType": "sparse_embedding", "service": "elser", "serviceSettings": {
                "numThreads": 1, "adaptiveAllocations": {"enabled": true}}},
            "status": {"decision": decision, "allocations": {"desired": 0, "current": 0, "ready": 0}},
        }))
        .unwrap()
    }

    fn decided(allocations: i32, noted: Option<&str>) -> Value {
        json!({"allocations": allocations, "reason": "Idle", "message": "m", "time": "2026-01-01T12:00:00Z", "wakeRequestedAt": noted})
    }

    const EARLY: &str = "2026-01-01T11:00:00.123456Z";
    const LATE: &str = "2026-01-01T13:00:00Z";

    #[test]
    fn a_wake_up_counts_once_whatever_the_clocks_say() {
        let table = [
            ("", decided(0, None), Sleep::Asleep),
            ("", decided(0, Some(EARLY)), Sleep::Asleep),
            (EARLY, decided(0, Some(EARLY)), Sleep::Asleep),
            ("2026-01-01T11:00:00.123456789Z", decided(0, Some(EARLY)), Sleep::Asleep),
            ("2026-01-01T12:00:00.123456+01:00", decided(0, Some(EARLY)), Sleep::Asleep),
            (EARLY, decided(0, None), Sleep::Asked),
            (LATE, decided(0, Some(EARLY)), Sleep::Asked),
            (EARLY, decided(0, Some(LATE)), Sleep::Asked),
            ("yesterday", decided(0, None), Sleep::Asleep),
            (LATE, decided(1, Some(EARLY)), Sleep::Awake),
            ("", Value::Null, Sleep::Asleep),
            (EARLY, Value::Null, Sleep::Asked),
        ];
        for (annotation, decision, expected) in table {
            assert_eq!(sleep(&endpoint(annotation, &decision)), expected, "{annotation} {decision}");
        }
    }

    #[test]
    fn a_new_request_is_never_the_one_that_was_noted() {
        for noted in [None, Some(EARLY), Some(LATE)] {
            let mut asleep = endpoint("", &decided(0, noted));
            let written = request(&asleep, EARLY.parse().unwrap());
            asleep.metadata.annotations = Some([(WAKE_REQUESTED_AT.to_owned(), written)].into());
            assert_eq!(sleep(&asleep), Sleep::Asked, "{noted:?}");
        }
    }
}
