//! The last step of a pass: one status write if it differs, and an event if it is news.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Resource,
    runtime::events::{Event, EventType},
};
use lexiscale_core::{
    identity::Identity,
    status::{Notice, Tone, notices},
};
use lexiscale_crds::{InferenceEndpoint, InferenceEndpointStatus, ModelCache, ModelCacheStatus};

use super::{context::Context, error::Error};

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
    let tone = tone(status.last_failure.is_some() && status.last_failure != before.last_failure);
    tell(context, object, &before.conditions, &status.conditions, tone).await;
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
    let tone = tone(status.last_failure.is_some() && status.last_failure != before.last_failure);
    tell(context, object, &before.conditions, &status.conditions, tone).await;
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
    let reference = object.object_ref(&());
    for Notice { tone, reason, message } in notices(before, after, otherwise) {
        let event = Event {
            type_: match tone {
                Tone::Normal => EventType::Normal,
                Tone::Warning => EventType::Warning,
            },
            note: Some(shortened(&message).to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
            reason,
        };
        // The status says the same; an event that could not be told must not fail the pass.
        if let Err(error) = context.recorder.publish(&event, &reference).await {
            tracing::debug!(%error, reason = event.reason, "failed to publish an event");
        }
    }
}

fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(LONGEST_NOTE)]
}
