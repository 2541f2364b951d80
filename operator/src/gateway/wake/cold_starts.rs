//! How long endpoints took to start, for whoever asks when to come again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::gateway::directory::{Directory, EndpointKey};

/// Where nothing was ever measured. An image and a model that are there start within this time.
const UNKNOWN: Duration = Duration::from_secs(15);

/// A moving average for each endpoint that exists.
#[derive(Default)]
pub(crate) struct ColdStarts(Mutex<HashMap<EndpointKey, Duration>>);

impl ColdStarts {
    /// The newest measurement counts half: an image that was pulled once is there from then on.
    pub(crate) fn took(&self, directory: &Directory, key: &EndpointKey, took: Duration) {
        let mut measured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Starts are rare, so this is the time to forget the endpoints that are gone.
        measured.retain(|key, _| directory.get(key).is_some());
        let average = measured.get(key).map_or(took, |before| (*before + took) / 2);
        measured.insert(key.clone(), average);
    }

    /// What this gateway measured, else what the operator did, which outlives gateways.
    pub(crate) fn expected(&self, directory: &Directory, key: &EndpointKey) -> Duration {
        let measured = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        let reported = || {
            let status = directory.get(key)?.deployment().status.clone()?;
            Some(Duration::from_secs(u64::try_from(status.cold_start_seconds?).ok()?))
        };
        measured.or_else(reported).unwrap_or(UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use lexiscale_crds::InferenceEndpoint;
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::gateway::directory::Builder;

    fn directory(status: Option<i32>) -> Directory {
        let endpoint: InferenceEndpoint = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "n"},
            "spec": {"taskType": "sparse_embedding", "service": "elser", "serviceSettings": {"numThreads": 1}},
            "status": {"coldStartSeconds": status},
        }))
        .unwrap();
        let mut builder = Builder::default();
        builder.endpoint(Event::Apply(endpoint));
        builder.build(Instant::now())
    }

    #[tokio::test]
    async fn the_best_that_is_known_is_expected() {
        let (unknown, reported) = (directory(None), directory(Some(40)));
        let key = EndpointKey::new("n", "a");
        let starts = ColdStarts::default();
        assert_eq!(starts.expected(&unknown, &key), UNKNOWN);
        assert_eq!(starts.expected(&reported, &key), Duration::from_secs(40));
        starts.took(&reported, &key, Duration::from_secs(8));
        assert_eq!(starts.expected(&reported, &key), Duration::from_secs(8));
        starts.took(&reported, &key, Duration::from_secs(4));
        assert_eq!(starts.expected(&reported, &key), Duration::from_secs(6));
    }

    /// Ids come and go; a map that only grows would be a leak.
    #[tokio::test]
    async fn nothing_is_kept_of_endpoints_that_are_gone() {
        let starts = ColdStarts::default();
        let directory = directory(None);
        for id in ["gone", "a"] {
            starts.took(&directory, &EndpointKey::new("n", id), Duration::from_secs(8));
        }
        assert_eq!(starts.0.lock().unwrap().keys().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["a"]);
    }
}
