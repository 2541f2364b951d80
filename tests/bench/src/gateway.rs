//! `bench gateway`: what the gateway adds, carries, lets wait and holds.

mod added;
mod attacks;
mod queue;
mod zero;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::engine::Engine;
use crate::figures::{Bar, Figures};

const STUB: Duration = Duration::from_millis(1);

/// What has to hold.
pub(crate) const BARS: [Bar; 22] = [
    // Less says that load and stubs were too slow to show more.
    Bar::at_least("added_at_share_of_capacity", 0.5),
    Bar::at_most("added_p50_gateway_ms", 0.3),
    Bar::at_most("added_p99_gateway_ms", 1.5),
    Bar::at_most("added_p99_of_all_turns_gateway_ms", 1.5),
    Bar::at_most("added_p99_of_all_turns_at_4000_gateway_ms", 1.5),
    Bar::at_least("carried_requests_per_second_gateway", 8_000.0),
    Bar::at_most("held_request_memory_kib", 20.0),
    Bar::at_most("request_to_wake_patch_p99_ms", 50.0),
    Bar::at_most("wake_patches_for_1000_at_once_count", 1.0),
    Bar::at_least("answered_of_1000_at_once_count", 1_000.0),
    Bar::at_least("answered_of_10000_held_count", 10_000.0),
    Bar::at_most("times_wait_central_of_random", 0.6),
    Bar::at_most("times_wait_2_gateways_of_random", 0.6),
    Bar::at_most("times_p99_beside_10000_idle", 1.2),
    Bar::at_most("times_p99_beside_2000_stalled", 1.2),
    Bar::at_most("times_p99_beside_1000_trickling", 1.2),
    Bar::at_most("times_p99_beside_large_heads", 1.2),
    Bar::at_most("times_p99_beside_deep_json", 1.2),
    Bar::at_most("times_p99_beside_smuggling", 1.2),
    // The time that is documented, and a little for a busy machine.
    Bar::at_most("stalled_head_cut_after_s", 11.0),
    Bar::at_most("stalled_body_cut_after_s", 11.0),
    Bar::at_most("trickling_body_cut_after_s", 11.0),
];

/// What the gateway adds, carries and holds, beside nginx as a plain proxy in the same run.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// Rounds; each figure is printed as minimum, median and maximum over them.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement of a round.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Only this part.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// The operator's binary.
    #[arg(long, default_value = "target/dist/lexiscale-operator")]
    operator: PathBuf,
    /// The peer's binary.
    #[arg(long, default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Part {
    Added,
    Attacks,
    Queue,
    Zero,
}

pub(crate) async fn run(settings: &Settings) -> Result<Figures> {
    let engine = Engine::start()?;
    let wants = |part| settings.only.is_none_or(|only| only == part);
    let mut figures = Figures::default();
    for round in 1..=settings.rounds {
        eprintln!("round {round} of {}", settings.rounds);
        if wants(Part::Added) {
            added::measure(settings, &engine, &mut figures).await.context("added latency and capacity")?;
        }
        if wants(Part::Attacks) {
            attacks::measure(settings, &engine, &mut figures).await.context("attacks")?;
        }
        if wants(Part::Queue) {
            queue::measure(settings, &engine, &mut figures).await.context("central queue")?;
        }
        if wants(Part::Zero) {
            zero::measure(&settings.operator, &engine, &mut figures).await.context("at zero")?;
        }
    }
    for (ratio, numerator, denominator) in [
        (
            "times_nginx_requests_per_core_second_gateway",
            "requests_per_core_second_gateway",
            "requests_per_core_second_nginx",
        ),
        ("times_wait_central_of_random", "wait_central_queue_ms", "wait_random_spreading_ms"),
        ("times_wait_2_gateways_of_random", "wait_2_gateways_ms", "wait_random_spreading_ms"),
        ("times_wait_central_of_random_1_slot", "wait_central_queue_1_slot_ms", "wait_random_spreading_ms"),
    ] {
        figures.ratio(ratio, numerator, denominator);
    }
    for attack in attacks::names() {
        let [ratio, numerator, denominator] =
            ["times_p99_beside_NAME", "p99_beside_NAME_ms", "p99_before_NAME_ms"]
                .map(|key| key.replace("NAME", attack));
        figures.ratio(&ratio, &numerator, &denominator);
    }
    Ok(figures)
}
