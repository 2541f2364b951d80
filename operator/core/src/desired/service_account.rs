//! A ServiceAccount of its own for each object's pods, without a token: they never talk to the API server.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::identity::Identity;

pub fn service_account(owner: &Identity, name: String, labels: BTreeMap<String, String>) -> ServiceAccount {
    ServiceAccount {
        metadata: owner.child_metadata(name, labels),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
