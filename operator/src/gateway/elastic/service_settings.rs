//! `service_settings`: the model, its allocations and their threads. All that is wrong comes as one list, in
//! the order in which Elasticsearch lists it.

use lexiscale_crds::{Service, ServiceSettings};

use super::adaptive::AdaptiveChange;
use super::attached;
use super::error::{Items, Refusal};
use super::json::Object;
use super::settings_reader::{Read, SettingsReader};

pub(crate) const SCOPE: &str = "service_settings";

/// What a request asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) settings: ServiceSettings,
    /// What stands beside a `deployment_id` and has no effect there.
    pub(crate) beside: Object,
}

pub(crate) fn parse(service: Service, object: Object) -> Result<Asked, Refusal> {
    if attached::is_asked_for(&object) {
        return attached::parse(service, object);
    }
    let settings = own_deployment(service, object)?;
    Ok(Asked { settings, beside: Object::default() })
}

fn own_deployment(service: Service, object: Object) -> Result<ServiceSettings, Refusal> {
    let mut settings = SettingsReader::new(SCOPE, object);

    let num_allocations = settings.integer("num_allocations");
    let adaptive_given = settings.object("adaptive_allocations");
    // Go's typed client cannot leave a number out, so it sends 0 beside adaptive allocations.
    let num_allocations = match num_allocations {
        Read::Given(0) if is_enabled(&adaptive_given) => Read::Absent,
        other => positive(&mut settings, "num_allocations", other),
    };
    let num_threads = settings.integer("num_threads");
    let num_threads = threads(&mut settings, num_threads);
    let adaptive_allocations = AdaptiveChange::read(&mut settings, adaptive_given).map(AdaptiveChange::fresh);
    let model_id = settings.string("model_id");
    let model_id = non_empty(&mut settings, "model_id", model_id);
    let is_adaptive = adaptive_allocations.is_some_and(|adaptive| adaptive.is_enabled());
    if num_allocations.given().is_none() && !is_adaptive {
        settings.refuse(
            "must contain [num_allocations], at least 1, or [adaptive_allocations] with [enabled] true: one of the two is required",
        );
    }
    // One that is good is attached::parse's.
    let deployment_id = settings.string("deployment_id");
    non_empty(&mut settings, "deployment_id", deployment_id);

    let (unknown, items) = settings.finish();
    items.or_refuse(())?;
    if num_allocations.given().is_some() && is_adaptive {
        return Err(number_beside_adaptive());
    }
    refuse_first_elser(model_id.as_deref())?;
    if service == Service::Elasticsearch && model_id.is_none() {
        return Err(Refusal::status(
            "[service_settings] does not contain the required setting [model_id], for example [.elser_model_2]",
        ));
    }
    refuse_unknown(&unknown, service)?;
    Ok(ServiceSettings {
        num_allocations: num_allocations.given(),
        num_threads: num_threads.given(),
        model_id,
        adaptive_allocations,
        deployment_id: None,
    })
}

/// A key at the top or in `service_settings` that no service knows.
pub(crate) fn refuse_unknown(left: &Object, service: Service) -> Result<(), Refusal> {
    if left.is_empty() {
        return Ok(());
    }
    Err(Refusal::status(format!(
        "the configuration contains settings {} that are unknown to the [{}] service",
        left.listed(),
        service_name(service)
    )))
}

pub(crate) const fn service_name(service: Service) -> &'static str {
    match service {
        Service::Elasticsearch => "elasticsearch",
        Service::Elser => "elser",
    }
}

