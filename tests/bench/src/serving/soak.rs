//! Passages of all lengths, lists of them, searches, and clients that leave before they are answered, for as long as wished. At the
//! end the worker is told to stop while all of this goes on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answers::{Known, Verdict};
use super::on_this_machine;
use super::texts::{Text, Texts, ask};
use crate::process::resident_kib;
use crate::wire::Wire;

const OF_EACH_KIND: usize = 64;
const LONGEST_LIST: usize = 16;
/// Until memory is what it will be: every size of request has come by then.
const WARM_UP: Duration = Duration::from_mins(1);
const BETWEEN_SAMPLES: Duration = Duration::from_secs(1);
/// For a worker that was told to stop.
const PATIENCE: Duration = Duration::from_mins(1);
/// Of load that goes on before the worker is told to stop.
const BEFORE_THE_END: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(super) struct Settings {
    #[arg(long)]
    address: SocketAddr,
    /// JSON file with lists of texts by kind.
    #[arg(long)]
    texts: PathBuf,
    /// The worker's process id: its memory is watched, and it is told to stop.
    #[arg(long)]
    process: u32,
    #[arg(long, default_value_t = 600.0)]
    seconds: f64,
    #[arg(long, default_value_t = 8)]
    clients: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

struct Stage {
    address: SocketAddr,
    known: Known,
    is_told_to_stop: AtomicBool,
}

#[derive(Default)]
struct Counts {
    answers: u64,
    identical: u64,
    wrong: u64,
    left: u64,
    /// Anything else than an answer before the worker was told to stop.
    errors: u64,
    /// Since then: refusals, and requests that the worker took and never answered.
    refused: u64,
    lost: u64,
    last_answers: u64,
    smallest_cosine: f64,
}

enum Ask {
    Texts(Vec<usize>),
    /// Is not waited for longer than this.
    Leave(Vec<usize>, Duration),
}

pub(super) async fn run(settings: &Settings) -> Result<Value> {
    let Settings { address, texts, process, seconds, clients, seed } = settings;
    on_this_machine(*address)?;
    ensure!((1..=256).contains(clients), "between 1 and 256 clients");
    let known = Known::learn(*address, Texts::read(texts)?.some(OF_EACH_KIND)?).await?;
    let stage = Arc::new(Stage { address: *address, known, is_told_to_stop: AtomicBool::new(false) });
    let end = Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 3600.0));
    let mut running = JoinSet::new();
    for number in 0..*clients {
        let random = fastrand::Rng::with_seed(seed + number as u64);
        running.spawn(client(Arc::clone(&stage), random));
    }
    let resident = watch(*process, end).await?;
    sleep(BEFORE_THE_END).await;
    stage.is_told_to_stop.store(true, Ordering::SeqCst);
    terminate(*process)?;
    let mut counts = Counts { smallest_cosine: 1.0, ..Counts::default() };
    let all = async {
        while let Some(done) = running.join_next().await {
            counts.add(&done??);
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, all).await.context("the worker does not stop within a minute")??;
    Ok(counts.tell(&resident))
}

impl Counts {
    fn add(&mut self, other: &Self) {
        let Self { answers, identical, wrong, left, errors, refused, lost, last_answers, smallest_cosine } =
            other;
        self.answers += answers;
        self.identical += identical;
        self.wrong += wrong;
        self.left += left;
        self.errors += errors;
        self.refused += refused;
        self.lost += lost;
        self.last_answers += last_answers;
        self.smallest_cosine = self.smallest_cosine.min(*smallest_cosine);
    }

