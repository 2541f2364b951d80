//! Who runs what how wide. PURE.
//!
//! A lane is a thread that runs one text after the other. Texts that wait run side by side, one for each lane with one thread each:
//! that is the way to most of them. A text that is alone gets all threads, as there is nobody else to use them; for as long
//! as it runs, a few milliseconds, the other lanes wait, because more threads than CPUs cost more than they give.

/// How many threads work on a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    All,
    One,
}

/// What the lanes are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    count: usize,
    busy: usize,
    is_wide: bool,
    can_be_wide: bool,
}

impl Lanes {
    pub fn new(count: usize) -> Self {
        Self { count, busy: 0, is_wide: false, can_be_wide: count > 1 }
    }

    /// Lanes that gain nothing from each other's threads.
    pub fn narrow(count: usize) -> Self {
        Self { can_be_wide: false, ..Self::new(count) }
    }

    /// Whether a lane that is free may take a text.
    pub fn may_start(self) -> bool {
        !self.is_wide
    }

    /// Lanes that could take a text now.
    pub fn free(self) -> usize {
        self.count.saturating_sub(self.busy)
    }

    /// Marks a lane as busy with what it took, behind which others wait or not.
    pub fn start(&mut self, others_wait: bool) -> Width {
        let is_alone = self.can_be_wide && self.busy == 0 && !others_wait;
        self.busy += 1;
        self.is_wide = is_alone;
        if is_alone { Width::All } else { Width::One }
    }

    pub fn end(&mut self) {
        self.busy = self.busy.saturating_sub(1);
        self.is_wide = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_alone_gets_all_threads_and_nobody_starts_beside_it() {
        let mut lanes = Lanes::new(2);
        assert_eq!(lanes.start(false), Width::All);
        assert!(!lanes.may_start());
        lanes.end();
        assert!(lanes.may_start());
    }

    /// Or a search would wait for a long document that uses one thread, while the other ones rest.
    #[test]
    fn lanes_that_cannot_be_wide_never_wait_for_each_other() {
        let mut lanes = Lanes::narrow(2);
        assert_eq!(lanes.start(false), Width::One);
        assert!(lanes.may_start());
    }

    #[test]
    fn texts_that_wait_run_side_by_side() {
        let mut lanes = Lanes::new(2);
        assert_eq!(lanes.start(true), Width::One);
        assert!(lanes.may_start());
        assert_eq!(lanes.start(false), Width::One, "the other one has a thread already");
        lanes.end();
        assert_eq!(lanes.start(false), Width::One);
    }

    #[test]
    fn one_lane_is_never_wide() {
        assert_eq!(Lanes::new(1).start(false), Width::One);
    }

    proptest! {
        /// Threads that compete for a CPU made everything slower wherever it was measured.
        #[test]
        fn no_more_threads_work_than_there_are(count in 1_usize..9, steps in proptest::collection::vec(any::<(bool, bool)>(), 0..99)) {
            let mut lanes = Lanes::new(count);
            let mut running: Vec<Width> = Vec::new();
            for (starts, others_wait) in steps {
                if starts && lanes.may_start() && running.len() < count {
                    running.push(lanes.start(others_wait));
                } else if running.pop().is_some() {
                    lanes.end();
                }
                let threads: usize = running.iter().map(|width| if *width == Width::All { count } else { 1 }).sum();
                prop_assert!(threads <= count);
            }
        }
    }
}
