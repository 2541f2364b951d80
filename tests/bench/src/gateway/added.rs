//! What one core of the gateway carries, and what it adds to a request at half of that. nginx does the same beside it as a plain
//! proxy.
//!
//! The program under test has a core for itself, before whatever else runs on the machine (`process.rs`). Load and stubs share the other
//! one (`engine.rs`), so they must leave it idle enough not to be what is measured: how busy it was, and how late requests were sent, is
//! printed.
//!
//! A virtual machine stands still now and then for some milliseconds, whatever runs on it: here about once a second. A percentile over
//! seconds would be about that. So turns are short, most of them see none of it, and a percentile is the median of those of the
//! turns.
//!
//! The one over all turns is a bar too, which the median of turns cannot hide: for some turns the core does half of what it does otherwise,
//! and at half of its capacity a line builds up then, soonest of the program that needs most of its core. A second load, of half of what a core
//! has to carry at least, leaves room for that.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::Settings;
use crate::api::{Api, NAMESPACE};
use crate::engine::Engine;
use crate::figures::{Figures, percentile};
use crate::load::{BODY, Outcome, Target, arrivals, closed, open};
use crate::process::Process;
use crate::worker::{Service, Worker};

/// Far more than the gateway can keep busy, which gives each two pieces at a time.
const STUBS: usize = 64;
const CONNECTIONS: usize = 64;
/// Direct, nginx and gateway take turns of this length, so that all see the same of what else goes on in the machine.
pub(super) const TURN: Duration = Duration::from_millis(200);
/// Requests a second: half of what a core has to carry at least (the bar of `carried_requests_per_second_gateway`).
const MODEST: f64 = 4_000.0;
/// Above this share the core of load and stubs is not idle enough to measure with.
const MOST_BUSY: f64 = 0.85;

/// Nothing between load and stubs.
const DIRECT: &str = "direct";

/// A program, or none, between load and stubs.
struct Side {
    name: &'static str,
    targets: Vec<Target>,
}

pub(super) async fn measure(settings: &Settings, engine: &Engine, figures: &mut Figures) -> Result<()> {
    let duration = Duration::from_secs_f64(settings.seconds);
    let stage = Stage::set(settings, engine).await?;
    let nginx = Process::nginx(&settings.nginx, &stage.pods).await?;
    let direct = stage.pods.iter().map(|pod| Target::new(*pod, "/_inference")).collect();
    let sides = [
        Side { name: DIRECT, targets: direct },
        Side { name: "nginx", targets: vec![Target::new(nginx.address, "/")] },
        Side { name: "gateway", targets: vec![Target::new(stage.gateway.address, "/_inference/busy")] },
    ];

    carried(engine, &nginx, &sides[1], duration, figures).await?;
    let capacity = carried(engine, &stage.gateway, &sides[2], duration, figures).await?;
    let rate = half(capacity, engine, &sides[2].targets, duration).await?;
    figures.add("added_at_requests_per_second", rate);
    figures.add("added_at_share_of_capacity", rate / capacity);

    let at_half = in_turns(engine, &sides, rate, duration).await?;
    of_all_turns(&sides, &at_half, "", figures);
    for (side, turns) in sides.iter().zip(&at_half) {
        let name = side.name;
        for (share, label) in [(0.5, "p50"), (0.99, "p99")] {
            let took = turns.median(share);
            figures.add(format!("took_{label}_{name}_ms"), took);
            if name != DIRECT {
                figures.add(format!("added_{label}_{name}_ms"), took - at_half[0].median(share));
            }
        }
    }
    let modest = in_turns(engine, &sides, MODEST, duration).await?;
    of_all_turns(&sides, &modest, &format!("_at_{MODEST}"), figures);
    Ok(())
}

/// `load` tells the figures of one load from those of another.
fn of_all_turns(sides: &[Side; 3], turns: &[Turns; 3], load: &str, figures: &mut Figures) {
    let direct = turns[0].all.percentile(0.99);
    for (side, turns) in sides.iter().zip(turns) {
        let name = side.name;
        let took = turns.all.percentile(0.99);
        figures.add(format!("late_p99{load}_{name}_ms"), turns.all.late_percentile(0.99));
        figures.add(format!("load_and_stubs_busy_share_of_core{load}_{name}"), turns.all.busy);
        figures.add(format!("took_p99_of_all_turns{load}_{name}_ms"), took);
        if name != DIRECT {
            figures.add(format!("added_p99_of_all_turns{load}_{name}_ms"), took - direct);
        }
    }
}

