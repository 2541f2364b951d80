//! `bench start`: where the time goes from the creation of a worker's pod, with its image and its model on the node, to its
//! first answer through a gateway. The phases are seen from outside: by watches, and in the worker's log.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::LogParams;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::client::{Client, Target};
use crate::figures::{Bar, Figures};
use crate::process::Process;
use crate::stage::{ENDPOINT, Programs, Stage};

const PATIENCE: Duration = Duration::from_mins(1);
/// The kubelet looks at pods once a second, so a start must not always come at the same moment of its second.
const PAUSE_MS: std::ops::Range<u64> = 1_000..2_000;

/// Between questions whether the new worker has answered: they must not take the processors from its start.
const BETWEEN: Duration = Duration::from_millis(5);

/// Ready by the worker's own word, in use, and ready by the kubelet's.
pub(crate) const BARS: [Bar; 3] = [
    Bar::at_most("created_to_loaded_ms", 1500.0).p95(),
    Bar::at_most("created_to_answer_ms", 1500.0).p95(),
    Bar::at_most("created_to_called_ready_ms", 1500.0).p95(),
];

/// How long a worker takes to start where image and model are on the node.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// Starts that are measured.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    #[command(flatten)]
    programs: Programs,
}

/// When things happened to one pod.
#[derive(Clone, Debug, Default)]
struct Start {
    created: Option<Timestamp>,
    scheduled: Option<Timestamp>,
    started: Option<Timestamp>,
    ready: Option<Timestamp>,
    routed: Option<Timestamp>,
    address: Option<IpAddr>,
}

enum Seen {
    Pod(Box<Pod>),
    Slice(Box<EndpointSlice>),
}

pub(crate) async fn run(settings: &Settings) -> Result<Figures> {
    let allocations = json!({"numAllocations": 1});
    Stage::with(&settings.programs, allocations, json!({}), async |stage| measure(settings, stage).await)
        .await
}

async fn measure(settings: &Settings, stage: &Stage) -> Result<Figures> {
    let gateway = Process::gateway_of_cluster(&settings.programs.operator, &stage.namespace).await?;
    let mut events = follow(stage);
    let mut starts = BTreeMap::new();
    let mut figures = Figures::default();
    for round in 0..=settings.rounds {
        sleep(Duration::from_millis(fastrand::u64(PAUSE_MS))).await;
        let before: Vec<_> = drain(&mut events, &mut starts).await;
        let began = Timestamp::now();
        stage.edit(json!({"spec": {"serviceSettings": {"numAllocations": 2}}})).await?;
        let mut until = async |what: &str, is_so: fn(&Start) -> bool| {
            let new = new_pod(&mut events, &mut starts, &before, is_so);
            timeout(PATIENCE, new).await.with_context(|| format!("no new worker {what} within a minute"))?
        };
        let (_, start) = until("has an address", |start| start.address.is_some()).await?;
        let answered = timeout(PATIENCE, first_answer(&gateway, &start)).await;
        let answered = answered
            .with_context(|| format!("the gateway of {ENDPOINT} does not send to the new worker"))??;
        let (name, start) =
            until("is called ready", |start| start.ready.is_some() && start.routed.is_some()).await?;
        // The first start of a node that has not run the image for a while reads it from the disk.
        if round > 0 {
            record(&mut figures, stage, &name, &start, began, answered).await?;
        }
        stage.edit(json!({"spec": {"serviceSettings": {"numAllocations": 1}}})).await?;
        stage.serving().await?;
    }
    Ok(figures)
}

async fn record(
    figures: &mut Figures,
    stage: &Stage,
    name: &str,
    start: &Start,
    began: Timestamp,
    answered: Timestamp,
) -> Result<()> {
    let log = log_times(stage, name).await?;
    let created = start.created.context("not created")?;
    let ready = start.ready.context("not ready")?;
    let at = |what: &str| log.get(what).copied().with_context(|| format!("the log of {name} lacks {what:?}"));
    let (listening, loaded) = (at("listening")?, at("ready")?);
    let scheduled = start.scheduled.context("not scheduled")?;
    let routed = start.routed.context("not in a slice")?;
    let mut phase = |name: &str, from: Timestamp, to: Timestamp| {
        figures.add(name, to.duration_since(from).as_secs_f64() * 1000.0);
    };
    phase("0_edit_to_created_ms", began, created);
    phase("1_created_to_scheduled_ms", created, scheduled);
    phase("2_scheduled_to_listening_ms", scheduled, listening);
    phase("3_listening_to_loaded_ms", listening, loaded);
    phase("4_loaded_to_answer_ms", loaded, answered);
    phase("created_to_loaded_ms", created, loaded);
    phase("created_to_answer_ms", created, answered);
    phase("created_to_called_ready_ms", created, ready);
    phase("loaded_to_called_ready_ms", loaded, ready);
    phase("called_ready_to_slice_ms", ready, routed);
    phase("edit_to_answer_ms", began, answered);
    if let Some(started) = start.started {
        phase("loaded_to_container_seen_ms", loaded, started);
    }
    Ok(())
}

