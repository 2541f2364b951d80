//! The last step of a pass: one status write if it differs, and an event if it is news.

use std::fmt::Debug;

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, Resource, ResourceExt,
    runtime::events::{Event, EventType},
};
use lexiscale_core::{
    identity::Identity,
    sizing,
    status::{self, Notice, Said, Tone, notices},
};
use lexiscale_crds::{Conditions, InferenceEndpoint, InferenceEndpointStatus, ModelCache, ModelCacheStatus};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    context::Context,
    error::{Error, chain},
    metrics::Kind,
};
use crate::clock::now;

/// What a pass does, in an event.
const RECONCILE: &str = "Reconcile";

/// Longest note of an event that the API server takes.
const LONGEST_NOTE: usize = 1024;

pub(super) async fn endpoint(
    context: &Context,
    owner: &Identity,
    object: &InferenceEndpoint,
    status: &InferenceEndpointStatus,
) -> Result<(), Error> {
    let before = object.status.clone().unwrap_or_default();
    if object.status.as_ref() == Some(status) {
        return Ok(());
    }
    context.applier.status::<InferenceEndpoint, _>(owner, status).await?;
    if let Some(durations) = status.durations.filter(|durations| before.durations != Some(*durations)) {
        context.metrics.became_ready(Kind::InferenceEndpoint, durations.phases());
    }
    let tone = tone(status.last_failure.is_some() && status.last_failure != before.last_failure);
    tell(context, object, &before.conditions, &status.conditions, tone).await;
    if let Some(notice) = sizing::too_little_memory(object, object.status.as_ref(), status) {
        publish(context, object, notice, RECONCILE.to_owned()).await;
    }
    if let Some((from, to, notice)) = status::scaled(before.decision.as_ref(), status.decision.as_ref()) {
        // The recorder tells equal actions once, with a count: one for each step keeps every number visible.
        publish(context, object, notice, format!("ScaleFrom{from}To{to}")).await;
    }
    Ok(())
}

pub(super) async fn model_cache(
    context: &Context,
    owner: &Identity,
    object: &ModelCache,
    status: &ModelCacheStatus,
) -> Result<(), Error> {
    let before = object.status.clone().unwrap_or_default();
    if object.status.as_ref() == Some(status) {
        return Ok(());
    }
    context.applier.status::<ModelCache, _>(owner, status).await?;
    if let Some(durations) = status.durations.filter(|durations| before.durations != Some(*durations)) {
        context.metrics.became_ready(Kind::ModelCache, durations.phases());
    }
    let tone = tone(status.last_failure.is_some() && status.last_failure != before.last_failure);
    tell(context, object, &before.conditions, &status.conditions, tone).await;
    Ok(())
}

/// A kind whose objects say when passes over them fail.
pub(super) trait Reported:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
    const KIND: &'static str;
    type Status: Serialize + Send + Sync;

    /// The status after a failed pass, if that is news, with its conditions.
    fn after_failed_pass(&self, said: Said) -> Option<(Self::Status, Vec<Condition>)>;
}

impl Reported for InferenceEndpoint {
    const KIND: &'static str = "InferenceEndpoint";
    type Status = InferenceEndpointStatus;

    fn after_failed_pass(&self, said: Said) -> Option<(Self::Status, Vec<Condition>)> {
        let status = status::endpoint::of_failed_pass(self, said, now())?;
        let conditions = status.conditions.clone();
        Some((status, conditions))
    }
}

impl Reported for ModelCache {
    const KIND: &'static str = "ModelCache";
    type Status = ModelCacheStatus;

    fn after_failed_pass(&self, said: Said) -> Option<(Self::Status, Vec<Condition>)> {
        let status = status::model_cache::of_failed_pass(self, said, now())?;
        let conditions = status.conditions.clone();
        Some((status, conditions))
    }
}

/// Says on an object that the pass over it failed. A first failure is mostly over with the first retry (a conflict, an API
/// server that restarts), so only the second in a row is told; `earlier` is how many there were. Best effort: what failed
/// the pass may fail this too, and the log has it in any case.
pub(super) async fn failed_pass<K>(context: &Context, object: &K, error: &Error, earlier: u32)
where
    K: Reported + Conditions,
{
    let Some(reason) = error.reason().filter(|_| earlier > 0) else { return };
    let said = Said::new(reason, format!("the last pass failed and is tried again: {}", chain(error)));
    let api: Api<K> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    // The object as it is now: the pass may have written a newer status than the one that it began with.
    let told = match api.get_opt(&object.name_any()).await {
        Ok(Some(current)) if current.meta().uid == object.meta().uid => {
            tell_failed_pass(context, &current, said.clone()).await
        }
        Ok(_) => return,
        Err(source) => Err(Error::Read { what: "the object", source }),
    };
    if let Err(report) = told {
        tracing::debug!(error = chain(&report), "failed to write the failure to the status");
        // Nothing remembers then that it was told, except the count.
        if earlier == 1 {
            publish(
                context,
                object,
                Notice { tone: Tone::Warning, reason: said.reason, message: said.message },
                RECONCILE.to_owned(),
            )
            .await;
        }
    }
}

async fn tell_failed_pass<K>(context: &Context, object: &K, said: Said) -> Result<(), Error>
where
    K: Reported + Conditions,
{
    let Some((status, conditions)) = object.after_failed_pass(said) else { return Ok(()) };
    let owner = Identity::of(object, K::KIND)?;
    context.applier.status::<K, _>(&owner, &status).await?;
    tell(context, object, object.conditions(), &conditions, Tone::Warning).await;
    Ok(())
}

/// Of news that is not a stall: a download that is tried again works, but not well.
fn tone(fails_anew: bool) -> Tone {
    if fails_anew { Tone::Warning } else { Tone::Normal }
}

async fn tell<K>(context: &Context, object: &K, before: &[Condition], after: &[Condition], otherwise: Tone)
where
    K: Resource<DynamicType = ()>,
{
    for notice in notices(before, after, otherwise) {
        publish(context, object, notice, RECONCILE.to_owned()).await;
    }
}

async fn publish<K>(context: &Context, object: &K, notice: Notice, action: String)
where
    K: Resource<DynamicType = ()>,
{
    let Notice { tone, reason, message } = notice;
    let event = Event {
        type_: match tone {
            Tone::Normal => EventType::Normal,
            Tone::Warning => EventType::Warning,
        },
        note: Some(shortened(&message).to_owned()),
        action,
        secondary: None,
        reason,
    };
    // The status says the same; an event that could not be told must not fail the pass.
    if let Err(error) = context.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::debug!(%error, reason = event.reason, "failed to publish an event");
    }
}

fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(LONGEST_NOTE)]
}
