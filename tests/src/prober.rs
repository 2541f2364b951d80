//! A client that never stops asking, to show that a change loses no request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use tokio::task::JoinHandle;

use crate::Gateway;

/// What a prober saw.
#[derive(Debug, Default)]
pub struct Score {
    /// Requests answered with 200 and an embedding.
    pub answered: usize,
    /// Everything else, in words.
    pub failures: Vec<String>,
}

/// Requests that are under way at any time, so that every worker that stops has some.
const CLIENTS: usize = 8;

/// Clients in the background, each with one request after the other.
pub struct Prober {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Score>>,
}

impl Prober {
    /// Starts to ask an endpoint.
    pub fn start(gateway: &Arc<Gateway>, inference_id: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let path = format!("/_inference/sparse_embedding/{inference_id}");
        let clients =
            (0..CLIENTS).map(|_| tokio::spawn(probe(gateway.clone(), path.clone(), stop.clone()))).collect();
        Self { stop, clients }
    }

    /// Ends the asking and requires that every request was answered.
    pub async fn finish(self) -> Result<Score> {
        self.stop.store(true, Ordering::Relaxed);
        let mut score = Score::default();
        for client in self.clients {
            let Score { answered, failures } = client.await?;
            score.answered += answered;
            score.failures.extend(failures);
        }
        ensure!(
            score.failures.is_empty(),
            "of {} requests these failed: {:#?}",
            score.answered,
            score.failures
        );
        ensure!(score.answered > 0, "the prober sent nothing");
        Ok(score)
    }
}

async fn probe(gateway: Arc<Gateway>, path: String, stop: Arc<AtomicBool>) -> Score {
    // Long enough to be at work when a pod is told to stop.
    let text = "a request that must not be lost ".repeat(60);
    let body = serde_json::json!({ "input": vec![text; 4] }).to_string();
    let mut score = Score::default();
    while !stop.load(Ordering::Relaxed) {
        match gateway.send("POST", &path, Some(&body)).await {
            Ok(answer)
                if answer.status == 200 && !answer.body["sparse_embedding"][0]["embedding"].is_null() =>
            {
                score.answered += 1;
            }
            Ok(answer) => score.failures.push(format!("{} {}", answer.status, answer.text)),
            Err(error) => score.failures.push(format!("{error:#}")),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    score
}
