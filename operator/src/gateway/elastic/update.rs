//! The body of `PUT _inference/{id}/_update`, and what it makes of a stored endpoint. Only the number of allocations,
//! adaptive allocations and chunking can change.

use lexiscale_crds::{ChunkingSettings, InferenceEndpointSpec, Service};

use super::adaptive::{AdaptiveChange, mean_the_same};
use super::chunking_settings;
use super::create::{object, string};
use super::error::Refusal;
use super::json::Object;
use super::service_settings::{self, number_beside_adaptive, positive, refuse_unknown, service_name};
use super::settings_reader::SettingsReader;
use super::task_type::{self, TaskTypeName};

/// What a client asks to change. What it does not name stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Update {
    task: TaskTypeName,
    service: Option<String>,
    num_allocations: Option<i32>,
    adaptive: Option<AdaptiveChange>,
    chunking: Option<ChunkingSettings>,
}

/// What is known of an endpoint's allocations beyond its spec.
pub(crate) struct Known<'a> {
    /// How many run now.
    pub(crate) live: Option<i32>,
    /// Whether a client was lately told of this number.
    pub(crate) was_shown: &'a dyn Fn(i32) -> bool,
}

pub(crate) fn parse(path_task: Option<TaskTypeName>, body: &[u8]) -> Result<Update, Refusal> {
    let mut body = Object::parse(body)?;
    if body.is_empty() {
        return Err(Refusal::status(
            "the body is empty; [service_settings] or [chunking_settings] is needed",
        ));
    }
    let body_task = string(&mut body, "task_type")?;
    let service = string(&mut body, "service")?;
    let settings = object(&mut body, "service_settings")?;
    // Sparse models have no task settings: dropped unread, as on create.
    object(&mut body, "task_settings")?;
    let chunking = object(&mut body, "chunking_settings")?;
    if !body.is_empty() {
        return Err(Refusal::status(format!(
            "the body contains fields {} that cannot be updated; remove them",
            body.listed()
        )));
    }
    let task = task_type(path_task, body_task.as_deref())?;
    let (num_allocations, adaptive) = settings.map(read_settings).transpose()?.unwrap_or_default();
    let chunking = chunking.map(chunking_settings::parse).transpose()?.map(|accepted| accepted.settings);
    Ok(Update { task, service, num_allocations, adaptive, chunking })
}

/// `any` in the path names no task type, and one has to be named.
fn task_type(path: Option<TaskTypeName>, body: Option<&str>) -> Result<TaskTypeName, Refusal> {
    let path = path.filter(|task| *task != TaskTypeName::Any);
    let body = body.map(TaskTypeName::parse).transpose()?;
    if body == Some(TaskTypeName::Any) {
        return Err(Refusal::status("[task_type] type [any] is not valid when an endpoint is updated"));
    }
    task_type::agreed(path, body)
}

fn read_settings(object: Object) -> Result<(Option<i32>, Option<AdaptiveChange>), Refusal> {
    let mut settings = SettingsReader::new(service_settings::SCOPE, object);
    let num_allocations = settings.integer("num_allocations");
    let num_allocations = positive(&mut settings, "num_allocations", num_allocations);
    let adaptive = settings.object("adaptive_allocations");
    let adaptive = AdaptiveChange::read(&mut settings, adaptive);
    for key in ["num_threads", "model_id", "deployment_id"] {
        if settings.has(key) {
            settings
                .refuse(format!("[{key}] cannot be changed by an update, and must not be in one; remove it"));
        }
    }
    let (unknown, items) = settings.finish();
    items.or_refuse(())?;
    refuse_unknown(&unknown, Service::Elasticsearch)?;
    Ok((num_allocations.given(), adaptive))
}

impl Update {
    /// The spec after the update. It equals the stored one when the update changes nothing.
    pub(crate) fn apply(
        &self,
        stored: &InferenceEndpointSpec,
        known: &Known<'_>,
    ) -> Result<InferenceEndpointSpec, Refusal> {
        self.refuse_another(stored)?;
        let mut spec = stored.clone();
        if let Some(chunking) = self.chunking.clone() {
            spec.chunking_settings = replaced(stored.chunking_settings.as_ref(), chunking);
        }
        if self.num_allocations.is_none() && self.adaptive.is_none() {
            return Ok(spec);
        }
        let settings = &mut spec.service_settings;
        if let Some(change) = self.adaptive {
            let after = change.apply(settings.adaptive_allocations)?;
            if !mean_the_same(settings.adaptive_allocations.unwrap_or_default(), after) {
                settings.adaptive_allocations = Some(after);
            }
        }
        let stored_number = settings.num_allocations;
        settings.num_allocations =
            if settings.adaptive_allocations.is_some_and(|adaptive| adaptive.is_enabled()) {
                // Clients send back what they read: GET shows the live number, also where nobody may set one.
                if let Some(number) = self.num_allocations
                    && Some(number) != stored_number
                    && Some(number) != known.live
                    && !(known.was_shown)(number)
                {
                    return Err(number_beside_adaptive());
                }
                None
            } else {
                // Switched off without a number, adaptive allocations stay as many as they were, as in Elasticsearch.
                self.num_allocations.or(stored_number).or(Some(known.live.unwrap_or(1).max(1)))
            };
        Ok(spec)
    }

    fn refuse_another(&self, stored: &InferenceEndpointSpec) -> Result<(), Refusal> {
        let task = TaskTypeName::from(stored.task_type);
        if self.task != task {
            return Err(Refusal::status(format!(
                "the endpoint has task type [{task}], the request asks for [{}]",
                self.task
            )));
        }
        let service = service_name(stored.service);
        match self.service.as_deref() {
            Some(asked) if asked != service => Err(Refusal::status(format!(
                "the service of an endpoint cannot be changed: it is [{service}], the request says [{}]",
                super::json::short_text(asked)
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

/// As a whole; but settings that say nothing are none.
fn replaced(stored: Option<&ChunkingSettings>, chunking: ChunkingSettings) -> Option<ChunkingSettings> {
    if stored.is_none() && chunking == ChunkingSettings::default() { None } else { Some(chunking) }
}

#[cfg(test)]
mod tests;
