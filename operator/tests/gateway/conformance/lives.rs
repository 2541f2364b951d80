//! Endpoints from create to delete, as `gateway_conformance_lives.yaml` has them: cases that build on each
//! other.

use serde::Deserialize;

use crate::case::Case;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Life {
    pub(crate) name: String,
    pub(crate) steps: Vec<Case>,
}

impl Life {
    pub(crate) fn all() -> Vec<Self> {
        let lives: Vec<Self> =
            serde_norway::from_str(include_str!("../../gateway_conformance_lives.yaml")).unwrap();
        for life in &lives {
            Case::ensure_each_can_fail(&life.steps);
        }
        lives
    }
}
