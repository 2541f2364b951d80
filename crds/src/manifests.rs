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
            if let Some(schema) =
                version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut())
            {
                refuse_null(schema);
            }
        }
    }
    definitions
}

/// Has the API server refuse a `null` instead of storing it, which is what the schema of Rust's `Option` alone would do: a key is
/// there with a value or it is not there, and `has()` in a rule tells which.
fn refuse_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(refuse_null);
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        refuse_null(values);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => refuse_null(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(refuse_null),
        None => {}
    }
}
