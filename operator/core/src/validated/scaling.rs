//! `spec.deployment.scaling` as a policy. PURE.

use std::{ops::RangeInclusive, time::Duration};

use jiff::SignedDuration;
use lexiscale_crds::{ScalingMode, ScalingSettings, ScalingStart};

use super::{Allocations, Invalid};
use crate::scaling::{Law, Policy, elasticsearch, slo};

const LATENCY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);
const IDLE: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(8760);
const PERCENTILE: RangeInclusive<i32> = 50..=99;
const DEFAULT_PERCENTILE: i32 = 99;
const STANDBY: RangeInclusive<i32> = 0..=32;

/// The policy of an adaptive endpoint; none where the number is fixed.
pub(super) fn policy(
    allocations: Allocations,
    settings: Option<&ScalingSettings>,
) -> Result<Option<Policy>, Invalid> {
    let bounds = match (allocations, settings) {
        (Allocations::Adaptive(bounds), _) => bounds,
        (Allocations::Fixed(_), Some(_)) => return Err(Invalid::ScalingOfFixed),
        (Allocations::Fixed(_), None) => return Ok(None),
    };
    let Some(settings) = settings else {
        let scale_to_zero_time = elasticsearch::SCALE_TO_ZERO_TIME;
        return Ok(Some(Policy { bounds, scale_to_zero_time, law: Law::Elasticsearch }));
    };
    let idle =
        duration("scaleToZeroTime", settings.scale_to_zero_time.as_deref(), &IDLE, "from 1m to 8760h")?;
    let law = match settings.mode.unwrap_or_default() {
        ScalingMode::Elasticsearch => Law::Elasticsearch,
        ScalingMode::Slo => Law::Slo(goal(settings)?),
    };
    let scale_to_zero_time = idle.unwrap_or(elasticsearch::SCALE_TO_ZERO_TIME);
    Ok(Some(Policy { bounds, scale_to_zero_time, law }))
}

/// The allocations that are asked for, with when they start.
pub(super) fn start(
    allocations: Allocations,
    settings: Option<&ScalingSettings>,
) -> Result<Allocations, Invalid> {
    let start = settings.and_then(|settings| settings.start).unwrap_or_default();
    match (start, allocations) {
        (ScalingStart::OnRequest, Allocations::Adaptive(bounds)) => {
            bounds.on_request().map(Allocations::Adaptive).ok_or_else(|| Invalid::Scaling {
                field: "start",
                given: "on_request".to_owned(),
                bounds: "immediately where minNumberOfAllocations is above 0",
            })
        }
        (ScalingStart::OnRequest, Allocations::Fixed(_)) | (ScalingStart::Immediately, _) => Ok(allocations),
    }
}

/// Allocations that are kept warm.
pub(super) fn standby(settings: Option<&ScalingSettings>) -> Result<u32, Invalid> {
    let count = settings.and_then(|settings| settings.standby).unwrap_or(0);
    within("standby", count, &STANDBY, "from 0 to 32").map(i32::unsigned_abs)
}

fn goal(settings: &ScalingSettings) -> Result<slo::Goal, Invalid> {
    let latency = duration("targetLatency", settings.target_latency.as_deref(), &LATENCY, "from 1ms to 1h")?;
    let percentile = settings.target_percentile.unwrap_or(DEFAULT_PERCENTILE);
    let percentile = within("targetPercentile", percentile, &PERCENTILE, "from 50 to 99")?;
    Ok(slo::Goal { latency: latency.ok_or(Invalid::NoTargetLatency)?, share: f64::from(percentile) / 100.0 })
}

fn within(
    field: &'static str,
    given: i32,
    range: &RangeInclusive<i32>,
    bounds: &'static str,
) -> Result<i32, Invalid> {
    if range.contains(&given) {
        Ok(given)
    } else {
        Err(Invalid::Scaling { field, given: given.to_string(), bounds })
    }
}

fn duration(
    field: &'static str,
    given: Option<&str>,
    range: &RangeInclusive<Duration>,
    bounds: &'static str,
) -> Result<Option<Duration>, Invalid> {
    let Some(text) = given else { return Ok(None) };
    let read = text.parse::<SignedDuration>().ok().and_then(|duration| duration.try_into().ok());
    match read.filter(|duration| range.contains(duration)) {
        Some(duration) => Ok(Some(duration)),
        None => Err(Invalid::Scaling { field, given: text.to_owned(), bounds }),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use serde_json::{Value, json};

    use super::*;
    use crate::validated::AllocationBounds;

    fn bounds() -> AllocationBounds {
        AllocationBounds::new(0, 4).unwrap()
    }

    fn read(settings: Value) -> Result<Option<Policy>, Invalid> {
        let settings: ScalingSettings = serde_json::from_value(settings).unwrap();
        policy(Allocations::Adaptive(bounds()), Some(&settings))
    }

    #[test]
    fn nothing_said_is_elasticsearchs_rule_and_a_day() {
        let absent = policy(Allocations::Adaptive(bounds()), None).unwrap().unwrap();
        assert_eq!((absent.law, absent.scale_to_zero_time), (Law::Elasticsearch, Duration::from_hours(24)));
        assert_eq!(read(json!({})).unwrap().unwrap(), absent);
    }

    #[test]
    fn a_goal_is_read_with_its_units() {
        let slo = json!({"mode": "slo", "targetLatency": "1s500ms", "targetPercentile": 95, "scaleToZeroTime": "1h30m"});
        let policy = read(slo).unwrap().unwrap();
        let goal = slo::Goal { latency: Duration::from_millis(1500), share: 0.95 };
        assert_eq!((policy.law, policy.scale_to_zero_time), (Law::Slo(goal), Duration::from_mins(90)));
    }

    /// An object that was stored under other rules must stall with a reason, and not scale by a guess.
    #[test]
    fn what_the_api_server_would_refuse_is_refused_here_too() {
        let fixed = Allocations::Fixed(NonZeroU32::MIN);
        assert_eq!(policy(fixed, None), Ok(None));
        assert_eq!(policy(fixed, Some(&ScalingSettings::default())), Err(Invalid::ScalingOfFixed));
        assert_eq!(read(json!({"mode": "slo"})), Err(Invalid::NoTargetLatency));
        for wrong in [
            json!({"mode": "slo", "targetLatency": "0s"}),
            json!({"mode": "slo", "targetLatency": "soon"}),
            json!({"mode": "slo", "targetLatency": "1s", "targetPercentile": 100}),
            json!({"scaleToZeroTime": "59s"}),
            json!({"scaleToZeroTime": "-1h"}),
        ] {
            let said = read(wrong.clone()).unwrap_err().to_string();
            assert!(
                said.starts_with("deployment.scaling.") && said.contains("must be from"),
                "{wrong}: {said}"
            );
        }
        let late = ScalingSettings { start: Some(ScalingStart::OnRequest), ..ScalingSettings::default() };
        let two = Allocations::Adaptive(AllocationBounds::new(2, 4).unwrap());
        let said = start(two, Some(&late)).unwrap_err().to_string();
        assert!(said.starts_with("deployment.scaling.start is on_request"), "{said}");
        let many = ScalingSettings { standby: Some(33), ..ScalingSettings::default() };
        assert!(standby(Some(&many)).is_err());
    }
}
