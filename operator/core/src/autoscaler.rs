//! How many allocations an endpoint should have, and why. PURE.
//!
//! Today: the fixed number, or the number that an adaptive endpoint starts with. What load asks for joins here.

use crate::validated::Allocations;

/// A number of allocations with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub replicas: u32,
    pub reason: Reason,
}

/// Why this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `numAllocations`.
    Fixed,
    /// An adaptive endpoint starts with its minimum, or with one where the minimum is zero: nobody has shown yet that
    /// it is idle.
    Start,
}

/// Decides for an endpoint about which nothing is known but its spec.
pub fn decide(allocations: Allocations) -> Decision {
    match allocations {
        Allocations::Fixed(count) => Decision { replicas: count.get(), reason: Reason::Fixed },
        Allocations::Adaptive(bounds) => {
            Decision { replicas: bounds.minimum().max(1), reason: Reason::Start }
        }
    }
}

/// The allocations that must serve before the endpoint counts as ready. An adaptive endpoint that is growing beyond its
/// minimum serves what it promised all the while.
pub fn required(allocations: Allocations, decision: &Decision) -> u32 {
    match allocations {
        Allocations::Fixed(count) => count.get(),
        Allocations::Adaptive(bounds) => bounds.minimum().max(1).min(decision.replicas),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::validated::AllocationBounds;

    #[test]
    fn adaptive_starts_at_its_minimum_or_at_one() {
        for (minimum, maximum, start) in [(3, 10, 3), (0, 10, 1), (1, 1, 1)] {
            let bounds = AllocationBounds::new(minimum, maximum).unwrap();
            let decision = decide(Allocations::Adaptive(bounds));
            assert_eq!(decision, Decision { replicas: start, reason: Reason::Start });
        }
    }

    #[test]
    fn a_fixed_number_is_that_number() {
        let allocations = Allocations::Fixed(NonZeroU32::new(7).unwrap());
        let decision = decide(allocations);
        assert_eq!(decision, Decision { replicas: 7, reason: Reason::Fixed });
        assert_eq!(required(allocations, &decision), 7);
    }
}
