//! Threads for one text: work is cut into one part for each thread, and handed over within a microsecond while the team
//! is busy. A waiting thread spins for a few microseconds, then sleeps; an idle team costs nothing.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Rounds of spinning before a thread sleeps: about five microseconds. Longer, it would take time from whoever shares the
/// core, and a descheduled partner would be waited for in vain.
const SPINS: u32 = 200;

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
    /// Helpers that have not finished the job yet.
    pending: AtomicUsize,
    wake: Condvar,
    done: Condvar,
}

struct State {
    job: Option<Job>,
    closed: bool,
    panic: Option<Box<dyn Any + Send>>,
}

/// What a helper calls with its index. The real lifetime is that of [`Team::run`], which does not return before every helper has
/// finished.
type Job = &'static (dyn Fn(usize) + Sync);

impl Team {
    /// A team of this many threads, the caller's among them. If the system gives fewer, the team is smaller.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State { job: None, closed: false, panic: None }),
            posted: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
            wake: Condvar::new(),
            done: Condvar::new(),
        });
        let mut helpers = Vec::new();
        for index in 1..threads {
            let shared = Arc::clone(&shared);
            let helper = std::thread::Builder::new().name(format!("team-{index}"));
            let Ok(helper) = helper.spawn(move || shared.help(index)) else { break };
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

    /// Runs each part on a thread of its own. There may not be more parts than threads.
    pub(crate) fn each<P: Send>(&self, mut parts: Vec<P>, work: impl Fn(P) + Sync) {
        if parts.len() <= 1 {
            if let Some(part) = parts.pop() {
                work(part);
            }
            return;
        }
        assert!(parts.len() <= self.threads(), "more parts than threads");
        let parts: Vec<Mutex<Option<P>>> = parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
        self.run(&|index| {
            if let Some(part) = parts.get(index).and_then(|part| lock(part).take()) {
                work(part);
            }
        });
    }

    fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        let _turn = lock(&self.turn);
        // SAFETY: only the lifetime changes. The job is called by helpers between here and `wait`, which returns when
        // every helper has finished, and which also runs if the caller's own share panics.
        let job: Job = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Job>(job) };
        self.shared.post(job, self.helpers.len());
        let own = catch_unwind(AssertUnwindSafe(|| job(0)));
        let theirs = self.shared.wait();
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.posted.fetch_add(1, Ordering::Release);
        self.shared.wake.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper catches every panic of a job, so it cannot end with one.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn post(&self, job: Job, helpers: usize) {
        self.pending.store(helpers, Ordering::Relaxed);
        let mut state = lock(&self.state);
        state.job = Some(job);
        self.posted.fetch_add(1, Ordering::Release);
        drop(state);
        self.wake.notify_all();
    }

    fn wait(&self) -> Option<Box<dyn Any + Send>> {
        if !spin(|| self.pending.load(Ordering::Acquire) == 0) {
            let mut state = lock(&self.state);
            while self.pending.load(Ordering::Acquire) != 0 {
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let mut state = lock(&self.state);
        state.job = None;
        state.panic.take()
    }

    fn help(&self, index: usize) {
        let mut seen = 0;
        while let Some(job) = self.next(&mut seen) {
            let result = catch_unwind(AssertUnwindSafe(|| job(index)));
            if let Err(panic) = result {
                lock(&self.state).panic = Some(panic);
            }
            if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
                // Under the lock, so that the caller cannot go to sleep between its look and this call.
                drop(lock(&self.state));
                self.done.notify_one();
            }
        }
    }

    /// The next job, or nothing once the team has ended.
    fn next(&self, seen: &mut usize) -> Option<Job> {
        spin(|| self.posted.load(Ordering::Acquire) != *seen);
        let mut state = lock(&self.state);
        while self.posted.load(Ordering::Acquire) == *seen {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *seen = self.posted.load(Ordering::Acquire);
        if state.closed { None } else { state.job }
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
                team.each(numbers.chunks_mut(2).collect(), |part: &mut [i32]| {
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
