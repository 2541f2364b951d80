//! `deployment_id`: an endpoint that is attached to the deployment of another one. Only it and `model_id` are read;
//! Elasticsearch ignores everything else in silence. Here a mistyped key is refused, and a known one whose value is not
//! the one in force is named in a warning.

use lexiscale_crds::{AdaptiveAllocations, InferenceEndpoint, Service, ServiceSettings};

use super::adaptive::{AdaptiveChange, mean_the_same};
use super::error::Refusal;
use super::json::{Json, Object};
use super::service_settings::{Asked, SCOPE, non_empty, refuse_first_elser, refuse_unknown};
use super::settings_reader::{Read, SettingsReader};

/// Those of the deployment, whatever the request says.
const BESIDE: [&str; 3] = ["num_allocations", "num_threads", "adaptive_allocations"];

/// An empty id, or one that is no text, is refused with whatever else is wrong with the settings.
pub(crate) fn is_asked_for(settings: &Object) -> bool {
    settings.entries().iter().any(|(key, value)| {
        key == "deployment_id" && matches!(value, Json::String(id) if !id.trim().is_empty())
    })
}

pub(crate) fn parse(service: Service, mut object: Object) -> Result<Asked, Refusal> {
    let taken = BESIDE.into_iter().filter_map(|key| Some((key.to_owned(), object.take(key)?)));
    let beside = Object::from_entries(taken.collect());
    let mut settings = SettingsReader::new(SCOPE, object);
    let model_id = settings.string("model_id");
    let model_id = non_empty(&mut settings, "model_id", model_id);
    let deployment_id = settings.string("deployment_id").given();
    let (unknown, items) = settings.finish();
    items.or_refuse(())?;
    refuse_first_elser(model_id.as_deref())?;
    refuse_unknown(&unknown, service)?;
    Ok(Asked { settings: ServiceSettings { model_id, deployment_id, ..ServiceSettings::default() }, beside })
}

/// The model of an endpoint, where it is known: service `elser` leaves the choice to the operator.
pub(crate) fn model_of(endpoint: &InferenceEndpoint) -> Option<&str> {
    let chosen = endpoint.status.as_ref().and_then(|status| status.model.as_ref());
    endpoint.spec.service_settings.model_id.as_deref().or(chosen.map(|model| model.id.as_str()))
}

/// A sentence for each value that is not the one in force, safe for a header.
pub(crate) fn differences(beside: &Object, deployment_id: &str, in_force: &ServiceSettings) -> Vec<String> {
    let ServiceSettings { num_allocations, num_threads, adaptive_allocations, model_id: _, deployment_id: _ } =
        in_force;
    let number = |number: Option<i32>| number.map_or_else(|| "unset".to_owned(), |number| number.to_string());
    let differs = |(key, value): &(String, Json)| {
        let (is_same, shown) = match key.as_str() {
            "num_allocations" => (is_number(value, *num_allocations), number(*num_allocations)),
            "num_threads" => (is_number(value, *num_threads), number(*num_threads)),
            _ => (are(value, *adaptive_allocations), adaptive_text(*adaptive_allocations)),
        };
        (!is_same).then(|| {
            format!(
                "[{key}] has no effect beside [deployment_id]: deployment [{deployment_id}] has [{shown}]."
            )
        })
    };
    beside.entries().iter().filter_map(differs).collect()
}

fn is_number(value: &Json, in_force: Option<i32>) -> bool {
    matches!(value, Json::Number(number) if number.as_i64() == in_force.map(i64::from))
}

fn are(value: &Json, in_force: Option<AdaptiveAllocations>) -> bool {
    let Json::Object(object) = value else { return false };
    let mut settings = SettingsReader::new(SCOPE, Object::default());
    let asked = AdaptiveChange::read(&mut settings, Read::Given(object.clone()));
    settings.finish().1.or_refuse(()).is_ok()
        && asked.is_some_and(|asked| mean_the_same(asked.fresh(), in_force.unwrap_or_default()))
}