/// Turn by turn the same arrivals for each side, which begin one after the other.
async fn in_turns(engine: &Engine, sides: &[Side; 3], rate: f64, duration: Duration) -> Result<[Turns; 3]> {
    let mut random = fastrand::Rng::new();
    let mut turns: [Turns; 3] = Default::default();
    for turn in 0..turns_in(duration) {
        let arrivals = arrivals(rate, TURN, &mut random);
        for place in 0..sides.len() {
            let side = (turn + place) % sides.len();
            turns[side].add(open(engine, &sides[side].targets, &arrivals).await?);
        }
    }
    Ok(turns)
}

/// The gateway with more stub workers than it can keep busy, and an API server that knows them.
pub(super) struct Stage {
    _workers: Vec<Worker>,
    _api: Api,
    pods: Vec<SocketAddr>,
    pub(super) gateway: Process,
}

impl Stage {
    pub(super) async fn set(settings: &Settings, engine: &Engine) -> Result<Self> {
        let workers = Worker::several(STUBS, engine, Service::Fixed(super::STUB))?;
        let pods: Vec<_> = workers.iter().map(|worker| worker.address).collect();
        let api = Api::start(vec![("busy".to_owned(), pods.clone())]).await?;
        let gateway = Process::gateway(&settings.operator, api.address, NAMESPACE, &[]).await?;
        Ok(Self { _workers: workers, _api: api, pods, gateway })
    }

    /// Half of what the gateway carries in a second.
    pub(super) async fn half(&self, engine: &Engine, targets: &[Target], duration: Duration) -> Result<f64> {
        let capacity = capacity(engine, &self.gateway, targets[0], duration).await?;
        half(capacity.per_core_second, engine, targets, duration).await
    }
}

/// Less than half where load and stubs were too busy to measure then.
async fn half(capacity: f64, engine: &Engine, targets: &[Target], duration: Duration) -> Result<f64> {
    let half = capacity / 2.0;
    let arrivals = arrivals(half, duration.mul_f64(0.25), &mut fastrand::Rng::new());
    let tried = open(engine, targets, &arrivals).await?;
    Ok(half * (MOST_BUSY / tried.busy).min(1.0))
}

async fn carried(
    engine: &Engine,
    process: &Process,
    side: &Side,
    duration: Duration,
    figures: &mut Figures,
) -> Result<f64> {
    let name = side.name;
    let Capacity { rate, busy, per_core_second } =
        capacity(engine, process, side.targets[0], duration).await?;
    figures.add(format!("carried_requests_per_second_{name}"), rate);
    figures.add(format!("carried_busy_share_of_core_{name}"), busy);
    figures.add(format!("requests_per_core_second_{name}"), per_core_second);
    Ok(per_core_second)
}

struct Capacity {
    /// Requests a second.
    rate: f64,
    /// Share of its core that they took.
    busy: f64,
    /// Where load and stubs are the slower ones, what a core carries is told by the time that a request takes of it.
    per_core_second: f64,
}

async fn capacity(
    engine: &Engine,
    process: &Process,
    target: Target,
    duration: Duration,
) -> Result<Capacity> {
    let body = || BODY.to_owned();
    closed(engine, target, CONNECTIONS, duration.mul_f64(0.2), body).await?;
    let cpu = process.cpu_seconds()?;
    let began = std::time::Instant::now();
    let rate = closed(engine, target, CONNECTIONS, duration, body).await?;
    let seconds = began.elapsed().as_secs_f64();
    let busy = (process.cpu_seconds()? - cpu) / seconds;
    Ok(Capacity { rate, busy, per_core_second: rate / busy })
}

pub(super) fn turns_in(duration: Duration) -> usize {
    // Two at least, or there would be nothing beside an attack.
    usize::try_from(duration.as_millis() / TURN.as_millis()).unwrap_or(usize::MAX).max(2)
}

/// What became of a side's turns.
#[derive(Default)]
pub(super) struct Turns {
    each: Vec<Outcome>,
    all: Outcome,
}

impl Turns {
    pub(super) fn add(&mut self, turn: Outcome) {
        self.all.append(&turn);
        self.each.push(turn);
    }

    /// The median over the turns of a percentile of each.
    pub(super) fn median(&self, share: f64) -> f64 {
        let mut percentiles: Vec<_> = self.each.iter().map(|turn| turn.percentile(share)).collect();
        percentiles.sort_by(f64::total_cmp);
        percentile(&percentiles, 0.5)
    }
}
