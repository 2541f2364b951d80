//! Workers that start. The kubelet asks a worker whether it is ready once a second, and the first time perhaps a moment too
//! soon, so a slice can call a worker ready a second after it is. The gateway does not wait for that: it asks those that are
//! not called ready yet itself, and a worker that is loading its model answers at the moment when it is through.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::directory::PodKey;
use super::worker::WorkerClient;

/// For one answer: longer than a worker holds it back while it loads.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two questions: 20 ms, 40 ms, ... 1 s, as the process may not listen yet. A pod that never gets ready is asked as
/// often as by the kubelet.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Answers that are not read yet. Who asks waits.
const UNREAD: usize = 16;

/// What a starting worker says of itself.
pub(crate) type Said = (PodKey, bool);

/// One task for each worker that starts.
pub(crate) struct Starting {
    workers: WorkerClient,
    said: mpsc::Sender<Said>,
    asked: HashMap<PodKey, AbortOnDropHandle<()>>,
}

impl Starting {
    /// And where is told what they say: only what is another answer than the last.
    pub(crate) fn new(workers: WorkerClient) -> (Self, mpsc::Receiver<Said>) {
        let (said, hears) = mpsc::channel(UNREAD);
        (Self { workers, said, asked: HashMap::new() }, hears)
    }

    /// Asks exactly these from now on.
    pub(crate) fn follow<'a>(&mut self, starting: impl Iterator<Item = &'a PodKey>) {
        let starting: HashSet<_> = starting.collect();
        self.asked.retain(|key, _| starting.contains(key));
        for key in starting {
            if !self.asked.contains_key(key) {
                let asking = ask(self.workers.clone(), key.clone(), self.said.clone());
                self.asked.insert(key.clone(), AbortOnDropHandle::new(tokio::spawn(asking)));
            }
        }
    }
}

/// Also after it said yes: until a slice says so too, nobody else would notice that it has ended.
async fn ask(workers: WorkerClient, key: PodKey, said: mpsc::Sender<Said>) {
    let mut last = false;
    let mut pause = FIRST_PAUSE;
    loop {
        let is_ready = workers.is_ready(key.address, Instant::now() + PATIENCE).await;
        if is_ready != last {
            tracing::debug!(pod = %key.address, is_ready, "a worker that starts was asked");
            if said.send((key.clone(), is_ready)).await.is_err() {
                return;
            }
            last = is_ready;
        }
        sleep(if is_ready { LONGEST_PAUSE } else { pause }).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
