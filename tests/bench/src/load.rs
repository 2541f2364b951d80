//! Load: requests that come at their times whatever became of the earlier ones, or as fast as they are answered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;

use crate::engine::Engine;
use crate::figures::percentile;
use crate::wire;

pub(crate) const BODY: &str = r#"{"input":"The quick brown fox jumps over the lazy dog"}"#;

/// Where requests go. Copies share the connections that are kept open to it.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) number: u64,
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
}

/// A request that is to come.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    /// After the beginning.
    pub(crate) at: Duration,
    /// From 0 to 1, which of the targets it goes to.
    pub(crate) lot: f64,
}

/// A load as the engine carries it out.
pub(crate) struct Plan {
    pub(crate) targets: Vec<Target>,
    pub(crate) requests: Vec<Request>,
    pub(crate) pace: Pace,
}

pub(crate) struct Request {
    /// Its place in the list.
    pub(crate) target: usize,
    pub(crate) bytes: Bytes,
}

pub(crate) enum Pace {
    /// When each request is due, after the beginning and in order.
    Open(Vec<Duration>),
    /// Each again as soon as it is answered, for so long.
    Closed(Duration),
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
    pub(crate) seconds: f64,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, path: &'static str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self { number: NUMBER.fetch_add(1, Ordering::Relaxed), address, path }
    }

    fn request(&self, body: &str) -> Bytes {
        wire::request(self.address, self.path, body)
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
pub(crate) async fn open(engine: &Engine, targets: &[Target], arrivals: &[Arrival]) -> Result<Outcome> {
    let each: Vec<_> = targets.iter().map(|target| target.request(BODY)).collect();
    let mut outcome = engine.load(plan(targets, arrivals, |target, _| each[target].clone())).await?;
    for samples in [&mut outcome.took, &mut outcome.late] {
        samples.drain(..samples.len() / 10);
    }
    Ok(outcome)
}

/// A request of each arrival's own, by its number. The outcome is in the order of the arrivals.
pub(crate) async fn open_of(
    engine: &Engine,
    targets: &[Target],
    arrivals: &[Arrival],
    body: impl Fn(usize) -> String,
) -> Result<Outcome> {
    engine.load(plan(targets, arrivals, |target, number| targets[target].request(&body(number)))).await
}

fn plan(targets: &[Target], arrivals: &[Arrival], bytes: impl Fn(usize, usize) -> Bytes) -> Plan {
    let request = |(number, arrival): (usize, &Arrival)| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below the number of targets"
        )]
        let target = (arrival.lot * targets.len() as f64) as usize;
        Request { target, bytes: bytes(target, number) }
    };
    Plan {
        targets: targets.to_vec(),
        requests: arrivals.iter().enumerate().map(request).collect(),
        pace: Pace::Open(arrivals.iter().map(|arrival| arrival.at).collect()),
    }
}

/// Requests a second that `connections` clients get, each sending as soon as it is answered.
pub(crate) async fn closed(
    engine: &Engine,
    target: Target,
    connections: usize,
    duration: Duration,
    body: impl Fn() -> String,
) -> Result<f64> {
    let request = || Request { target: 0, bytes: target.request(&body()) };
    let requests = std::iter::repeat_with(request).take(connections).collect();
    let plan = Plan { targets: vec![target], requests, pace: Pace::Closed(duration) };
    let outcome = engine.load(plan).await?;
    Ok(outcome.took.len() as f64 / outcome.seconds)
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

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn sorted_percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, share)
}