    fn note(&mut self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            self.answers += 1;
            match verdict {
                Verdict::Identical => self.identical += 1,
                Verdict::Close(cosine) => self.smallest_cosine = self.smallest_cosine.min(*cosine),
                Verdict::Wrong => self.wrong += 1,
            }
        }
    }

    fn tell(&self, resident: &[f64]) -> Value {
        let tenth = (resident.len() / 10).max(1);
        let growth = median(&resident[resident.len() - tenth..]) / median(&resident[..tenth]) - 1.0;
        let (least, most) = resident
            .iter()
            .fold((f64::MAX, 0.0_f64), |(least, most), value| (least.min(*value), most.max(*value)));
        json!({
            "answers_count": self.answers,
            "identical_answers_percent": 100.0 * self.identical as f64 / (self.answers as f64).max(1.0),
            "smallest_cosine_to_alone": self.smallest_cosine,
            "wrong_answers_count": self.wrong,
            "errors_count": self.errors,
            "left_requests_count": self.left,
            "answers_after_sigterm_count": self.last_answers,
            "refused_after_sigterm_count": self.refused,
            "lost_after_sigterm_count": self.lost,
            "resident_median_mib": median(resident),
            "resident_growth_percent": 100.0 * growth,
            "resident_spread_percent": 100.0 * (most - least) / median(resident),
        })
    }
}

/// Until the worker is gone.
async fn client(stage: Arc<Stage>, mut random: fastrand::Rng) -> Result<Counts> {
    let mut counts = Counts { smallest_cosine: 1.0, ..Counts::default() };
    let mut wire = None;
    loop {
        let told = stage.is_told_to_stop.load(Ordering::SeqCst);
        let mut connection = match wire.take() {
            Some(connection) => connection,
            None => match Wire::connect(stage.address).await {
                Ok(connection) => connection,
                Err(_) if stage.is_told_to_stop.load(Ordering::SeqCst) => return Ok(counts),
                Err(error) => return Err(error),
            },
        };
        let (numbers, patience) = match pick(&stage.known.texts, &mut random) {
            Ask::Texts(numbers) => (numbers, PATIENCE),
            Ask::Leave(numbers, patience) => (numbers, patience),
        };
        let texts: Vec<_> = numbers.iter().map(|number| &stage.known.texts[*number]).collect();
        let request = ask(stage.address, &texts);
        let answer = async {
            connection.send(&request).await?;
            connection.message().await
        };
        let Ok(answer) = timeout(patience, answer).await else {
            if patience == PATIENCE {
                counts.errors += 1;
            } else {
                counts.left += 1;
            }
            // The connection ends with it.
            continue;
        };
        match answer {
            Ok(Some(message)) if message.is_ok() => {
                counts.note(&stage.known.judge(&numbers, &message.body)?);
                counts.last_answers += if told { numbers.len() as u64 } else { 0 };
                wire = (!message.closes()).then_some(connection);
            }
            Ok(Some(_)) if told => {
                counts.refused += 1;
                wire = None;
            }
            // Closed or reset without a word.
            _ if stage.is_told_to_stop.load(Ordering::SeqCst) => counts.lost += 1,
            _ => counts.errors += 1,
        }
    }
}

/// Mostly single passages and searches, now and then a list, seldom somebody who leaves.
fn pick(texts: &[Text], random: &mut fastrand::Rng) -> Ask {
    let (is_query, length) = match random.u32(0..100) {
        0..30 => (true, 1),
        30..75 => (false, 1),
        _ => (false, random.usize(2..=LONGEST_LIST)),
    };
    let of: Vec<_> = (0..texts.len()).filter(|number| texts[*number].is_query == is_query).collect();
    let numbers = (0..length).filter_map(|_| random.choice(&of).copied()).collect();
    if random.u32(0..100) < 5 {
        return Ask::Leave(numbers, Duration::from_millis(random.u64(0..30)));
    }
    Ask::Texts(numbers)
}

/// Resident memory in MiB, once a second after the warm-up.
async fn watch(process: u32, end: Instant) -> Result<Vec<f64>> {
    let counts_from = (Instant::now() + WARM_UP).min(end);
    let mut samples = Vec::new();
    while samples.is_empty() || Instant::now() < end {
        sleep(BETWEEN_SAMPLES).await;
        if Instant::now() >= counts_from {
            samples.push(resident_kib(process)? / 1024.0);
        }
    }
    Ok(samples)
}

fn terminate(process: u32) -> Result<()> {
    let done = std::process::Command::new("kill").args(["-TERM", &process.to_string()]).status()?;
    ensure!(done.success(), "failed to tell process {process} to stop");
    Ok(())
}

/// The middle one.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    crate::figures::percentile(&sorted, 0.5)
}
