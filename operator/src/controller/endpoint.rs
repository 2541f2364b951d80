//! One pass over an `InferenceEndpoint`: observe, validate, plan, apply, report.

use std::time::Duration;

use jiff::Timestamp;
use lexiscale_core::{identity::Identity, plan, status, validated::ValidatedEndpoint};
use lexiscale_crds::InferenceEndpoint;

use super::{context::Context, error::Error, observe, outcome::Outcome, report};
use crate::clock::now;

/// Collecting the children of a deleted namesake takes the garbage collector about that long.
const CLEANUP: Duration = Duration::from_secs(2);

/// A moment more than what is left, so that it is over by then.
fn until_then(now: Timestamp, until: Timestamp) -> Duration {
    until.duration_since(now).try_into().unwrap_or(Duration::ZERO) + Duration::from_millis(100)
}

pub(super) async fn reconcile(object: &InferenceEndpoint, context: &Context) -> Result<Outcome, Error> {
    let Some(observed) = Box::pin(observe::endpoint(context, object)).await? else {
        return Ok(Outcome::Gone);
    };
    // One moment for the whole pass: what it decides and what it reports have the same time.
    let now = now();
    let endpoint = &observed.endpoint;
    let identity = Identity::of(endpoint, "InferenceEndpoint")?;
    if let Some(deployment_id) = &endpoint.spec.service_settings.deployment_id {
        let (peers, catalog) = (&observed.peers, &context.settings.catalog);
        let status = status::attached::status(endpoint, deployment_id, peers, catalog, now);
        report::endpoint(context, &identity, endpoint, &status).await?;
        return Ok(Outcome::Settled);
    }
    let validated = match ValidatedEndpoint::new(endpoint, &observed.peers, &context.settings.catalog) {
        Ok(validated) => validated,
        Err(invalid) => {
            let status = status::endpoint::of_invalid(&observed, &invalid, now);
            report::endpoint(context, &identity, endpoint, &status).await?;
            return Ok(Outcome::Invalid);
        }
    };
    let proposal = context.proposals.of(&identity);
    let mut plan = plan::endpoint::plan(&validated, &observed, &context.settings, proposal.as_ref(), now);
    let rejections = context.applier.carry_out(&identity, &plan.writes).await?;
    plan.standby.refused = context.applier.resize(&identity, &plan.standby.resizes).await?;
    let status = status::endpoint::of_plan(&validated, &observed, &plan, &rejections, now);
    report::endpoint(context, &identity, endpoint, &status).await?;
    let is_accepted = rejections.is_empty() && plan.standby.refused.is_none();
    let outcome = match (is_accepted, plan.leftovers.is_empty()) {
        (false, _) => Outcome::after_rejection(),
        (true, false) => Outcome::Waiting(CLEANUP),
        (true, true) => Outcome::Settled,
    };
    // It measures when nobody asks anything of it, and no event says that it has.
    let unmeasured = observed.sizing_asked.as_ref().filter(|_| observed.sizing_told.is_none());
    let outcome = outcome.at_the_latest(unmeasured.and_then(|asked| asked.again));
    Ok(outcome.at_the_latest(plan.standby.until.map(|until| until_then(now, until))))
}
