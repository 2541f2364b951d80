//! Threads for one text: work is cut into a few parts for each thread, and handed over within a microsecond while the
//! team is busy. Whoever is free takes the next part, and nobody waits for a helper that has not come yet: on a core that
//! others use as well, the caller does its share too. A waiting thread spins for some microseconds, then sleeps; an idle
//! team costs nothing.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Rounds of spinning before a thread sleeps, some ten microseconds: longer than two threads' shares of a step differ on
/// a quiet machine, so a busy team hardly ever sleeps (with a fifth of it, a query of 16 tokens took twice as long).
/// Much longer, it would take time from whoever shares the core, and wait in vain for a descheduled partner.
const SPINS: u32 = 1000;

/// Threads that run one text's work together. Callers that share a team take turns.
pub struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    turn: Mutex<()>,
}

struct Shared {
    state: Mutex<State>,
    /// Grows with each job, and once more when the team ends.
    posted: AtomicUsize,
    /// Helpers that are at the job. Grows under the lock only.
    inside: AtomicUsize,
    wake: Condvar,
    done: Condvar,
    /// Whether the caller sleeps: waking is a system call, which nearly every job can do without.
    caller_sleeps: AtomicBool,
}

struct State {
    /// Helpers that sleep.
    asleep: usize,
    job: Option<Job>,
    closed: bool,
    panic: Option<Box<dyn Any + Send>>,
}

/// What everyone calls once. The real lifetime is that of [`Team::run`], which takes it back, and does not return before
/// every helper that had it has finished.
type Job = &'static (dyn Fn() + Sync);

impl Team {
    /// A team of this many threads, the caller's among them. If the system gives fewer, the team is smaller.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State { asleep: 0, job: None, closed: false, panic: None }),
            posted: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            wake: Condvar::new(),
            done: Condvar::new(),
            caller_sleeps: AtomicBool::new(false),
        });
        let mut helpers = Vec::new();
        for index in 1..threads {
            let shared = Arc::clone(&shared);
            let helper = std::thread::Builder::new().name(format!("team-{index}"));
            let Ok(helper) = helper.spawn(move || shared.help()) else { break };
            helpers.push(helper);
        }
        Self { shared, helpers, turn: Mutex::new(()) }
    }

    /// Only the caller's own thread.
    pub fn alone() -> Self {
        Self::new(1)
    }

    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// How many parts work should have: more than threads, so that a late one is left with less.
    pub(crate) fn parts(&self) -> usize {
        match self.threads() {
            1 => 1,
            threads => 2 * threads,
        }
    }

    /// Works on each part, on whichever thread is free.
    pub(crate) fn each<P: Send>(&self, mut parts: Vec<P>, work: impl Fn(P) + Sync) {
        if self.helpers.is_empty() || parts.len() <= 1 {
            parts.drain(..).for_each(work);
            return;
        }
        let parts: Vec<Mutex<Option<P>>> = parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
        let next = AtomicUsize::new(0);
        self.run(&|| {
            while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(part) = lock(part).take() {
                    work(part);
                }
            }
        });
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        let _turn = lock(&self.turn);
        // SAFETY: only the lifetime changes. Helpers get the job between here and `retire`, which takes it back and
        // returns when every helper that had it has finished; it also runs if the caller's own share panics.
        let job: Job = unsafe { std::mem::transmute::<&(dyn Fn() + Sync), Job>(job) };
        self.shared.post(job);
        let own = catch_unwind(AssertUnwindSafe(job));
        let theirs = self.shared.retire();
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.closed = true;
        // Under the lock, or a helper that is just about to sleep would miss it.
        self.shared.posted.fetch_add(1, Ordering::Release);
        drop(state);
        self.shared.wake.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper catches every panic of a job, so it cannot end with one.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn post(&self, job: Job) {
        let mut state = lock(&self.state);
        state.job = Some(job);
        self.posted.fetch_add(1, Ordering::Release);
        let asleep = state.asleep;
        drop(state);
        if asleep > 0 {
            self.wake.notify_all();
        }
    }

    /// Takes the job back, and waits for those who have it.
    fn retire(&self) -> Option<Box<dyn Any + Send>> {
        lock(&self.state).job = None;
        if !spin(|| self.inside.load(Ordering::Acquire) == 0) {
            let mut state = lock(&self.state);
            self.caller_sleeps.store(true, Ordering::SeqCst);
            while self.inside.load(Ordering::SeqCst) != 0 {
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            self.caller_sleeps.store(false, Ordering::SeqCst);
        }
        lock(&self.state).panic.take()
    }

    fn help(&self) {
        let mut seen = 0;
        while let Some(job) = self.next(&mut seen) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                lock(&self.state).panic = Some(panic);
            }
            // In one order with the caller's store and load: either it sees nobody inside, or it is seen asleep.
            if self.inside.fetch_sub(1, Ordering::SeqCst) == 1 && self.caller_sleeps.load(Ordering::SeqCst) {
                // Under the lock, so that the caller cannot go to sleep between its look and this call.
                drop(lock(&self.state));
                self.done.notify_one();
            }
        }
    }

    /// The next job, or nothing once the team has ended.
    fn next(&self, seen: &mut usize) -> Option<Job> {
        loop {
            spin(|| self.posted.load(Ordering::Acquire) != *seen);
            let mut state = lock(&self.state);
            while self.posted.load(Ordering::Acquire) == *seen {
                state.asleep += 1;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.asleep -= 1;
            }
            *seen = self.posted.load(Ordering::Acquire);
            if state.closed {
                return None;
            }
            // Without a job this helper comes too late: the others have done it all.
            if let Some(job) = state.job {
                self.inside.fetch_add(1, Ordering::AcqRel);
                return Some(job);
            }
        }
    }
}

/// Whether it came true while spinning.
fn spin(until: impl Fn() -> bool) -> bool {
    for _ in 0..SPINS {
        if until() {
            return true;
        }
        std::hint::spin_loop();
    }
    until()
}

/// A poisoned lock's data is as good as before: nothing here is left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_worked_on_once_and_before_the_call_returns() {
        for threads in 1..4 {
            let team = Team::new(threads);
            for round in 0..50 {
                let mut numbers = vec![round; 2 * threads];
                team.each(numbers.chunks_mut(1).collect(), |part: &mut [i32]| {
                    for number in part {
                        *number += 1;
                    }
                });
                assert_eq!(numbers, vec![round + 1; 2 * threads]);
            }
        }
    }

    /// A panic in one thread must neither hang the others nor leave them with a dangling job.
    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        let team = Team::new(2);
        for culprit in 0..2 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                team.each(vec![0, 1], |part| assert_ne!(part, culprit, "on purpose"));
            }));
            assert!(caught.is_err());
        }
        let sum = AtomicUsize::new(0);
        team.each(vec![1, 2], |part| {
            sum.fetch_add(part, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 3);
    }

    #[test]
    fn callers_of_one_team_take_turns() {
        let (team, sum) = (Team::new(2), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        team.each(vec![1, 1], |part| {
                            sum.fetch_add(part, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 120);
    }
}
