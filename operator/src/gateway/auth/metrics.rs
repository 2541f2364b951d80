//! Decisions, counted by how they ended and by who made them.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::metrics::registered;

/// How a check of credentials ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum AuthOutcome {
    Allowed,
    /// 401.
    Unauthenticated,
    /// 403.
    Forbidden,
    /// 503: nobody was there to ask.
    Unavailable,
}

/// Who decided.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum AuthSource {
    /// The request itself: it carries no credentials, or unreadable ones.
    Request,
    /// The API keys.
    Keys,
    /// An earlier answer of the API server.
    Cache,
    /// The same, for inference only: its time is over, and the API server cannot be asked again.
    Outlived,
    ApiServer,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    outcome: AuthOutcome,
    source: AuthSource,
}

#[derive(Clone)]
pub(crate) struct AuthMetrics {
    decisions: Family<Labels, Counter>,
}

impl AuthMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let help = "Checks of credentials by outcome and by who decided";
        Self { decisions: registered(registry, "auth_decisions", help, Family::default()) }
    }

    pub(crate) fn decided(&self, outcome: AuthOutcome, source: AuthSource) {
        self.decisions.get_or_create(&Labels { outcome, source }).inc();
    }
}
