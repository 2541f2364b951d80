//! Which texts run next. PURE: a plain structure that is told the time and whether somebody still waits; `engine.rs`
//! moves the messages. Only short texts run together, and only where the engine reads its weights once for all of them.

use std::collections::VecDeque;
use std::time::Instant;

use lexiscale_wire::InputType;

/// After so many searches in a row, one document has its turn.
const SEARCHES_IN_A_ROW: u32 = 16;

/// Texts that run together: the first one of them waits for the last.
const MOST_TOGETHER: usize = 8;

/// A text that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job<T> {
    pub input_type: InputType,
    pub tokens: usize,
    pub arrived: Instant,
    pub deadline: Option<Instant>,
    pub payload: T,
}

/// How much one lane may take at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Lanes that could take what waits.
    pub lanes: usize,
    /// Tokens of texts that run together; a longer text runs alone.
    pub tokens: usize,
}

/// What [`Queue::next`] took out.
#[derive(Debug, PartialEq, Eq)]
pub struct Next<T> {
    /// All of one kind. Empty when nothing waits.
    pub jobs: Vec<Job<T>>,
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
    capacity: usize,
    search: VecDeque<Job<T>>,
    ingest: VecDeque<Job<T>>,
    searches_in_a_row: u32,
}

impl<T> Queue<T> {
    /// `capacity` is the number of texts that may wait.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, search: VecDeque::new(), ingest: VecDeque::new(), searches_in_a_row: 0 }
    }

    pub fn len(&self) -> usize {
        self.search.len() + self.ingest.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a request of so many texts would be taken now.
    pub fn check_room(&self, asked: usize) -> Result<(), Full> {
        if self.len().saturating_add(asked) > self.capacity {
            return Err(Full { waiting: self.len(), capacity: self.capacity, asked });
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

    /// The oldest text that is still wanted, searches first, and those behind it that are as short and find no other lane.
    pub fn next(&mut self, share: Share, now: Instant, is_abandoned: impl Fn(&T) -> bool) -> Next<T> {
        let mut next = Next { jobs: Vec::new(), expired: Vec::new(), abandoned: 0 };
        let most = self.len().div_ceil(share.lanes.max(1)).min(MOST_TOGETHER);
        let mut tokens = 0;
        while let Some(job) = self.oldest(next.jobs.first(), share.tokens.saturating_sub(tokens)) {
            if is_abandoned(&job.payload) {
                next.abandoned += 1;
            } else if job.deadline.is_some_and(|deadline| deadline <= now) {
                next.expired.push(job);
            } else {
                self.searches_in_a_row = match job.input_type {
                    InputType::Search => self.searches_in_a_row + 1,
                    InputType::Ingest => 0,
                };
                tokens += job.tokens;
                next.jobs.push(job);
                if next.jobs.len() >= most {
                    break;
                }
            }
        }
        next
    }

    /// The first text of all; or, behind a `first` one, the next of its kind that has no more than `room` tokens.
    fn oldest(&mut self, first: Option<&Job<T>>, room: usize) -> Option<Job<T>> {
        if let Some(first) = first {
            let lane = match first.input_type {
                InputType::Search => &mut self.search,
                InputType::Ingest => &mut self.ingest,
            };
            return if lane.front()?.tokens <= room { lane.pop_front() } else { None };
        }
        let ingest_has_waited_long = self.searches_in_a_row >= SEARCHES_IN_A_ROW;
        if ingest_has_waited_long {
            return self.ingest.pop_front().or_else(|| self.search.pop_front());
        }
        self.search.pop_front().or_else(|| self.ingest.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const ALONE: Share = Share { lanes: 1, tokens: 0 };

    fn job(input_type: InputType, payload: u32) -> Job<u32> {
        Job { input_type, tokens: 10, arrived: Instant::now(), deadline: None, payload }
    }

    fn payloads(jobs: &[Job<u32>]) -> Vec<u32> {
        jobs.iter().map(|job| job.payload).collect()
    }

    fn next(queue: &mut Queue<u32>) -> Option<u32> {
        let jobs = queue.next(ALONE, Instant::now(), |_| false).jobs;
        assert!(jobs.len() <= 1);
        jobs.first().map(|job| job.payload)
    }

    #[test]
    fn searches_go_first_and_the_oldest_of_a_kind_before_the_others() {
        let mut queue = Queue::new(9);
        queue.push(vec![job(InputType::Ingest, 1), job(InputType::Ingest, 2)]).unwrap();
        queue.push(vec![job(InputType::Search, 3), job(InputType::Search, 4)]).unwrap();
        assert_eq!([(); 5].map(|()| next(&mut queue)), [Some(3), Some(4), Some(1), Some(2), None]);
    }

    /// An index that never gets its documents while people search is as broken as a slow search.
    #[test]
    fn documents_are_not_starved_by_searches() {
        let mut queue = Queue::new(9);
        queue.push(vec![job(InputType::Ingest, 1)]).unwrap();
        let mut turns = 0;
        loop {
            queue.push(vec![job(InputType::Search, 2)]).unwrap();
            turns += 1;
            if next(&mut queue) == Some(1) {
                break;
            }
            assert!(turns <= SEARCHES_IN_A_ROW, "documents never ran");
        }
        assert_eq!(turns, SEARCHES_IN_A_ROW + 1);
    }

    /// A search that waits must not be held up by documents that are not there.
    #[test]
    fn searches_alone_go_on_and_on() {
        let mut queue = Queue::new(100);
        queue.push((0..50).map(|id| job(InputType::Search, id)).collect()).unwrap();
        for id in 0..50 {
            assert_eq!(next(&mut queue), Some(id));
        }
    }

    #[test]
    fn what_nobody_waits_for_costs_nothing() {
        let mut queue = Queue::new(9);
        let now = Instant::now();
        let late = Job { deadline: Some(now), ..job(InputType::Ingest, 2) };
        let in_time = Job { deadline: Some(now + Duration::from_secs(9)), ..job(InputType::Ingest, 3) };
        queue.push(vec![job(InputType::Ingest, 1), late, in_time]).unwrap();
        let taken = queue.next(ALONE, now, |id| *id == 1);
        assert_eq!(taken.abandoned, 1);
        assert_eq!(payloads(&taken.expired), [2]);
        assert_eq!(payloads(&taken.jobs), [3]);
        assert!(queue.is_empty());
    }

    /// The weights are read once for all of them. A lane that rests is of more use than that.
    #[test]
    fn short_texts_run_together_when_there_are_more_than_lanes() {
        let now = Instant::now();
        let texts = |lengths: &[usize]| {
            let mut queue = Queue::new(99);
            let jobs =
                (0..).zip(lengths).map(|(id, tokens)| Job { tokens: *tokens, ..job(InputType::Ingest, id) });
            queue.push(jobs.collect()).unwrap();
            queue
        };
        let share = |lanes| Share { lanes, tokens: 32 };
        let taken = |queue: &mut Queue<u32>, lanes| payloads(&queue.next(share(lanes), now, |_| false).jobs);
        assert_eq!(taken(&mut texts(&[10, 10, 10, 10]), 1), [0, 1, 2], "as many as fit");
        assert_eq!(taken(&mut texts(&[10, 10, 10, 10]), 2), [0, 1], "half for each lane");
        assert_eq!(taken(&mut texts(&[10, 10]), 2), [0], "one for each lane");
        assert_eq!(taken(&mut texts(&[100, 10, 10]), 1), [0], "a long one alone");
        assert_eq!(taken(&mut texts(&[10, 100, 10]), 1), [0], "and nobody overtakes it");
        assert_eq!(taken(&mut texts(&[1; 20]), 1).len(), MOST_TOGETHER);
        let mut mixed = Queue::new(9);
        mixed
            .push(vec![job(InputType::Ingest, 1), job(InputType::Search, 2), job(InputType::Search, 3)])
            .unwrap();
        assert_eq!(taken(&mut mixed, 1), [2, 3], "searches do not wait for documents");
    }

    #[test]
    fn a_request_is_taken_whole_or_not_at_all() {
        let mut queue = Queue::new(3);
        queue.push(vec![job(InputType::Ingest, 1), job(InputType::Ingest, 2)]).unwrap();
        let refused = queue.push(vec![job(InputType::Search, 3), job(InputType::Search, 4)]);
        assert_eq!(refused, Err(Full { waiting: 2, capacity: 3, asked: 2 }));
        assert_eq!(queue.len(), 2);
    }

    proptest! {
        /// Nothing is lost, nothing runs twice, and texts of a kind keep their order.
        #[test]
        fn every_text_leaves_once(kinds in proptest::collection::vec(any::<bool>(), 0..80), lanes in 1_usize..4) {
            let mut queue = Queue::new(100);
            for (id, is_search) in (0_u32..).zip(&kinds) {
                let input_type = if *is_search { InputType::Search } else { InputType::Ingest };
                queue.push(vec![job(input_type, id)]).unwrap();
            }
            let mut seen: [Vec<u32>; 2] = [Vec::new(), Vec::new()];
            loop {
                let jobs = queue.next(Share { lanes, tokens: 25 }, Instant::now(), |_| false).jobs;
                if jobs.is_empty() {
                    break;
                }
                prop_assert!(jobs.iter().all(|job| job.input_type == jobs[0].input_type));
                for job in jobs {
                    seen[usize::from(job.input_type == InputType::Search)].push(job.payload);
                }
            }
            prop_assert!(seen.iter().all(|kind| kind.is_sorted()));
            let mut all = seen.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0_u32..).take(kinds.len()).collect::<Vec<_>>());
        }
    }
}