/// More threads than any node has CPUs: such an allocation would wait for a node for ever.
pub(crate) fn refuse_threads_above(largest_node: i32, settings: &ServiceSettings) -> Result<(), Refusal> {
    match settings.num_threads {
        Some(threads) if threads > largest_node => Err(Refusal::Settings(Items::one(format!(
            "[{SCOPE}] [num_threads] of [{threads}] must not exceed the [{largest_node}] allocatable CPUs of the largest node"
        )))),
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn number_beside_adaptive() -> Refusal {
    Refusal::request(
        "[number_of_allocations] cannot be set while adaptive allocations are enabled; remove [num_allocations]",
    )
}

fn is_enabled(adaptive: &Read<Object>) -> bool {
    match adaptive {
        Read::Given(object) => object
            .entries()
            .iter()
            .any(|(key, value)| key == "enabled" && *value == super::json::Json::Bool(true)),
        Read::Absent | Read::Refused => false,
    }
}

pub(crate) fn positive(settings: &mut SettingsReader, key: &str, read: Read<i32>) -> Read<i32> {
    match read {
        Read::Given(value) if value <= 0 => {
            settings.refuse(format!("invalid value [{value}]: [{key}] must be a positive integer"));
            Read::Refused
        }
        other => other,
    }
}

fn threads(settings: &mut SettingsReader, read: Read<i32>) -> Read<i32> {
    match positive(settings, "num_threads", read) {
        Read::Absent => {
            settings.refuse("does not contain the required setting [num_threads]");
            Read::Refused
        }
        Read::Given(value) if value > 32 || !value.cast_unsigned().is_power_of_two() => {
            settings.refuse(format!(
                "invalid value [{value}]: [num_threads] (threads_per_allocation) must be a power of 2 from 1 to 32"
            ));
            Read::Refused
        }
        other => other,
    }
}

pub(super) fn non_empty(settings: &mut SettingsReader, key: &str, read: Read<String>) -> Option<String> {
    let text = read.given()?;
    if text.trim().is_empty() {
        settings.refuse(format!("invalid value empty string: [{key}] must be a non-empty string"));
        return None;
    }
    Some(text)
}

pub(super) fn refuse_first_elser(model_id: Option<&str>) -> Result<(), Refusal> {
    match model_id {
        Some(id @ ".elser_model_1") => Err(Refusal::argument(format!(
            "there is no model [{id}] on this platform; use the platform-agnostic [.elser_model_2]"
        ))),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use lexiscale_crds::AdaptiveAllocations;

    use super::*;
    use crate::gateway::elastic::error::ErrorType;

    fn parse_text(service: Service, text: &str) -> Result<ServiceSettings, Refusal> {
        parse(service, Object::parse(text.as_bytes()).unwrap()).map(|asked| asked.settings)
    }

    #[test]
    fn reads_the_settings_of_the_seed_page() {
        assert_eq!(
            parse_text(Service::Elser, r#"{"num_allocations":1,"num_threads":1}"#).unwrap(),
            ServiceSettings { num_allocations: Some(1), num_threads: Some(1), ..ServiceSettings::default() }
        );
        let adaptive = parse_text(
            Service::Elser,
            r#"{"adaptive_allocations":{"enabled":true,"min_number_of_allocations":3,"max_number_of_allocations":10},"num_threads":1}"#,
        );
        assert_eq!(
            adaptive.unwrap().adaptive_allocations,
            Some(AdaptiveAllocations {
                enabled: Some(true),
                min_number_of_allocations: Some(3),
                max_number_of_allocations: Some(10)
            })
        );
    }

    /// B8: stored as it is, -1 would be a minimum that is neither unset nor zero, and the endpoint would
    /// never sleep.
    #[test]
    fn minus_one_is_unset() {
        let settings = parse_text(
            Service::Elser,
            r#"{"adaptive_allocations":{"enabled":true,"min_number_of_allocations":-1,"max_number_of_allocations":-1},"num_threads":1}"#,
        );
        let expected = AdaptiveAllocations { enabled: Some(true), ..AdaptiveAllocations::default() };
        assert_eq!(settings.unwrap().adaptive_allocations, Some(expected));
    }

    #[test]
    fn zero_allocations_beside_enabled_adaptive_ones_are_absent() {
        let settings = parse_text(
            Service::Elser,
            r#"{"num_allocations":0,"adaptive_allocations":{"enabled":true},"num_threads":1}"#,
        );
        assert_eq!(settings.unwrap().num_allocations, None);
    }

    #[test]
    fn disabled_adaptive_allocations_may_stand_beside_a_number() {
        let settings = parse_text(
            Service::Elser,
            r#"{"num_allocations":2,"adaptive_allocations":{"enabled":false},"num_threads":4}"#,
        );
        assert_eq!(settings.unwrap().num_allocations, Some(2));
    }

    #[test]
    fn everything_wrong_comes_at_once_and_in_order() {
        let refusal = parse_text(
            Service::Elasticsearch,
            r#"{"model_id":"","adaptive_allocations":{"enabled":"yes","min_number_of_allocations":4,"max_number_of_allocations":2,"mean":1},
               "num_threads":3,"num_allocations":0,"deployment_id":""}"#,
        );
        insta::assert_snapshot!(refusal.unwrap_err().to_string().replace(';', ";\n"));
    }

    #[test]
    fn each_rule_has_its_type() {
        let adaptive_on = r#""adaptive_allocations":{"enabled":true}"#;
        let table = [
            (r#"{"num_allocations":1}"#.to_owned(), ErrorType::Validation),
            (r#"{"num_allocations":-1,"num_threads":1}"#.to_owned(), ErrorType::Validation),
            (r#"{"num_allocations":1,"num_threads":0}"#.to_owned(), ErrorType::Validation),
            (r#"{"num_allocations":1,"num_threads":64}"#.to_owned(), ErrorType::Validation),
            (r#"{"num_allocations":1,"num_threads":2.0}"#.to_owned(), ErrorType::Validation),
            (r#"{"num_allocations":1,"num_threads":"2"}"#.to_owned(), ErrorType::Validation),
            (r#"{"num_allocations":3000000000,"num_threads":2}"#.to_owned(), ErrorType::Validation),
            (r#"{"num_threads":1}"#.to_owned(), ErrorType::Validation),
            (r#"{"adaptive_allocations":{},"num_threads":1}"#.to_owned(), ErrorType::Validation),
            (
                r#"{"adaptive_allocations":{"enabled":false},"num_threads":1}"#.to_owned(),
                ErrorType::Validation,
            ),
            (r#"{"adaptive_allocations":[],"num_threads":1}"#.to_owned(), ErrorType::Validation),
            (
                r#"{"adaptive_allocations":{"enabled":true,"min_number_of_allocations":-2},"num_threads":1}"#
                    .to_owned(),
                ErrorType::Validation,
            ),
            (
                r#"{"adaptive_allocations":{"enabled":true,"max_number_of_allocations":0},"num_threads":1}"#
                    .to_owned(),
                ErrorType::Validation,
            ),
            (
                format!(r#"{{"num_allocations":1,{adaptive_on},"num_threads":1}}"#),
                ErrorType::ActionRequestValidation,
            ),
            (r#"{"num_allocations":1,"num_threads":1,"rate_limit":{}}"#.to_owned(), ErrorType::Status),
            (
                r#"{"num_allocations":1,"num_threads":1,"model_id":".elser_model_1"}"#.to_owned(),
                ErrorType::IllegalArgument,
            ),
        ];
        for (text, expected) in table {
            let refusal = parse_text(Service::Elser, &text).unwrap_err();
            assert_eq!(refusal.kind(), expected, "{text}: {refusal}");
        }
        let missing_model = parse_text(Service::Elasticsearch, r#"{"num_allocations":1,"num_threads":1}"#);
        assert_eq!(missing_model.unwrap_err().kind(), ErrorType::Status);
    }

    #[test]
    fn threads_are_bounded_by_the_largest_node() {
        let settings = ServiceSettings { num_threads: Some(4), ..ServiceSettings::default() };
        assert!(refuse_threads_above(4, &settings).is_ok());
        assert!(refuse_threads_above(2, &settings).unwrap_err().to_string().contains("[2] allocatable"));
    }
}
