//! `bench gateway`: what the gateway adds, carries and holds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::api::{Api, NAMESPACE};
use crate::figures::Figures;
use crate::load::{Client, Target, closed, open};
use crate::process::Process;
use crate::stalled;
use crate::worker::{Service, Worker};

const STUB: Service = Service::Fixed(Duration::from_millis(1));
/// Far more than the gateway can keep busy.
const STUBS: usize = 32;
const ALLOCATIONS: usize = 4;
/// Mean time of a request on one allocation, and the share of all allocations' time that is asked for.
const MEAN_SERVICE: Duration = Duration::from_millis(10);
const LOAD: f64 = 0.75;
const STALLED: usize = 2_000;
const HELD: usize = 10_000;
const AT_ONCE: usize = 1_000;

/// What the gateway adds, carries and holds, beside nginx as a plain proxy in the same run.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// Rounds; each figure is printed as minimum, median and maximum over them.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement of a round.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// The operator's binary.
    #[arg(long, default_value = "target/release/lexiscale-operator")]
    operator: PathBuf,
    /// The peer's binary.
    #[arg(long, default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,
}

pub(crate) async fn run(settings: &Settings) -> Result<Figures> {
    let mut figures = Figures::default();
    for round in 1..=settings.rounds {
        eprintln!("round {round} of {}", settings.rounds);
        added(settings, &mut figures).await.context("added latency and capacity")?;
        queue(settings, &mut figures).await.context("central queue")?;
        zero(&settings.operator, &mut figures).await.context("at zero")?;
    }
    figures.ratio(
        "times_nginx_requests_per_second_gateway",
        "requests_per_core_second_gateway",
        "requests_per_core_second_nginx",
    );
    figures.ratio("times_wait_central_of_random", "wait_central_queue_ms", "wait_random_spreading_ms");
    figures.ratio("times_p99_with_2000_stalled", "p99_with_2000_stalled_ms", "p99_without_stalled_ms");
    Ok(figures)
}

fn infer(process: &Process, path: &'static str) -> Target {
    Target { address: process.address, path }
}

/// Latency at half of what one core carries, and what it carries, for gateway and nginx in turn.
async fn added(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let duration = Duration::from_secs_f64(settings.seconds);
    // An allocation has two slots, so one of these stubs carries two thousand requests a second at most.
    let mut workers = Vec::new();
    for _ in 0..STUBS {
        workers.push(Worker::start(STUB).await?);
    }
    let pods: Vec<_> = workers.iter().map(|worker| worker.address).collect();
    let api = Api::start(vec![("busy".to_owned(), pods.clone())]).await?;
    let direct: Vec<_> = pods.iter().map(|pod| Target { address: *pod, path: "/_inference" }).collect();

    let nginx = Process::nginx(&settings.nginx, &pods).await?;
    let gateway = Process::gateway(&settings.operator, api.address, NAMESPACE).await?;
    let mut carried = Vec::new();
    for (name, process, path) in [("nginx", &nginx, "/"), ("gateway", &gateway, "/_inference/busy")] {
        let target = infer(process, path);
        closed(&target, 64, duration.mul_f64(0.3)).await?;
        let cpu = process.cpu_seconds()?;
        let rate = closed(&target, 64, duration).await?;
        // The load generator and the stub share the other core and may be slower than what they measure, so what a core
        // carries is told by the CPU time that a request takes.
        let per_core = rate * duration.as_secs_f64() / (process.cpu_seconds()? - cpu);
        figures.add(format!("requests_per_second_{name}"), rate);
        figures.add(format!("requests_per_core_second_{name}"), per_core);
        carried.push(rate);
    }
    let rate = carried[1] / 2.0;
    let baseline = open(&direct, rate, duration).await?;
    for (name, process, path) in [("nginx", &nginx, "/"), ("gateway", &gateway, "/_inference/busy")] {
        let through = open(&[infer(process, path)], rate, duration).await?;
        for (share, label) in [(0.5, "p50"), (0.99, "p99")] {
            let added = through.percentile(share) - baseline.percentile(share);
            figures.add(format!("added_{label}_{name}_ms"), added);
        }
    }
    drop(nginx);

    let target = infer(&gateway, "/_inference/busy");
    let quiet = open(std::slice::from_ref(&target), rate / 2.0, duration).await?;
    let stalled = stalled::connections(gateway.address, STALLED).await?;
    let beside = open(&[target], rate / 2.0, duration).await?;
    figures.add("p99_without_stalled_ms", quiet.percentile(0.99));
    figures.add("p99_with_2000_stalled_ms", beside.percentile(0.99));
    drop(stalled);
    Ok(())
}

