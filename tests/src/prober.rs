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

/// A client in the background, one request after the other.
pub struct Prober {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Score>,
}

impl Prober {
    /// Starts to ask an endpoint.
    pub fn start(gateway: Arc<Gateway>, inference_id: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let path = format!("/_inference/sparse_embedding/{inference_id}");
        let task = tokio::spawn(probe(gateway, path, stop.clone()));
        Self { stop, task }
    }

    /// Ends the asking and requires that every request was answered.
    pub async fn finish(self) -> Result<Score> {
        self.stop.store(true, Ordering::Relaxed);
        let score = self.task.await?;
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
    let mut score = Score::default();
    while !stop.load(Ordering::Relaxed) {
        match gateway.send("POST", &path, Some(r#"{"input": "a request that must not be lost"}"#)).await {
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
