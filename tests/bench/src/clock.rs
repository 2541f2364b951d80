//! A timer as fine as what is measured. tokio's own counts whole milliseconds: load that it paces comes in bursts, and a
//! stub of one millisecond that it times takes up to two.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

#[derive(Clone)]
pub(crate) struct Clock(Arc<Shared>);

struct Shared {
    timer: AsyncFd<OwnedFd>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    number: u64,
    /// By time, and by number among those of one time.
    by_time: BTreeMap<(Instant, u64), oneshot::Sender<()>>,
}

impl Clock {
    pub(crate) fn start() -> Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe; this descriptor is owned and lives as long"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        let clock = Self(Arc::new(Shared { timer, waiting: Mutex::default() }));
        tokio::spawn(clock.clone().ring());
        Ok(clock)
    }

    pub(crate) async fn sleep_until(&self, at: Instant) {
        if at <= Instant::now() {
            return;
        }
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            let is_first = waiting.by_time.first_key_value().is_none_or(|((first, _), _)| at < *first);
            waiting.number += 1;
            let number = waiting.number;
            waiting.by_time.insert((at, number), sender);
            if is_first {
                self.arm(at);
            }
        }
        // The sender is dropped with the clock only.
        let _ = receiver.await;
    }

    async fn ring(self) {
        while let Ok(mut ready) = self.0.timer.readable().await {
            // Arming the timer anew takes back what there was to read.
            ready.clear_ready();
            let mut waiting = self.waiting();
            let now = Instant::now();
            while let Some(first) = waiting.by_time.first_entry() {
                let at = first.key().0;
                if at > now {
                    self.arm(at);
                    break;
                }
                // Whoever waited may be gone.
                let _ = first.remove().send(());
            }
        }
    }

    fn arm(&self, at: Instant) {
        let left = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let spec = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(left).expect("a benchmark does not wait for years"),
        };
        timerfd_settime(&self.0.timer, TimerfdTimerFlags::empty(), &spec)
            .expect("the timer and the time are valid");
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
