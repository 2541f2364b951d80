use super::*;
use crate::gateway::elastic::create;
use crate::gateway::elastic::error::ErrorType;

const SPARSE: Option<TaskTypeName> = Some(TaskTypeName::SparseEmbedding);

const FIXED: &str = r#""num_allocations":2"#;
const ADAPTIVE: &str =
    r#""adaptive_allocations":{"enabled":true,"min_number_of_allocations":1,"max_number_of_allocations":4}"#;
const DISABLED: &str = r#""num_allocations":2,"adaptive_allocations":{"enabled":false}"#;

fn stored(allocations: &str) -> InferenceEndpointSpec {
    let body = format!(
        r#"{{"service":"elasticsearch","service_settings":{{"model_id":".elser_model_2","num_threads":1,{allocations}}}}}"#
    );
    create::parse(SPARSE, body.as_bytes()).unwrap().spec
}

/// With three allocations running, and five shown a minute ago.
fn update(allocations: &str, body: &str) -> Result<InferenceEndpointSpec, Refusal> {
    parse(SPARSE, body.as_bytes())?
        .apply(&stored(allocations), &Known { live: Some(3), was_shown: &|number| number == 5 })
}

fn settings(allocations: &str, body: &str) -> String {
    let spec = update(allocations, body).unwrap();
    let settings = spec.service_settings;
    serde_json::to_string(&(settings.num_allocations, settings.adaptive_allocations)).unwrap()
}

