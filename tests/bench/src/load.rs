//! Load: requests that come at their times whatever became of the earlier ones, or as fast as they are answered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::figures::percentile;
use crate::process::own_cpu_seconds;
use crate::wire::{Wire, request};

pub(crate) const BODY: &str = r#"{"input":"The quick brown fox jumps over the lazy dog"}"#;

/// Where requests go, with the connections that are kept open to it.
#[derive(Clone)]
pub(crate) struct Target(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    path: &'static str,
    request: Bytes,
    idle: Mutex<Vec<Wire>>,
    free: Semaphore,
}

/// Connections to one target, as clients have them: several times what is in flight at a time. A request that finds none free waits
/// for one, and its time runs. Without a bound, each moment in which the machine stands still would end in hundreds of new connections.
const MOST_CONNECTIONS: usize = 128;

/// A request that is to come.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    /// After the beginning.
    pub(crate) at: Duration,
    /// From 0 to 1, which of the targets it goes to.
    pub(crate) lot: f64,
}

/// What became of a load, request by request.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Milliseconds from when each request was due to its answer: what its sender was late by counts too, or a program that
    /// stops everything would look well.
    pub(crate) took: Vec<f64>,
    /// Milliseconds that the sender was late by.
    pub(crate) late: Vec<f64>,
    /// Share of their core that load and stubs took.
    pub(crate) busy: f64,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, path: &'static str) -> Self {
        let request = request(address, path, BODY);
        Self(Arc::new(Shared {
            address,
            path,
            request,
            idle: Mutex::default(),
            free: Semaphore::new(MOST_CONNECTIONS),
        }))
    }

    async fn ask(&self, request: &[u8]) -> Result<()> {
        let _turn = self.0.free.acquire().await?;
        let idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut wire = match idle {
            Some(wire) => wire,
            None => Wire::connect(self.0.address).await?,
        };
        wire.send(request).await?;
        wire.answer().await.with_context(|| self.0.path)?;
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).push(wire);
        Ok(())
    }
}

/// Random arrivals (Poisson) at `rate` a second.
pub(crate) fn arrivals(rate: f64, duration: Duration, random: &mut fastrand::Rng) -> Vec<Arrival> {
    let mut at = Duration::ZERO;
    let next = || {
        at += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / rate);
        (at < duration).then(|| Arrival { at, lot: random.f64() })
    };
    std::iter::from_fn(next).collect()
}

/// The same request for each arrival. The first tenth does not count: connections and caches fill.
pub(crate) async fn open(clock: &Clock, targets: &[Target], arrivals: &[Arrival]) -> Result<Outcome> {
    let mut outcome = open_with(clock, targets, arrivals, |target, _| target.0.request.clone()).await?;
    for samples in [&mut outcome.took, &mut outcome.late] {
        samples.drain(..samples.len() / 10);
    }
    Ok(outcome)
}

/// A request of each arrival's own, by its number. The outcome is in the order of the arrivals.
pub(crate) async fn open_of(
    clock: &Clock,
    targets: &[Target],
    arrivals: &[Arrival],
    body: impl Fn(usize) -> String,
) -> Result<Outcome> {
    open_with(clock, targets, arrivals, |target, number| {
        request(target.0.address, target.0.path, &body(number))
    })
    .await
}

async fn open_with(
    clock: &Clock,
    targets: &[Target],
    arrivals: &[Arrival],
    request: impl Fn(&Target, usize) -> Bytes,
) -> Result<Outcome> {
    let mut requests = JoinSet::new();
    let mut samples = vec![(f64::NAN, f64::NAN); arrivals.len()];
    let (began, cpu) = (Instant::now(), own_cpu_seconds()?);
    for (number, arrival) in arrivals.iter().enumerate() {
        let due = began + arrival.at;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below the number of targets"
        )]
        let target = targets[(arrival.lot * targets.len() as f64) as usize].clone();
        let bytes = request(&target, number);
        clock.sleep_until(due).await;
        requests.spawn(async move {
            let late = due.elapsed();
            target.ask(&bytes).await?;
            anyhow::Ok((number, due.elapsed(), late))
        });
        while let Some(done) = requests.try_join_next() {
            note(&mut samples, done??);
        }
    }
    while let Some(done) = requests.join_next().await {
        note(&mut samples, done??);
    }
    let busy = (own_cpu_seconds()? - cpu) / began.elapsed().as_secs_f64();
    let (took, late) = samples.into_iter().unzip();
    Ok(Outcome { took, late, busy })
}

fn note(samples: &mut [(f64, f64)], (number, took, late): (usize, Duration, Duration)) {
    samples[number] = (took.as_secs_f64() * 1000.0, late.as_secs_f64() * 1000.0);
}

impl Outcome {
    pub(crate) fn append(&mut self, other: &Self) {
        self.took.extend(&other.took);
        self.late.extend(&other.late);
        self.busy = self.busy.max(other.busy);
    }

    /// Of the times that requests took, in milliseconds.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        sorted_percentile(&self.took, share)
    }

    pub(crate) fn late_percentile(&self, share: f64) -> f64 {
        sorted_percentile(&self.late, share)
    }
}

fn sorted_percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, share)
}

/// Requests a second that `connections` clients get, each sending as soon as it is answered.
pub(crate) async fn closed(
    target: &Target,
    connections: usize,
    duration: Duration,
    body: impl Fn() -> String,
) -> Result<f64> {
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let target = target.clone();
        let request = request(target.0.address, target.0.path, &body());
        clients.spawn(async move {
            let mut count = 0_u32;
            while began.elapsed() < duration {
                target.ask(&request).await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut total = 0.0;
    while let Some(count) = clients.join_next().await {
        total += f64::from(count??);
    }
    Ok(total / began.elapsed().as_secs_f64())
}
