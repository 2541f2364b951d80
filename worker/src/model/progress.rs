//! How far a fetch is: counted here, read by `GET /progress` and by the log.

mod spent;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lexiscale_wire::{FetchDurations, Phase, Progress};

use spent::Spent;

/// Measured over at least this long, or the speed of a few packets would be shown.
const SAMPLE: Duration = Duration::from_millis(250);
/// How quickly the shown speed follows a change.
const MEMORY: Duration = Duration::from_secs(3);
const LOG_EVERY: Duration = Duration::from_secs(3);

/// A speed that follows changes smoothly. PURE: told the time.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    per_second: Option<f64>,
    since: Instant,
    pending: u64,
}

impl Speed {
    pub fn new(now: Instant) -> Self {
        Self { per_second: None, since: now, pending: 0 }
    }

    pub fn observe(&mut self, bytes: u64, now: Instant) {
        self.pending += bytes;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < SAMPLE {
            return;
        }
        let sample = self.pending as f64 / elapsed.as_secs_f64();
        let weight = 1.0 - (-elapsed.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.per_second = Some(self.per_second.map_or(sample, |known| known + weight * (sample - known)));
        self.since = now;
        self.pending = 0;
    }

    pub fn per_second(&mut self, now: Instant) -> f64 {
        self.observe(0, now);
        self.per_second.unwrap_or(0.0)
    }
}

struct Inner {
    progress: Progress,
    speed: Speed,
    logged: Instant,
    revision: Option<String>,
    spent: Spent,
}

pub struct Tracker {
    inner: Mutex<Inner>,
}

impl Tracker {
    pub fn new(now: Instant) -> Self {
        let progress = Progress { attempt: 1, ..Progress::default() };
        let (speed, spent) = (Speed::new(now), Spent::new(now));
        Self { inner: Mutex::new(Inner { progress, speed, logged: now, revision: None, spent }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn phase(&self, phase: Phase, now: Instant) {
        let mut inner = self.lock();
        let before = inner.progress.phase;
        if before != phase {
            tracing::info!(%phase, "phase");
        }
        inner.spent.count(before, now);
        inner.progress.phase = phase;
    }

    /// How much of the converting that is over was comparing.
    pub fn compared(&self, told: Duration) {
        self.lock().spent.compared(told);
    }

    pub fn durations(&self, now: Instant) -> FetchDurations {
        let mut inner = self.lock();
        let phase = inner.progress.phase;
        inner.spent.count(phase, now);
        inner.spent.told()
    }

    /// The commit that is fetched.
    pub fn resolved(&self, revision: &str) {
        self.lock().revision = Some(revision.to_owned());
    }

    pub fn revision(&self) -> Option<String> {
        self.lock().revision.clone()
    }

    pub fn plan(&self, files: u32, bytes: u64) {
        let mut inner = self.lock();
        inner.progress.files_total = files;
        inner.progress.bytes_total = Some(bytes);
    }

    /// Bytes that came over the network just now.
    pub fn received(&self, bytes: u64, now: Instant) {
        let mut inner = self.lock();
        inner.progress.bytes_done += bytes;
        inner.speed.observe(bytes, now);
        if now.saturating_duration_since(inner.logged) >= LOG_EVERY {
            inner.logged = now;
            drop(inner);
            log(&self.snapshot(now));
        }
    }

    /// Bytes of an earlier try that need not come again.
    pub fn kept(&self, bytes: u64) {
        self.lock().progress.bytes_done += bytes;
    }

    /// Bytes that were counted and turned out to be useless.
    pub fn lost(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.progress.bytes_done = inner.progress.bytes_done.saturating_sub(bytes);
    }

    pub fn file_done(&self) {
        self.lock().progress.files_done += 1;
    }

    pub fn retry(&self) {
        self.lock().progress.attempt += 1;
    }

    pub fn snapshot(&self, now: Instant) -> Progress {
        let mut inner = self.lock();
        let speed = inner.speed.per_second(now);
        let mut progress = inner.progress.clone();
        if progress.phase == Phase::Downloading {
            let remaining = progress.bytes_total.map(|total| total.saturating_sub(progress.bytes_done));
            progress.bytes_per_second = whole(speed);
            progress.eta_seconds =
                remaining.filter(|_| speed >= 1.0).map(|remaining| whole((remaining as f64 / speed).ceil()));
        }
        progress
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "speeds and times are above zero"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

fn log(progress: &Progress) {
    tracing::info!(
        percent = progress.percent(),
        bytes_done = progress.bytes_done,
        bytes_total = progress.bytes_total,
        bytes_per_second = progress.bytes_per_second,
        eta_seconds = progress.eta_seconds,
        "downloading"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_follows_a_change_without_jumping() {
        let start = Instant::now();
        let mut speed = Speed::new(start);
        let mut second = 0;
        let mut run = |speed: &mut Speed, bytes, seconds| {
            for _ in 0..seconds {
                second += 1;
                speed.observe(bytes, start + Duration::from_secs(second));
            }
            speed.per_second(start + Duration::from_secs(second))
        };
        assert!((run(&mut speed, 1000, 5) - 1000.0).abs() < 1.0);
        let soon = run(&mut speed, 2000, 1);
        assert!((1200.0..1500.0).contains(&soon), "{soon}");
        let later = run(&mut speed, 2000, 20);
        assert!((later - 2000.0).abs() < 10.0, "{later}");
    }

    #[test]
    fn a_stalled_download_has_no_eta() {
        let start = Instant::now();
        let tracker = Tracker::new(start);
        tracker.phase(Phase::Downloading, start);
        tracker.plan(1, 1000);
        tracker.received(500, start + Duration::from_secs(1));
        let progress = tracker.snapshot(start + Duration::from_secs(1));
        assert_eq!((progress.bytes_per_second, progress.eta_seconds), (500, Some(1)));
        let progress = tracker.snapshot(start + Duration::from_secs(100));
        assert_eq!((progress.bytes_per_second, progress.eta_seconds), (0, None));
    }

    #[test]
    fn lost_bytes_are_taken_back() {
        let now = Instant::now();
        let tracker = Tracker::new(now);
        tracker.kept(10);
        tracker.lost(4);
        assert_eq!(tracker.snapshot(now).bytes_done, 6);
    }
}
