//! A number of clients that each send a list of texts as soon as the list before is answered.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::on_this_machine;
use super::texts::{Text, Texts, ask};
use crate::wire::Wire;

#[derive(clap::Args)]
pub(super) struct Settings {
    #[arg(long)]
    address: SocketAddr,
    /// JSON file with lists of texts by kind.
    #[arg(long)]
    texts: PathBuf,
    /// Which of them.
    #[arg(long)]
    kind: String,
    /// Texts of one request.
    #[arg(long, default_value_t = 1)]
    list: usize,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Ends before its time with so many requests.
    #[arg(long, default_value_t = 100_000)]
    most: usize,
}

pub(super) async fn run(settings: &Settings) -> Result<Value> {
    let Settings { address, texts, kind, list, connections, seconds, most } = settings;
    on_this_machine(*address)?;
    ensure!((1..=1024).contains(list) && (1..=1024).contains(connections), "between 1 and 1024 of each");
    let texts = Texts::read(texts)?.of(kind)?;
    let requests = requests(*address, &texts, *list);
    let began = Instant::now();
    let end = began + Duration::from_secs_f64(seconds.clamp(0.0, 600.0));
    let mut clients = JoinSet::new();
    for number in 0..*connections {
        let most = most / connections;
        // Each begins elsewhere.
        let mut order = requests.clone();
        order.rotate_left(number * requests.len() / connections);
        clients.spawn(client(*address, order, end, most));
    }
    let mut taken = Vec::new();
    while let Some(done) = clients.join_next().await {
        taken.extend(done??);
    }
    let documents = (taken.len() * list) as f64;
    let rate = documents / began.elapsed().as_secs_f64();
    Ok(json!({"docs_per_s": rate, "documents": documents, "milliseconds": taken}))
}

/// Lists that together hold every text equally often.
fn requests(address: SocketAddr, texts: &[Text], list: usize) -> Vec<Bytes> {
    let mut around = texts.iter().cycle();
    let one = |_| ask(address, &around.by_ref().take(list).collect::<Vec<_>>());
    (0..texts.len().div_ceil(list)).map(one).collect()
}

async fn client(address: SocketAddr, requests: Vec<Bytes>, end: Instant, most: usize) -> Result<Vec<f64>> {
    let mut wire = Wire::connect(address).await?;
    let mut taken = Vec::new();
    for request in requests.iter().cycle().take(most.max(1)) {
        let began = Instant::now();
        wire.send(request).await?;
        wire.answer().await?;
        taken.push(began.elapsed().as_secs_f64() * 1000.0);
        if Instant::now() >= end {
            break;
        }
    }
    Ok(taken)
}
