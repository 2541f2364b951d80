//! The same work for four allocations that do one thing at a time: spread at random, through the gateway's line, and
//! through that with one slot for each allocation instead of two; and through two gateways that know nothing of each other.

use std::time::Duration;

use anyhow::Result;

use super::Settings;
use crate::api::{Api, NAMESPACE};
use crate::engine::Engine;
use crate::figures::Figures;
use crate::load::{Arrival, Target, arrivals, closed, open_of};
use crate::process::Process;
use crate::worker::{Service, Worker, lasting};

const ALLOCATIONS: usize = 4;
/// Share of all allocations' time that is asked for.
const LOAD: f64 = 0.75;
const MEAN: Duration = Duration::from_millis(10);
/// A short query on one core.
const SHORT: Duration = Duration::from_millis(5);
/// As many as keep all allocations busy and a line before them.
const CLIENTS: usize = 32;

pub(super) async fn measure(settings: &Settings, engine: &Engine, figures: &mut Figures) -> Result<()> {
    // A queue at this load needs some thousand requests to show its mean.
    let duration = Duration::from_secs_f64(settings.seconds * 3.0);
    let rate = LOAD * ALLOCATIONS as f64 / MEAN.as_secs_f64();
    let mut random = fastrand::Rng::new();
    let arrivals = arrivals(rate, duration, &mut random);
    let work: Vec<_> = arrivals.iter().map(|_| service(MEAN, &mut random)).collect();

    let workers = Worker::several(ALLOCATIONS, engine, Service::InTurn)?;
    let direct: Vec<_> = workers.iter().map(|worker| Target::new(worker.address, "/_inference")).collect();
    figures.add("wait_random_spreading_ms", waited(engine, &direct, &arrivals, &work).await?);

    let pods = workers.iter().map(|worker| worker.address).collect();
    let api = Api::start(vec![("busy".to_owned(), pods)]).await?;
    for (name, flags) in [("", &[][..]), ("_1_slot", &["--slots-per-allocation=1"])] {
        let gateway = Process::gateway(&settings.operator, api.address, NAMESPACE, flags).await?;
        let target = [Target::new(gateway.address, "/_inference/busy")];
        let wait = waited(engine, &target, &arrivals, &work).await?;
        figures.add(format!("wait_central_queue{name}_ms"), wait);
        // With more to do than they can: what a slot that runs dry between two pieces costs.
        let rate =
            closed(engine, target[0], CLIENTS, Duration::from_secs_f64(settings.seconds), || lasting(SHORT))
                .await?;
        let used = rate * SHORT.as_secs_f64() / ALLOCATIONS as f64;
        figures.add(format!("allocations_used_at_most_share{name}"), used);
    }
    // Half of the load each, and no word between them but what workers say of what they have left.
    let gateways = [
        Process::gateway(&settings.operator, api.address, NAMESPACE, &[]).await?,
        Process::gateway(&settings.operator, api.address, NAMESPACE, &[]).await?,
    ];
    let targets = gateways.each_ref().map(|gateway| Target::new(gateway.address, "/_inference/busy"));
    figures.add("wait_2_gateways_ms", waited(engine, &targets, &arrivals, &work).await?);
    Ok(())
}

/// Mean milliseconds from when a request was due to when somebody began to work on it.
async fn waited(engine: &Engine, targets: &[Target], arrivals: &[Arrival], work: &[Duration]) -> Result<f64> {
    let outcome = open_of(engine, targets, arrivals, |number| lasting(work[number])).await?;
    let waits = outcome.took.iter().zip(work).map(|(took, work)| took - work.as_secs_f64() * 1000.0);
    Ok(waits.sum::<f64>() / work.len() as f64)
}

/// The sum of three exponential times: as inference times are spread, by 0.58 of their mean.
fn service(mean: Duration, random: &mut fastrand::Rng) -> Duration {
    let sum: f64 = (0..3).map(|_| -(1.0 - random.f64()).ln()).sum();
    mean.mul_f64(sum / 3.0)
}
