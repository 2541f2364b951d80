//! The pods of all slices from one snapshot to the next, and which of them serve. PURE.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::watched::{Change, Named, Slice};
use crate::gateway::pod::Pod;

/// A pod of a Service.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct PodKey {
    service: Named,
    pub(crate) address: SocketAddr,
}

/// Pods outlive snapshots, and with them their counts of requests in flight.
#[derive(Default)]
pub(super) struct Pods(HashMap<PodKey, Known>);

struct Known {
    pod: Arc<Pod>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// No slice has called it ready yet. It serves as soon as it says itself that it can.
    Starting {
        says_ready: bool,
    },
    Ready,
    /// It was ready, and the kubelet found that it is not any more. That is believed.
    Unready,
}

impl Stage {
    fn first(is_ready: bool) -> Self {
        if is_ready { Self::Ready } else { Self::Starting { says_ready: false } }
    }

    fn next(self, is_ready: bool) -> Self {
        match self {
            _ if is_ready => Self::Ready,
            Self::Ready | Self::Unready => Self::Unready,
            Self::Starting { says_ready } => Self::Starting { says_ready },
        }
    }

    fn serves(self) -> bool {
        matches!(self, Self::Ready | Self::Starting { says_ready: true })
    }
}

impl Pods {
    /// Follows the slices; returns the pods that serve, by Service. `now` is when pods that are new were first seen.
    pub(super) fn follow<'a>(
        &mut self,
        slices: impl Iterator<Item = &'a Slice>,
        now: Instant,
    ) -> HashMap<&'a Named, Vec<Arc<Pod>>> {
        let mut serving: HashMap<&Named, Vec<Arc<Pod>>> = HashMap::new();
        let mut kept = HashMap::with_capacity(self.0.len());
        for slice in slices {
            for listed in &slice.pods {
                let key = PodKey { service: slice.service.clone(), address: listed.address };
                // The same address in two slices of a Service happens while slices are rebalanced.
                if kept.contains_key(&key) {
                    continue;
                }
                let known = match self.0.remove(&key) {
                    Some(Known { pod, stage }) => Known { pod, stage: stage.next(listed.is_ready) },
                    None => Known {
                        pod: Arc::new(Pod::new(listed.address, now).with_role(slice.role)),
                        stage: Stage::first(listed.is_ready),
                    },
                };
                if known.stage.serves() {
                    serving.entry(&slice.service).or_default().push(Arc::clone(&known.pod));
                }
                kept.insert(key, known);
            }
        }
        self.0 = kept;
        serving
    }

    /// Those that no slice has called ready yet.
    pub(super) fn starting(&self) -> impl Iterator<Item = &PodKey> {
        let starting = |known: &Known| matches!(known.stage, Stage::Starting { .. });
        self.0.iter().filter(move |(_, known)| starting(known)).map(|(key, _)| key)
    }

    /// A starting pod was asked. What it says of itself counts until a slice calls it ready.
    pub(super) fn said(&mut self, key: &PodKey, is_ready: bool) -> Change {
        match self.0.get_mut(key).map(|known| &mut known.stage) {
            Some(Stage::Starting { says_ready }) if *says_ready != is_ready => {
                *says_ready = is_ready;
                Change::Visible
            }
            _ => Change::None,
        }
    }
}
