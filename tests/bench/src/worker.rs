//! Stub workers on 127.0.0.1, so that what is measured is what stands before them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lexiscale_wire::LOAD_HEADER;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::wire::Wire;

const ANSWER: &str =
    r#"{"sparse_embedding":[{"is_truncated":false,"embedding":{"kubernetes":1.2345679,"pod":0.1}}]}"#;

#[derive(Clone, Copy)]
pub(crate) enum Service {
    /// Every request takes this long, any number side by side.
    Fixed(Duration),
    /// One request after the other, each for as long as its text says ([`lasting`]).
    InTurn,
}

pub(crate) struct Worker {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Worker {
    pub(crate) async fn start(clock: &Clock, service: Service) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, clock.clone(), service));
        Ok(Self { address, task })
    }

    pub(crate) async fn several(count: usize, clock: &Clock, service: Service) -> Result<Vec<Self>> {
        let mut workers = Vec::with_capacity(count);
        for _ in 0..count {
            workers.push(Self::start(clock, service).await?);
        }
        Ok(workers)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, clock: Clock, service: Service) {
    let line = Arc::new(InLine { free_at: Mutex::new(Instant::now()), requests: AtomicUsize::new(0) });
    // They end with this one.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (clock, line) = (clock.clone(), Arc::clone(&line));
        connections.spawn(async move { serve(Wire::new(stream)?, &clock, service, &line).await });
        while connections.try_join_next().is_some() {}
    }
}

/// Those who came and are not answered.
struct InLine {
    /// When the last of them is done.
    free_at: Mutex<Instant>,
    requests: AtomicUsize,
}

/// With what a worker has left, as the real one tells it.
fn answer(left: usize) -> String {
    let length = ANSWER.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{LOAD_HEADER}: {left}\r\ncontent-length: {length}\r\n\r\n{ANSWER}"
    )
}

async fn serve(mut wire: Wire, clock: &Clock, service: Service, line: &InLine) -> Result<()> {
    let alone = answer(0);
    while let Some(request) = wire.message().await? {
        let now = Instant::now();
        let done = match service {
            Service::Fixed(time) => now + time,
            Service::InTurn => {
                let time = service_time(&request.body)?;
                line.requests.fetch_add(1, Ordering::Relaxed);
                let mut free_at = line.free_at.lock().unwrap_or_else(PoisonError::into_inner);
                *free_at = now.max(*free_at) + time;
                *free_at
            }
        };
        clock.sleep_until(done).await;
        match service {
            Service::Fixed(_) => wire.send(alone.as_bytes()).await?,
            Service::InTurn => {
                let left = line.requests.fetch_sub(1, Ordering::Relaxed) - 1;
                wire.send(answer(left).as_bytes()).await?;
            }
        }
    }
    Ok(())
}

const LASTING: &str = "it takes ";

/// The body of a request that keeps a worker busy for this long.
pub(crate) fn lasting(time: Duration) -> String {
    format!(r#"{{"input":"{LASTING}{} microseconds","input_type":"search"}}"#, time.as_micros())
}

fn service_time(body: &[u8]) -> Result<Duration> {
    let text = std::str::from_utf8(body)?;
    let (_, rest) = text.split_once(LASTING).context("the text does not say how long it takes")?;
    let digits = rest.split(' ').next().unwrap_or_default();
    Ok(Duration::from_micros(digits.parse()?))
}