fn follow(stage: &Stage) -> mpsc::Receiver<(Timestamp, Seen)> {
    let (sender, receiver) = mpsc::channel(1024);
    let ours = || watcher::Config::default().labels("inference.lexiscale.io/endpoint=measured");
    let (pods, slices) = (stage.api::<Pod>(), stage.api::<EndpointSlice>());
    tokio::spawn(async move {
        let pods = watcher(pods, ours())
            .applied_objects()
            .filter_map(async |pod| Some(Seen::Pod(Box::new(pod.ok()?))));
        let slices = watcher(slices, ours())
            .applied_objects()
            .filter_map(async |slice| Some(Seen::Slice(Box::new(slice.ok()?))));
        let mut seen = pin!(futures::stream::select(pods.boxed(), slices.boxed()));
        while let Some(seen) = seen.next().await {
            if sender.send((Timestamp::now(), seen)).await.is_err() {
                return;
            }
        }
    });
    receiver
}

type Starts = BTreeMap<String, Start>;

/// Takes note of what has happened so far; returns the names of all pods there were.
async fn drain(events: &mut mpsc::Receiver<(Timestamp, Seen)>, starts: &mut Starts) -> Vec<String> {
    while let Ok(event) = events.try_recv() {
        note(starts, event);
    }
    tokio::task::yield_now().await;
    starts.keys().cloned().collect()
}

async fn new_pod(
    events: &mut mpsc::Receiver<(Timestamp, Seen)>,
    starts: &mut Starts,
    before: &[String],
    is_so: fn(&Start) -> bool,
) -> Result<(String, Start)> {
    loop {
        let mut fresh = starts.iter().filter(|(name, _)| !before.contains(name));
        if let Some((name, start)) = fresh.find(|(_, start)| is_so(start)) {
            return Ok((name.clone(), start.clone()));
        }
        note(starts, events.recv().await.context("the watches ended")?);
    }
}

fn note(starts: &mut Starts, (now, seen): (Timestamp, Seen)) {
    match seen {
        Seen::Pod(pod) => {
            let start = starts.entry(pod.name_any()).or_default();
            start.created.get_or_insert(now);
            let status = pod.status.clone().unwrap_or_default();
            let holds = |kind: &str| {
                status.conditions.iter().flatten().any(|found| found.type_ == kind && found.status == "True")
            };
            if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
                start.scheduled.get_or_insert(now);
            }
            if status.container_statuses.iter().flatten().any(|container| container.started == Some(true)) {
                start.started.get_or_insert(now);
            }
            if holds("Ready") {
                start.ready.get_or_insert(now);
            }
            start.address = status.pod_ip.as_deref().and_then(|address| address.parse().ok());
        }
        Seen::Slice(slice) => {
            for endpoint in slice.endpoints.into_iter().flatten() {
                let is_ready = endpoint.conditions.is_some_and(|conditions| conditions.ready == Some(true));
                if let Some(name) = endpoint.target_ref.and_then(|target| target.name)
                    && is_ready
                {
                    starts.entry(name).or_default().routed.get_or_insert(now);
                }
            }
        }
    }
}

/// Sends more at once than the older worker is given, until the new one has had its share.
async fn first_answer(gateway: &Process, start: &Start) -> Result<Timestamp> {
    let client = Client::new();
    let path = concat!("/_inference/", "measured");
    let target = Target { address: gateway.address, path };
    let address = SocketAddr::new(start.address.context("the pod has no address")?, 8080);
    loop {
        let requests = (0..8).map(|_| client.infer(&target));
        futures::future::try_join_all(requests).await?;
        let now = Timestamp::now();
        // It does not answer before it listens.
        let metrics = client.text(&Target { address, path: "/metrics" }).await.unwrap_or_default();
        let mut texts = metrics.lines().filter_map(|line| line.strip_prefix("lexiscale_worker_texts_total "));
        if texts.any(|count| count != "0") {
            return Ok(now);
        }
        sleep(BETWEEN).await;
    }
}

/// When the worker logged its first lines, by their messages.
async fn log_times(stage: &Stage, pod: &str) -> Result<BTreeMap<String, Timestamp>> {
    let parameters = LogParams { timestamps: true, ..LogParams::default() };
    let log = stage.api::<Pod>().logs(pod, &parameters).await?;
    let mut times = BTreeMap::new();
    for line in log.lines() {
        let (time, text) = line.split_once(' ').context("a log line without a time")?;
        for what in ["listening", "ready"] {
            if text.split_whitespace().any(|word| word == what) {
                times.entry(what.to_owned()).or_insert(time.parse()?);
            }
        }
    }
    ensure!(times.len() == 2, "unexpected log: {log}");
    Ok(times)
}
