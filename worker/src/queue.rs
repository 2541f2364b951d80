//! Which texts run next. PURE: a plain structure that is told the time and whether somebody still waits; `engine.rs`
//! moves the messages.
//!
//! Texts run together only when they are padded to the same length, and that length depends on the text alone. So a
//! text meets the same shape of arithmetic whoever its neighbours are, and its vector is the same alone and in any batch,
//! but for the last digit that ONNX Runtime's threads have been seen to differ in.

use std::collections::VecDeque;
use std::time::Instant;

use lexiscale_wire::InputType;

/// After so many batches of searches in a row, one batch of documents has its turn.
const SEARCHES_IN_A_ROW: u32 = 16;

/// How far behind the first text others of its length are looked for.
const LOOK_AHEAD: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Texts that may wait.
    pub capacity: usize,
    /// Texts that run together.
    pub batch_texts: usize,
    /// Tokens that run together, padding included; bounds the memory of one run.
    pub batch_tokens: usize,
}

/// A text that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job<T> {
    pub input_type: InputType,
    /// As [`padded_length`] gives it.
    pub length: usize,
    pub arrived: Instant,
    pub deadline: Option<Instant>,
    pub payload: T,
}

/// What [`Queue::next`] took out.
#[derive(Debug, PartialEq, Eq)]
pub struct Next<T> {
    /// All of one padded length. Empty when nothing waits.
    pub batch: Vec<Job<T>>,
    /// Too late to be of use.
    pub expired: Vec<Job<T>>,
    /// How many were thrown away because nobody waits for them.
    pub abandoned: usize,
}

/// There is no room for that many texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} of {capacity} texts are waiting, {asked} more do not fit")]
pub struct Full {
    pub waiting: usize,
    pub capacity: usize,
    pub asked: usize,
}

#[derive(Debug)]
pub struct Queue<T> {
    limits: Limits,
    search: VecDeque<Job<T>>,
    ingest: VecDeque<Job<T>>,
    searches_in_a_row: u32,
}

/// Rounds a number of tokens up, in steps that grow with it, so that texts of similar length can run together and none
/// is padded by more than a quarter or by three tokens. Never beyond `window`, the positions that the model has.
pub fn padded_length(tokens: usize, window: usize) -> usize {
    let step = match tokens {
        0..=32 => 4,
        33..=128 => 8,
        _ => 16,
    };
    tokens.max(1).next_multiple_of(step).min(window)
}

impl<T> Queue<T> {
    pub fn new(limits: Limits) -> Self {
        Self { limits, search: VecDeque::new(), ingest: VecDeque::new(), searches_in_a_row: 0 }
    }