fn adaptive_text(in_force: Option<AdaptiveAllocations>) -> String {
    let Some(adaptive) = in_force else { return "unset".to_owned() };
    let bound =
        |name: &str, bound: Option<i32>| bound.map(|bound| format!(", {name}={bound}")).unwrap_or_default();
    format!(
        "enabled={}{}{}",
        adaptive.is_enabled(),
        bound("min_number_of_allocations", adaptive.min_number_of_allocations),
        bound("max_number_of_allocations", adaptive.max_number_of_allocations)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::elastic::error::ErrorType;

    fn asked(text: &str) -> Result<Asked, Refusal> {
        let object = Object::parse(text.as_bytes()).unwrap();
        assert!(is_asked_for(&object));
        parse(Service::Elasticsearch, object)
    }

    #[test]
    fn neither_a_model_nor_threads_are_needed() {
        let settings = asked(r#"{"deployment_id":"holder"}"#).unwrap().settings;
        let deployment_id = Some("holder".to_owned());
        assert_eq!(settings, ServiceSettings { deployment_id, ..ServiceSettings::default() });
    }

    /// B6.
    #[test]
    fn known_keys_are_accepted_whatever_they_hold_and_unknown_ones_are_not() {
        let beside = asked(r#"{"deployment_id":"holder","num_threads":"many","num_allocations":null}"#)
            .unwrap()
            .beside;
        assert_eq!(beside.listed(), "{num_threads=many}");
        let table = [
            (r#"{"deployment_id":"holder","num_thread":1}"#, ErrorType::Status, "num_thread=1"),
            (r#"{"deployment_id":"holder","model_id":""}"#, ErrorType::Validation, "[model_id]"),
            (
                r#"{"deployment_id":"holder","model_id":".elser_model_1"}"#,
                ErrorType::IllegalArgument,
                "model",
            ),
        ];
        for (text, kind, part) in table {
            let refusal = asked(text).unwrap_err();
            assert_eq!(refusal.kind(), kind, "{text}: {refusal}");
            assert!(refusal.to_string().contains(part), "{text}: {refusal}");
        }
        for text in ["{}", r#"{"deployment_id":" "}"#, r#"{"deployment_id":7}"#, r#"{"deployment_id":null}"#]
        {
            assert!(!is_asked_for(&Object::parse(text.as_bytes()).unwrap()), "{text}");
        }
    }

    #[test]
    fn what_differs_from_the_deployment_is_named_with_the_value_in_force() {
        let fixed =
            ServiceSettings { num_allocations: Some(2), num_threads: Some(1), ..ServiceSettings::default() };
        let adaptive = ServiceSettings {
            num_threads: Some(1),
            adaptive_allocations: Some(AdaptiveAllocations {
                enabled: Some(true),
                min_number_of_allocations: None,
                max_number_of_allocations: Some(4),
            }),
            ..ServiceSettings::default()
        };
        let told = |beside: &str, in_force| {
            differences(&Object::parse(beside.as_bytes()).unwrap(), "holder", in_force).join(" ")
        };
        assert_eq!(told(r#"{"num_allocations":2,"num_threads":1}"#, &fixed), "");
        assert_eq!(told(r#"{"adaptive_allocations":{"enabled":false}}"#, &fixed), "");
        insta::assert_snapshot!(told(r#"{"num_threads":"\n\"x","adaptive_allocations":{"enabled":true}}"#, &fixed),
            @"[num_threads] has no effect beside [deployment_id]: deployment [holder] has [1]. [adaptive_allocations] has no effect beside [deployment_id]: deployment [holder] has [unset].");
        insta::assert_snapshot!(told(r#"{"num_allocations":2,"adaptive_allocations":{"enabled":true,"max_number_of_allocations":5}}"#, &adaptive),
            @"[num_allocations] has no effect beside [deployment_id]: deployment [holder] has [unset]. [adaptive_allocations] has no effect beside [deployment_id]: deployment [holder] has [enabled=true, max_number_of_allocations=4].");
    }
}
