//! The custom resource definitions as the cluster gets them: generated from the types, the same in `crds/yaml/`, in the
//! chart and in the binary.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::{InferenceEndpoint, ModelCache};

/// All definitions, in the order in which they are applied.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut definitions = vec![ModelCache::crd(), InferenceEndpoint::crd()];
    for definition in &mut definitions {
        for version in &mut definition.spec.versions {
            if let Some(schema) = version
                .schema
                .as_mut()
                .and_then(|schema| schema.open_api_v3_schema.as_mut())
            {
                forget_null(schema);
            }
        }
    }
    definitions
}

/// Makes `null` mean "absent", as it does in Elasticsearch: the API server removes a null from a field that is not nullable, and
/// `has()` in a rule then tells the truth. Rust's `Option` alone would store the null.
fn forget_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
        .for_each(forget_null);
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        forget_null(values);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => forget_null(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(forget_null),
        None => {}
    }
}