    pub fn len(&self) -> usize {
        self.search.len() + self.ingest.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a request of so many texts would be taken now.
    pub fn check_room(&self, asked: usize) -> Result<(), Full> {
        let Limits { capacity, batch_texts: _, batch_tokens: _ } = self.limits;
        if self.len().saturating_add(asked) > capacity {
            return Err(Full { waiting: self.len(), capacity, asked });
        }
        Ok(())
    }

    /// Takes all texts of a request or none.
    pub fn push(&mut self, jobs: Vec<Job<T>>) -> Result<(), Full> {
        self.check_room(jobs.len())?;
        for job in jobs {
            match job.input_type {
                InputType::Search => self.search.push_back(job),
                InputType::Ingest => self.ingest.push_back(job),
            }
        }
        Ok(())
    }

    /// The oldest text that is still wanted, searches first, and those behind it that have its length.
    pub fn next(&mut self, now: Instant, is_abandoned: impl Fn(&T) -> bool) -> Next<T> {
        let limits = self.limits;
        let mut next = Next { batch: Vec::new(), expired: Vec::new(), abandoned: 0 };
        while !self.is_empty() && next.batch.is_empty() {
            let lane = self.lane();
            take_batch(lane, limits, now, &is_abandoned, &mut next);
        }
        next
    }

    fn lane(&mut self) -> &mut VecDeque<Job<T>> {
        let ingest_has_waited_long = self.searches_in_a_row >= SEARCHES_IN_A_ROW;
        if self.search.is_empty() || (ingest_has_waited_long && !self.ingest.is_empty()) {
            self.searches_in_a_row = 0;
            return &mut self.ingest;
        }
        self.searches_in_a_row += 1;
        &mut self.search
    }
}

fn take_batch<T>(
    lane: &mut VecDeque<Job<T>>,
    limits: Limits,
    now: Instant,
    is_abandoned: &impl Fn(&T) -> bool,
    next: &mut Next<T>,
) {
    let mut index = 0;
    let mut seen = 0;
    while index < lane.len() && seen < LOOK_AHEAD {
        seen += 1;
        let job = &lane[index];
        let is_expired = job.deadline.is_some_and(|deadline| deadline <= now);
        let is_unwanted = is_abandoned(&job.payload);
        if let (false, false, Some(first)) = (is_unwanted, is_expired, next.batch.first()) {
            let texts = next.batch.len() + 1;
            if texts > limits.batch_texts || texts * first.length > limits.batch_tokens {
                return;
            }
            if job.length != first.length {
                index += 1;
                continue;
            }
        }
        let Some(job) = lane.remove(index) else { return };
        if is_unwanted {
            next.abandoned += 1;
        } else if is_expired {
            next.expired.push(job);
        } else {
            next.batch.push(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { capacity: 100, batch_texts: 4, batch_tokens: 64 };

    fn job(input_type: InputType, length: usize, payload: u32) -> Job<u32> {
        let arrived = Instant::now();
        Job { input_type, length, arrived, deadline: None, payload }
    }

    fn payloads(jobs: &[Job<u32>]) -> Vec<u32> {
        jobs.iter().map(|job| job.payload).collect()
    }

    fn next(queue: &mut Queue<u32>) -> Vec<u32> {
        payloads(&queue.next(Instant::now(), |_| false).batch)
    }

    #[test]
    fn searches_go_first() {
        let mut queue = Queue::new(LIMITS);
        queue.push(vec![job(InputType::Ingest, 8, 1)]).unwrap();
        queue.push(vec![job(InputType::Search, 8, 2)]).unwrap();
        assert_eq!(next(&mut queue), [2]);
        assert_eq!(next(&mut queue), [1]);
    }

    /// An index that never gets its documents while people search is as broken as a slow search.
    #[test]
    fn documents_are_not_starved_by_searches() {
        let mut queue = Queue::new(Limits { batch_texts: 1, ..LIMITS });
        queue.push(vec![job(InputType::Ingest, 8, 1)]).unwrap();
        let mut turns = 0;
        loop {
            queue.push(vec![job(InputType::Search, 8, 2)]).unwrap();
            turns += 1;
            if next(&mut queue) == [1] {
                break;
            }
            assert!(turns <= SEARCHES_IN_A_ROW, "documents never ran");
        }
    }

    #[test]
    fn only_texts_of_one_length_run_together_and_the_oldest_is_among_them() {
        let mut queue = Queue::new(LIMITS);
        let jobs = [(8, 1), (12, 2), (8, 3), (16, 4), (8, 5)];
        queue.push(jobs.map(|(length, id)| job(InputType::Ingest, length, id)).to_vec()).unwrap();
        assert_eq!(next(&mut queue), [1, 3, 5]);
        assert_eq!(next(&mut queue), [2]);
        assert_eq!(next(&mut queue), [4]);
    }

    #[test]
    fn a_batch_is_bounded_in_texts_and_tokens() {
        let mut queue = Queue::new(LIMITS);
        queue.push((0..6).map(|id| job(InputType::Ingest, 8, id)).collect()).unwrap();
        assert_eq!(next(&mut queue).len(), 4);
        let mut queue = Queue::new(LIMITS);
        queue.push((0..6).map(|id| job(InputType::Ingest, 32, id)).collect()).unwrap();
        assert_eq!(next(&mut queue).len(), 2);
        let mut queue = Queue::new(LIMITS);
        queue.push(vec![job(InputType::Ingest, 512, 7)]).unwrap();
        assert_eq!(next(&mut queue), [7], "a text longer than the budget runs alone");
    }

    #[test]
    fn what_nobody_waits_for_costs_nothing() {
        let mut queue = Queue::new(LIMITS);
        let now = Instant::now();
        let late = Job { deadline: Some(now), ..job(InputType::Ingest, 8, 2) };
        let in_time = Job { deadline: Some(now + Duration::from_secs(9)), ..job(InputType::Ingest, 8, 3) };
        queue.push(vec![job(InputType::Ingest, 8, 1), late, in_time]).unwrap();
        let taken = queue.next(now, |id| *id == 1);
        assert_eq!(taken.abandoned, 1);
        assert_eq!(payloads(&taken.expired), [2]);
        assert_eq!(payloads(&taken.batch), [3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_request_is_taken_whole_or_not_at_all() {
        let mut queue = Queue::new(Limits { capacity: 3, ..LIMITS });
        queue.push(vec![job(InputType::Ingest, 8, 1), job(InputType::Ingest, 8, 2)]).unwrap();
        let refused = queue.push(vec![job(InputType::Search, 8, 3), job(InputType::Search, 8, 4)]);
        assert_eq!(refused, Err(Full { waiting: 2, capacity: 3, asked: 2 }));
        assert_eq!(queue.len(), 2);
    }

    /// A model with 510 positions has no 512th, and a longer batch would fail.
    #[test]
    fn padding_ends_at_a_window_that_is_no_multiple_of_a_step() {
        for tokens in 497..=510 {
            assert_eq!(padded_length(tokens, 510), 510);
        }
        assert_eq!(padded_length(496, 510), 496);
        assert_eq!(padded_length(1, 2), 2);
    }

    proptest! {
        /// Nothing is lost, nothing runs twice, and each batch keeps its bounds.
        #[test]
        fn every_text_leaves_once(
            lengths in proptest::collection::vec((1_usize..40, any::<bool>()), 0..80),
        ) {
            let mut queue = Queue::new(LIMITS);
            for (id, (tokens, is_search)) in (0_u32..).zip(&lengths) {
                let input_type = if *is_search { InputType::Search } else { InputType::Ingest };
                queue.push(vec![job(input_type, padded_length(*tokens, 512), id)]).unwrap();
            }
            let mut seen = Vec::new();
            while !queue.is_empty() {
                let batch = queue.next(Instant::now(), |_| false).batch;
                prop_assert!(!batch.is_empty() && batch.len() <= LIMITS.batch_texts);
                prop_assert!(batch.iter().all(|job| job.length == batch[0].length));
                prop_assert!(batch.len() == 1 || batch.len() * batch[0].length <= LIMITS.batch_tokens);
                seen.extend(payloads(&batch));
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0_u32..).take(lengths.len()).collect::<Vec<_>>());
        }

        #[test]
        fn padding_is_small_and_monotone_and_stays_in_the_window(tokens in 1_usize..2000, beyond in 1_usize..600) {
            let window = tokens + beyond;
            let padded = padded_length(tokens, window);
            prop_assert!((tokens..=window).contains(&padded) && padded - tokens < 16);
            prop_assert!(padded - tokens < 4 || (padded - tokens) * 4 <= tokens);
            prop_assert!(padded_length(tokens + 1, window) >= padded);
            prop_assert_eq!(padded_length(padded, window), padded);
        }
    }
}
