//! Condition types after the kstatus convention, which `kubectl wait`, Flux and Argo CD read without help:
//! `Ready` is always there; `Reconciling` and `Stalled` are there only while they are true.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// The object does what its spec asks for.
    Ready,
    /// The operator is working towards the spec.
    Reconciling,
    /// The operator cannot go on without a change by somebody.
    Stalled,
}

impl ConditionType {
    /// The name in `conditions[].type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

/// Reading conditions by type.
pub trait Conditions {
    /// The conditions of the object, empty before the first report.
    fn conditions(&self) -> &[Condition];

    /// The condition of one type, if it is set.
    fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions().iter().find(|condition| condition.type_ == kind.as_str())
    }

    /// True when the condition is set and `True`.
    fn is(&self, kind: ConditionType) -> bool {
        self.condition(kind).is_some_and(|condition| condition.status == "True")
    }
}
