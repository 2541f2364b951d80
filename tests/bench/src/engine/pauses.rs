//! What is due, and the timer that says so to the nanosecond. epoll's own time-out counts whole milliseconds: a load that it paces comes in
//! bursts, and a stub of one millisecond takes up to two.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

pub(super) struct Pauses {
    timer: OwnedFd,
    /// When it rings next.
    rings_at: Option<Instant>,
    by_end: BinaryHeap<Reverse<(Instant, Token)>>,
}

impl Pauses {
    pub(super) fn new(registry: &Registry, token: Token) -> Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, rings_at: None, by_end: BinaryHeap::new() })
    }

    /// Of a socket.
    pub(super) fn push(&mut self, end: Instant, socket: Token) {
        self.by_end.push(Reverse((end, socket)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.by_end.peek().map(|Reverse((end, _))| *end)
    }

    /// The next socket whose pause is over.
    pub(super) fn over(&mut self, now: Instant) -> Option<Token> {
        self.next().filter(|end| *end <= now)?;
        self.by_end.pop().map(|Reverse((_, socket))| socket)
    }

    /// In the future. Nothing has to be read when it has rung: setting it anew takes that back.
    pub(super) fn ring_at(&mut self, at: Instant, now: Instant) -> Result<()> {
        if self.rings_at == Some(at) {
            return Ok(());
        }
        let left = at.saturating_duration_since(now).max(Duration::from_nanos(1));
        let it_value = Timespec::try_from(left).context("a benchmark does not wait for years")?;
        let spec = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)?;
        self.rings_at = Some(at);
        Ok(())
    }
}
