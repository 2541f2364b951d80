//! Attaching an endpoint to the deployment of another one: what has to be so before the object is made. The controller
//! checks it again, for objects that kubectl makes.

use std::sync::Arc;

use lexiscale_crds::{InferenceEndpoint, InferenceEndpointSpec};

use super::Gateway;
use super::directory::{Directory, EndpointKey, Entry};
use super::elastic::attached::{differences, model_of};
use super::elastic::json::{Object, short_text};
use super::error::Error;
use super::tenancy::Tenant;

/// Deployments that an error names as a way out.
const MOST_NAMED: usize = 3;

/// Refuses an id that other endpoints are attached to while there is no endpoint of that id: it would find them waiting.
pub(crate) fn refuse_taken_id(gateway: &Gateway, key: &EndpointKey) -> Result<(), Error> {
    let directory = gateway.directory();
    // One that exists is told so, which is the better answer.
    if directory.get(key).is_some() {
        return Ok(());
    }
    match directory.attached_to(key).next() {
        Some(by) => {
            Err(Error::DeploymentIdTaken { id: key.id.clone(), by: by.endpoint.inference_id().to_owned() })
        }
        None => Ok(()),
    }
}

/// What the answer has to warn of, once the endpoint may be attached.
pub(crate) fn check(
    gateway: &Gateway,
    tenant: &Tenant,
    spec: &InferenceEndpointSpec,
    beside: &Object,
) -> Result<Vec<String>, Error> {
    let settings = &spec.service_settings;
    let Some(deployment_id) = settings.deployment_id.as_deref() else { return Ok(Vec::new()) };
    let directory = gateway.directory();
    let asked = settings.model_id.as_deref();
    let Some(holder) = directory
        .get(&EndpointKey::new(&tenant.0, deployment_id))
        .map(|entry| &entry.endpoint)
        .filter(|endpoint| has_its_own(endpoint))
    else {
        if !directory.is_complete {
            return Err(Error::NotReady);
        }
        let deployment = short_text(deployment_id);
        // Not everybody may know of all of them.
        let others = match gateway.guard {
            None => others(&directory, tenant, asked),
            Some(_) => String::new(),
        };
        return Err(Error::NoDeployment { deployment, others });
    };
    if let (Some(asked), Some(serves)) = (asked, model_of(holder))
        && asked != serves
    {
        return Err(Error::OtherModel {
            deployment: deployment_id.to_owned(),
            asked: short_text(asked),
            serves: serves.to_owned(),
        });
    }
    Ok(differences(beside, deployment_id, &holder.spec.service_settings))
}

fn has_its_own(endpoint: &InferenceEndpoint) -> bool {
    endpoint.spec.service_settings.deployment_id.is_none()
}

/// The way out that the error names: deployments of the model that was asked for, or any.
fn others(directory: &Directory, tenant: &Tenant, asked: Option<&str>) -> String {
    let fits = |entry: &&Arc<Entry>| {
        has_its_own(&entry.endpoint) && (asked.is_none() || model_of(&entry.endpoint) == asked)
    };
    let ids: Vec<_> = directory
        .entries(&tenant.0)
        .filter(fits)
        .take(MOST_NAMED)
        .map(|entry| entry.endpoint.inference_id())
        .collect();
    if ids.is_empty() { String::new() } else { format!(", for example [{}]", ids.join(", ")) }
}