#[test]
fn only_what_is_named_changes() {
    let table = [
        (FIXED, r#"{"service_settings":{"num_allocations":7}}"#, "[7,null]"),
        (
            ADAPTIVE,
            r#"{"service_settings":{"adaptive_allocations":{"max_number_of_allocations":9}}}"#,
            r#"[null,{"enabled":true,"minNumberOfAllocations":1,"maxNumberOfAllocations":9}]"#,
        ),
        (
            ADAPTIVE,
            r#"{"service":"elasticsearch","task_type":"sparse_embedding","task_settings":{"a":1},
                "service_settings":{"adaptive_allocations":{"min_number_of_allocations":-1}}}"#,
            r#"[null,{"enabled":true,"maxNumberOfAllocations":4}]"#,
        ),
        (DISABLED, r#"{"service_settings":{"num_allocations":7}}"#, r#"[7,{"enabled":false}]"#),
    ];
    for (allocations, body, expected) in table {
        assert_eq!(settings(allocations, body), expected, "{body}");
        let changed = update(allocations, body).unwrap();
        let unnamed = InferenceEndpointSpec {
            service_settings: lexiscale_crds::ServiceSettings {
                num_allocations: changed.service_settings.num_allocations,
                adaptive_allocations: changed.service_settings.adaptive_allocations,
                ..stored(allocations).service_settings
            },
            ..stored(allocations)
        };
        assert_eq!(changed, unnamed);
    }
}

/// "The stored number dropped": one that is left beside enabled adaptive allocations would be refused by the API server.
#[test]
fn adaptive_allocations_that_are_switched_on_drop_the_number() {
    let on = r#"[null,{"enabled":true}]"#;
    for body in [
        r#"{"service_settings":{"adaptive_allocations":{"enabled":true}}}"#,
        r#"{"service_settings":{"adaptive_allocations":{"enabled":true},"num_allocations":2}}"#,
    ] {
        assert_eq!(settings(FIXED, body), on, "{body}");
        assert_eq!(settings(DISABLED, body), on, "{body}");
    }
}

#[test]
fn adaptive_allocations_that_are_switched_off_leave_a_number() {
    let off = r#"{"service_settings":{"adaptive_allocations":{"enabled":false}}}"#;
    let bounds = r#""minNumberOfAllocations":1,"maxNumberOfAllocations":4"#;
    assert_eq!(settings(ADAPTIVE, off), format!(r#"[3,{{"enabled":false,{bounds}}}]"#));
    let chosen = r#"{"service_settings":{"adaptive_allocations":{"enabled":false},"num_allocations":9}}"#;
    assert_eq!(settings(ADAPTIVE, chosen), format!(r#"[9,{{"enabled":false,{bounds}}}]"#));
    let asleep = parse(SPARSE, off.as_bytes())
        .unwrap()
        .apply(&stored(ADAPTIVE), &Known { live: Some(0), was_shown: &|_| false })
        .unwrap();
    assert_eq!(asleep.service_settings.num_allocations, Some(1), "nobody may store a zero");
}

/// B5: a client that reads an endpoint, changes one field and writes it back must not be refused for a number that it never chose.
#[test]
fn numbers_that_were_shown_are_no_change() {
    for number in [3, 5] {
        let body = format!(r#"{{"service_settings":{{"num_allocations":{number}}}}}"#);
        assert_eq!(update(ADAPTIVE, &body).unwrap(), stored(ADAPTIVE));
    }
    let refusal = update(ADAPTIVE, r#"{"service_settings":{"num_allocations":6}}"#).unwrap_err();
    assert_eq!(refusal.kind(), ErrorType::ActionRequestValidation);
    assert!(refusal.to_string().contains("[number_of_allocations]"), "{refusal}");
}

#[test]
fn what_is_there_already_is_no_change() {
    let table = [
        (FIXED, r#"{"service_settings":{"num_allocations":2}}"#),
        (FIXED, r#"{"service_settings":{}}"#),
        (FIXED, r#"{"task_type":"sparse_embedding"}"#),
        (FIXED, r#"{"service_settings":{"adaptive_allocations":{"enabled":false}}}"#),
        (FIXED, r#"{"chunking_settings":{}}"#),
        (FIXED, r#"{"chunking_settings":null,"service_settings":{"num_allocations":null}}"#),
        (ADAPTIVE, r#"{"service_settings":{"adaptive_allocations":{}}}"#),
        (ADAPTIVE, r#"{"service_settings":{"adaptive_allocations":{"max_number_of_allocations":4}}}"#),
    ];
    for (allocations, body) in table {
        assert_eq!(update(allocations, body).unwrap(), stored(allocations), "{body}");
    }
}

#[test]
fn chunking_settings_are_replaced_as_a_whole() {
    let mut before = stored(FIXED);
    let known = Known { live: None, was_shown: &|_| false };
    let mut apply = |body: &str| {
        before = parse(SPARSE, body.as_bytes()).unwrap().apply(&before, &known).unwrap();
        before.chunking_settings.clone().unwrap()
    };
    let first = apply(r#"{"chunking_settings":{"strategy":"word","max_chunk_size":100,"overlap":10}}"#);
    assert_eq!((first.max_chunk_size, first.overlap), (Some(100), Some(10)));
    let second = apply(r#"{"chunking_settings":{"max_chunk_size":50}}"#);
    assert_eq!(second, ChunkingSettings { max_chunk_size: Some(50), ..ChunkingSettings::default() });
    assert_eq!(apply(r#"{"chunking_settings":{}}"#), ChunkingSettings::default());
}

/// In the order of the checks: the first of several mistakes is told.
#[test]
fn what_cannot_be_updated_is_refused_with_its_type() {
    let (status, settings) = (ErrorType::Status, ErrorType::Validation);
    let table = [
        ("{}", status, "empty"),
        (r#"{"task_type":7,"name":"x"}"#, status, "[task_type]"),
        (r#"{"service_settings":[],"name":"x"}"#, status, "[service_settings]"),
        (r#"{"task_settings":1}"#, status, "[task_settings]"),
        (r#"{"name":"x","service_settings":{"num_threads":1}}"#, status, "{name=x}"),
        (r#"{"task_type":"rerank","service_settings":{"num_threads":1}}"#, status, "does not match"),
        (r#"{"task_type":"any"}"#, status, "[any]"),
        (r#"{"service_settings":{"num_threads":1}}"#, settings, "[num_threads]"),
        (r#"{"service_settings":{"model_id":".elser_model_2"}}"#, settings, "[model_id]"),
        (r#"{"service_settings":{"deployment_id":"x"}}"#, settings, "[deployment_id]"),
        (r#"{"service_settings":{"num_allocations":0}}"#, settings, "[0]"),
        (r#"{"service_settings":{"num_allocations":-1}}"#, settings, "[-1]"),
        (r#"{"service_settings":{"num_allocations":"2"}}"#, settings, "[Integer]"),
        (r#"{"service_settings":{"adaptive_allocations":{"mean":1}}}"#, settings, "[mean]"),
        (
            r#"{"service_settings":{"adaptive_allocations":{"min_number_of_allocations":-2}}}"#,
            settings,
            "[-2]",
        ),
        (r#"{"service_settings":{"rate_limit":{}}}"#, status, "rate_limit"),
        (r#"{"chunking_settings":{"strategy":"recursive","separators":["("]}}"#, settings, "[(]"),
        (r#"{"service":"elser"}"#, status, "[elser]"),
        (r#"{"service":7}"#, status, "[service]"),
        ("[]", ErrorType::XContentParse, "object"),
    ];
    for (body, kind, part) in table {
        let refusal = update(FIXED, body).unwrap_err();
        assert_eq!(refusal.kind(), kind, "{body}: {refusal}");
        assert!(refusal.to_string().contains(part), "{body}: {refusal}");
    }
}

#[test]
fn the_task_type_must_be_named_and_be_the_stored_one() {
    let body = br#"{"service_settings":{}}"#;
    for path in [None, Some(TaskTypeName::Any)] {
        assert!(parse(path, body).unwrap_err().to_string().contains("missing required [task_type]"));
    }
    let other = parse(None, br#"{"task_type":"rerank"}"#).unwrap();
    let refusal = other.apply(&stored(FIXED), &Known { live: None, was_shown: &|_| false }).unwrap_err();
    assert!(refusal.to_string().contains("[rerank]"), "{refusal}");
}
