//! `bench burst`: how soon a standby allocation answers when more comes than the other allocations take, and how soon the node
//! reserves for it what it uses.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::{Client, Target};
use crate::figures::{Bar, Figures};
use crate::process::Process;
use crate::stage::{Programs, Stage};

const STANDBYS: &str = "inference.lexiscale.io/standby-of=measured";
const PATIENCE: Duration = Duration::from_mins(2);
/// Requests at once: more than one allocation is given.
const CLIENTS: usize = 12;
const BURST: Duration = Duration::from_millis(1500);

pub(crate) const BARS: [Bar; 1] = [Bar::at_most("burst_to_standbys_answer_ms", 300.0).p95()];

/// How soon a standby helps in a burst.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// Bursts whose first answer of the standby is measured.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Bursts that come when the standby reserves nothing; each takes a minute.
    #[arg(long, default_value_t = 3)]
    resizes: usize,
    #[command(flatten)]
    programs: Programs,
}

pub(crate) async fn run(settings: &Settings) -> Result<Figures> {
    let allocations = json!({"adaptiveAllocations": {
        "enabled": true, "minNumberOfAllocations": 1, "maxNumberOfAllocations": 1,
    }});
    let deployment = json!({"scaling": {"standby": 1}});
    Stage::with(&settings.programs, allocations, deployment, async |stage| measure(settings, stage).await)
        .await
}

async fn measure(settings: &Settings, stage: &Stage) -> Result<Figures> {
    let gateway = Process::gateway_of_cluster(&settings.programs.operator, &stage.namespace).await?;
    let standby = Target { address: standby(stage).await?, path: "/metrics" };
    let mut figures = Figures::default();
    // The gateway's watch has it a moment later.
    sleep(Duration::from_secs(1)).await;
    for round in 0..settings.rounds.max(settings.resizes) {
        if round < settings.resizes {
            timeout(PATIENCE, until_reserves(stage, Amount::Little)).await.context("never idle")??;
            let (began, (answered, raised)) = {
                let watching = timeout(PATIENCE, until_reserves(stage, Amount::All));
                // The watch comes first.
                let bursting = async {
                    sleep(Duration::from_millis(500)).await;
                    let began = Instant::now();
                    burst(&gateway, &standby).await.map(|answered| (began, answered))
                };
                let (bursting, raised) = tokio::join!(bursting, watching);
                let (began, answered) = bursting?;
                (began, (answered, raised.context("never resized")??))
            };
            figures.add("burst_to_standbys_answer_ms", milliseconds(began, answered));
            figures.add("burst_to_resize_asked_ms", milliseconds(began, raised.asked));
            figures.add("resize_asked_to_enforced_ms", milliseconds(raised.asked, raised.enforced));
            figures.add("burst_to_resize_enforced_ms", milliseconds(began, raised.enforced));
        } else {
            sleep(Duration::from_secs(2)).await;
            let began = Instant::now();
            let answered = burst(&gateway, &standby).await?;
            figures.add("burst_to_standbys_answer_ms", milliseconds(began, answered));
        }
    }
    Ok(figures)
}

fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1000.0
}

/// The address of the standby, once it is ready.
async fn standby(stage: &Stage) -> Result<SocketAddr> {
    let find = async {
        loop {
            for pod in stage.api::<Pod>().list(&ListParams::default().labels(STANDBYS)).await? {
                let status = pod.status.unwrap_or_default();
                let mut conditions = status.conditions.into_iter().flatten();
                let is_ready = conditions.any(|found| found.type_ == "Ready" && found.status == "True");
                let address: Option<IpAddr> = status.pod_ip.and_then(|address| address.parse().ok());
                if let Some(address) = address.filter(|_| is_ready) {
                    return anyhow::Ok(SocketAddr::new(address, 8080));
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE, find).await.context("no standby gets ready")?
}

/// Sends more than one allocation takes; returns when the standby had answered for the first time.
async fn burst(gateway: &Process, standby: &Target) -> Result<Instant> {
    let target = Target { address: gateway.address, path: "/_inference/measured" };
    let watcher = Client::new();
    let before = texts(&watcher.text(standby).await?);
    let end = Instant::now() + BURST;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let target = target.clone();
        clients.spawn(async move {
            let client = Client::new();
            while Instant::now() < end {
                client.infer(&target).await?;
            }
            anyhow::Ok(())
        });
    }
    let first = async {
        while texts(&watcher.text(standby).await?) == before {
            sleep(Duration::from_millis(2)).await;
        }
        anyhow::Ok(Instant::now())
    };
    let answered = timeout(PATIENCE, first).await.context("the standby does not help")??;
    while let Some(done) = clients.join_next().await {
        done??;
    }
    Ok(answered)
}

fn texts(metrics: &str) -> String {
    let line = metrics.lines().find_map(|line| line.strip_prefix("lexiscale_worker_texts_total "));
    line.unwrap_or_default().to_owned()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Amount {
    Little,
    All,
}

struct Reserved {
    /// The pod's spec says so.
    asked: Instant,
    /// Its container has it.
    enforced: Instant,
}

/// Waits until the standby reserves so much.
async fn until_reserves(stage: &Stage, amount: Amount) -> Result<Reserved> {
    let is_it = |cpu: Option<&str>| cpu.is_some_and(|cpu| (cpu == "10m") == (amount == Amount::Little));
    let mut pods =
        pin!(watcher(stage.api::<Pod>(), watcher::Config::default().labels(STANDBYS)).applied_objects());
    let mut asked = None;
    while let Some(pod) = pods.next().await {
        let pod = serde_json::to_value(pod?)?;
        let cpu = |path: &str| pod.pointer(path).and_then(|cpu| cpu.as_str()).map(str::to_owned);
        if is_it(cpu("/spec/containers/0/resources/requests/cpu").as_deref()) {
            let asked = *asked.get_or_insert_with(Instant::now);
            if is_it(cpu("/status/containerStatuses/0/resources/requests/cpu").as_deref()) {
                return Ok(Reserved { asked, enforced: Instant::now() });
            }
        }
    }
    anyhow::bail!("the watch ended")
}
