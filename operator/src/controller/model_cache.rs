//! One pass over a `ModelCache`: observe, validate, plan, apply, report.

use std::time::Duration;

use jiff::Timestamp;
use lexiscale_core::{
    download::{State, Step},
    identity::Identity,
    plan::{
        self,
        model_cache::{CachePlan, ValidatedCache},
    },
    status,
};
use lexiscale_crds::ModelCache;

use super::{context::Context, error::Error, observe, outcome::Outcome, report};
use crate::clock::now;

/// How often a running download is asked how far it is, which is also how often its status is written at most.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// From remembering that a volume is of no use to doing without it.
const FALL_BACK_INTERVAL: Duration = Duration::from_secs(1);

/// How often an unused cache asks whether its room is needed.
const EVICTION_INTERVAL: Duration = Duration::from_mins(1);

pub(super) async fn reconcile(object: &ModelCache, context: &Context) -> Result<Outcome, Error> {
    let Some(observed) = observe::model_cache(context, object).await? else {
        return Ok(Outcome::Gone);
    };
    let cache = &observed.cache;
    let identity = Identity::of(cache, "ModelCache")?;
    let validated = match ValidatedCache::new(cache, &context.settings) {
        Ok(validated) => validated,
        Err(invalid) => {
            let status = status::model_cache::of_invalid(&observed, &invalid, now());
            report::model_cache(context, &identity, cache, &status).await?;
            return Ok(Outcome::Invalid);
        }
    };
    let plan = plan::model_cache::plan(&validated, &observed, &context.settings, now());
    let rejections = context.applier.carry_out(&identity, &plan.writes).await?;
    if plan.is_eviction() {
        return Ok(Outcome::Gone);
    }
    let status = status::model_cache::of_plan(&observed, &plan, &rejections, now());
    report::model_cache(context, &identity, cache, &status).await?;
    let is_evictable = context.settings.cache_limit.is_some() && plan.users.is_empty();
    Ok(if rejections.is_empty() { outcome(&plan, is_evictable, now()) } else { Outcome::after_rejection() })
}

fn outcome(plan: &CachePlan, is_evictable: bool, now: Timestamp) -> Outcome {
    let running = plan.attempt.as_ref().is_some_and(|attempt| attempt.state == State::Running);
    if !plan.leftovers.is_empty() {
        return Outcome::Waiting(PROGRESS_INTERVAL);
    }
    let until = |at: Timestamp| Outcome::Waiting(at.duration_since(now).try_into().unwrap_or_default());
    let waiting = plan.attempt.as_ref().filter(|attempt| attempt.state == State::Waiting);
    let patience_ends = waiting.and_then(|attempt| attempt.mount.as_ref()?.patience_ends);
    match plan.step {
        Step::Watch if running => Outcome::Waiting(PROGRESS_INTERVAL),
        // Nothing happens to a pod that a node never starts.
        Step::Watch => patience_ends.map_or(Outcome::Settled, until),
        Step::RetryAt(at) => until(at),
        // The status that has just been written is what lets the next pass go on.
        Step::FallBack(_) => Outcome::Waiting(FALL_BACK_INTERVAL),
        Step::GiveUp | Step::NoRoom { .. } => Outcome::Invalid,
        // Nothing happens to an unused cache when another one needs its room.
        Step::Done(_) if is_evictable => Outcome::Waiting(EVICTION_INTERVAL),
        Step::AwaitClaim | Step::Done(_) | Step::Start { .. } | Step::Abandon => Outcome::Settled,
    }
}
