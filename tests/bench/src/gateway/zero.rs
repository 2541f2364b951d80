//! Requests to endpoints that sleep: how soon each is woken, one patch for all who ask, everybody answered, and what those
//! cost that wait.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::api::{Api, NAMESPACE};
use crate::engine::Engine;
use crate::figures::{Figures, percentile};
use crate::load::BODY;
use crate::process::Process;
use crate::wire::{Wire, request};
use crate::worker::{Service, Worker};

/// Endpoints that are woken one after the other.
const WAKES: usize = 200;
const AT_ONCE: usize = 1_000;
const HELD: usize = 10_000;
/// For those that waited, so that they are through soon.
const STUBS: usize = 16;

pub(super) async fn measure(operator: &Path, engine: &Engine, figures: &mut Figures) -> Result<()> {
    let workers = Worker::several(STUBS, engine, Service::Fixed(super::STUB))?;
    let pods: Vec<_> = workers.iter().map(|worker| worker.address).collect();
    let single = (0..WAKES).map(|number| format!("single-{number}"));
    let asleep = single.chain(["first".to_owned(), "many".to_owned()]).map(|name| (name, Vec::new()));
    let api = Api::start(asleep.collect()).await?;
    let start = || Process::gateway(operator, api.address, NAMESPACE, &[]);
    let gateway = start().await?;
    wakes(&gateway, &api, figures).await?;
    at_once(&gateway, &api, &pods, figures).await?;
    drop(gateway);
    // A new one: those that were answered left memory behind that the held ones would take.
    held(&start().await?, &api, &pods, figures).await
}

fn ask(address: SocketAddr, name: &str) -> bytes::Bytes {
    request(address, &format!("/_inference/{name}?timeout=120s"), BODY)
}

async fn wakes(gateway: &Process, api: &Api, figures: &mut Figures) -> Result<()> {
    let mut took = Vec::with_capacity(WAKES);
    for number in 0..WAKES {
        let name = format!("single-{number}");
        let mut wire = Wire::connect(gateway.address).await?;
        let began = Instant::now();
        wire.send(&ask(gateway.address, &name)).await?;
        took.push((api.patched(&name).await? - began).as_secs_f64() * 1000.0);
        // Its client leaves; the next comes at another moment.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..10))).await;
    }
    took.sort_by(f64::total_cmp);
    figures.add("request_to_wake_patch_p50_ms", percentile(&took, 0.5));
    figures.add("request_to_wake_patch_p99_ms", percentile(&took, 0.99));
    Ok(())
}

async fn at_once(gateway: &Process, api: &Api, pods: &[SocketAddr], figures: &mut Figures) -> Result<()> {
    let mut wires = Vec::with_capacity(AT_ONCE);
    for _ in 0..AT_ONCE {
        wires.push(Wire::connect(gateway.address).await?);
    }
    let request = ask(gateway.address, "first");
    let began = Instant::now();
    for wire in &mut wires {
        wire.send(&request).await?;
    }
    let first = api.patched("first").await?;
    figures.add("first_of_1000_to_wake_patch_ms", (first - began).as_secs_f64() * 1000.0);
    // Time for another patch to be wrong.
    tokio::time::sleep(Duration::from_millis(500)).await;
    ready(api, "first", pods);
    figures.add("answered_of_1000_at_once_count", answered(&mut wires).await as f64);
    figures.add("wake_patches_for_1000_at_once_count", api.patches("first").len() as f64);
    Ok(())
}

async fn held(gateway: &Process, api: &Api, pods: &[SocketAddr], figures: &mut Figures) -> Result<()> {
    let request = ask(gateway.address, "many");
    let before = gateway.resident_kib()?;
    let mut wires = Vec::with_capacity(HELD);
    for _ in 0..HELD {
        let mut wire = Wire::connect(gateway.address).await?;
        wire.send(&request).await?;
        wires.push(wire);
    }
    let mut settled = gateway.resident_kib()?;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = gateway.resident_kib()?;
        if now <= settled {
            break;
        }
        settled = now;
    }
    figures.add("held_request_memory_kib", (settled - before) / HELD as f64);
    ready(api, "many", pods);
    figures.add("answered_of_10000_held_count", answered(&mut wires).await as f64);
    Ok(())
}

fn ready(api: &Api, name: &str, pods: &[SocketAddr]) {
    for pod in pods {
        api.ready(name, *pod);
    }
}

/// How many of them are answered.
async fn answered(wires: &mut [Wire]) -> usize {
    let mut count = 0;
    for wire in wires {
        count += usize::from(wire.answer().await.is_ok());
    }
    count
}