/// The same load on four allocations that work on one request at a time: spread at random, and through the gateway.
async fn queue(settings: &Settings, figures: &mut Figures) -> Result<()> {
    // A queue at this load needs some thousand requests to show its mean.
    let duration = Duration::from_secs_f64(settings.seconds * 3.0);
    let rate = LOAD * ALLOCATIONS as f64 / MEAN_SERVICE.as_secs_f64();
    let start = async || {
        let mut workers = Vec::new();
        for _ in 0..ALLOCATIONS {
            workers.push(Worker::start(Service::Serial(MEAN_SERVICE)).await?);
        }
        anyhow::Ok(workers)
    };
    let workers = start().await?;
    let targets: Vec<_> =
        workers.iter().map(|worker| Target { address: worker.address, path: "/_inference" }).collect();
    let random = open(&targets, rate, duration).await?.mean() - Worker::mean_service_ms(&workers);
    let workers = start().await?;
    let pods = workers.iter().map(|worker| worker.address).collect();
    let api = Api::start(vec![("busy".to_owned(), pods)]).await?;
    let gateway = Process::gateway(&settings.operator, api.address, NAMESPACE).await?;
    let central = open(&[infer(&gateway, "/_inference/busy")], rate, duration).await?.mean()
        - Worker::mean_service_ms(&workers);
    figures.add("wait_random_spreading_ms", random);
    figures.add("wait_central_queue_ms", central);
    Ok(())
}

/// Requests to an endpoint that sleeps: one patch, everybody answered, and what those cost that wait.
async fn zero(operator: &Path, figures: &mut Figures) -> Result<()> {
    let worker = Worker::start(STUB).await?;
    let asleep = ["first", "many"].map(|name| (name.to_owned(), Vec::new()));
    let api = Api::start(asleep.to_vec()).await?;
    let gateway = Process::gateway(operator, api.address, NAMESPACE).await?;

    let began = Instant::now();
    let waiting = hold(&infer(&gateway, "/_inference/first?timeout=60s"), AT_ONCE);
    let first = wait_for(|| api.patches("first").first().copied()).await?;
    figures.add("request_to_wake_patch_ms", (first - began).as_secs_f64() * 1000.0);
    tokio::time::sleep(Duration::from_millis(500)).await;
    api.ready("first", worker.address);
    ensure!(all_answered(waiting).await? == AT_ONCE, "not all were answered");
    figures.add("wake_patches_for_1000_requests_count", api.patches("first").len() as f64);

    let before = gateway.resident_kib()?;
    let waiting = hold(&infer(&gateway, "/_inference/many?timeout=120s"), HELD);
    let mut settled = before;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = gateway.resident_kib()?;
        if now <= settled {
            break;
        }
        settled = now;
    }
    figures.add("held_request_memory_kib", (settled - before) / HELD as f64);
    api.ready("many", worker.address);
    ensure!(all_answered(waiting).await? == HELD, "not all held requests were answered");
    figures.add("held_requests_answered_count", HELD as f64);
    Ok(())
}

fn hold(target: &Target, count: usize) -> JoinSet<Result<()>> {
    let client = Client::new();
    let mut waiting = JoinSet::new();
    for _ in 0..count {
        let (client, target) = (client.clone(), target.clone());
        waiting.spawn(async move { client.infer(&target).await });
    }
    waiting
}

async fn all_answered(mut waiting: JoinSet<Result<()>>) -> Result<usize> {
    let mut answered = 0;
    while let Some(done) = waiting.join_next().await {
        done??;
        answered += 1;
    }
    Ok(answered)
}

async fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    for _ in 0..20_000 {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    anyhow::bail!("waited in vain for 20 s")
}
