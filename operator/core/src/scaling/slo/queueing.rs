//! How many requests are late at a number of allocations: one line before all of them, G/G/k. PURE.
//!
//! Waiting is Erlang's C with an exponential tail, slowed by the variation of arrivals and service (Allen and Cunneen). The
//! service time is taken as lognormal, and each slice of it leaves its own time to wait.

/// The service time of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Service {
    /// Seconds.
    pub mean: f64,
    /// Squared coefficient of variation.
    pub variation: f64,
}

/// Slices of the service time: the standard normal quantile in the middle of each, and its share. Narrow at the end,
/// where a service time alone comes near to the goal.
const SLICES: [(f64, f64); 10] = [
    (-1.150, 0.25),
    (-0.319, 0.25),
    (0.319, 0.25),
    (0.842, 0.10),
    (1.175, 0.06),
    (1.476, 0.04),
    (1.812, 0.03),
    (2.171, 0.01),
    (2.432, 0.007),
    (2.878, 0.003),
];

/// Service times up to this standard normal quantile (84 %) are to fit behind a wait.
const USUAL: f64 = 1.0;

impl Service {
    /// The time that a share of the requests needs at most, by its standard normal quantile.
    fn quantile(self, normal: f64) -> f64 {
        let spread = self.variation.ln_1p();
        self.mean * (spread.sqrt() * normal - spread / 2.0).exp()
    }

    /// How long a usual request may wait and still keep its goal.
    pub(super) fn patience(self, goal: f64) -> f64 {
        (goal - self.quantile(USUAL)).max(goal * 0.1)
    }
}

/// The line before the allocations of one endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    service: Service,
    /// Variance of the arrivals in a time that is short beside the goal, in terms of their mean: 1 for independent ones.
    bursts: f64,
    /// What each slice of the service time leaves for waiting.
    slack: [f64; SLICES.len()],
}

impl Line {
    pub(super) fn new(service: Service, bursts: f64, goal: f64) -> Self {
        Self { service, bursts, slack: SLICES.map(|(normal, _)| goal - service.quantile(normal)) }
    }

    /// Share of the requests that are late whatever runs, as their service alone takes too long.
    pub(super) fn hopeless(&self) -> f64 {
        self.tail(0.0, 0.0)
    }

    /// Share of the requests that are late at `count` allocations under `rate` requests a second.
    pub(super) fn late(&self, rate: f64, count: u32) -> f64 {
        let count = f64::from(count);
        let load = rate * self.service.mean;
        if load >= count {
            return 1.0;
        }
        let pace = (count - load) / (self.service.mean * f64::midpoint(self.bursts, self.service.variation));
        self.tail(erlang_c(count, load), pace)
    }

    fn tail(&self, waits: f64, pace: f64) -> f64 {
        let late = |slack: f64| if slack <= 0.0 { 1.0 } else { waits * (-pace * slack).exp() };
        SLICES.iter().zip(self.slack).map(|((_, share), slack)| share * late(slack)).sum()
    }
}

/// Probability that a request has to wait.
fn erlang_c(count: f64, load: f64) -> f64 {
    // Far below the load a system of so many places refuses what exceeds them, so the recursion can begin there.
    let mut places = (load - 8.0 * load.sqrt() - 10.0).max(0.0).floor();
    let mut refused = if places > 0.0 { 1.0 - places / load } else { 1.0 };
    while places < count && refused > NEVER {
        places += 1.0;
        refused = load * refused / (places + load * refused);
    }
    refused / (1.0 - load / count * (1.0 - refused))
}

/// A probability below which nothing differs.
const NEVER: f64 = 1e-15;

#[cfg(test)]
mod tests {
    use super::*;

    /// Textbook values of Erlang's C.
    #[test]
    fn erlangs_c_is_what_the_tables_say() {
        for (count, load, expected) in
            [(1.0, 0.5, 0.5), (2.0, 1.0, 1.0 / 3.0), (10.0, 8.0, 0.409_180), (5.0, 4.0, 0.554_113)]
        {
            let found = erlang_c(count, load);
            assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
        }
    }

    #[test]
    fn a_short_cut_for_many_allocations_changes_nothing() {
        for (count, load) in [(420.0, 400.0), (1_000.0, 990.0), (2_500.0, 2_400.0_f64)] {
            let mut refused = 1.0;
            let mut places = 0.0;
            while places < count {
                places += 1.0;
                refused = load * refused / (places + load * refused);
            }
            let whole = refused / (1.0 - load / count * (1.0 - refused));
            assert!((erlang_c(count, load) - whole).abs() < 1e-9 + whole * 1e-6);
        }
    }

    #[test]
    fn more_allocations_are_never_later_and_more_load_never_earlier() {
        let line = Line::new(Service { mean: 0.1, variation: 0.36 }, 1.0, 0.5);
        for count in 1..40 {
            assert!(line.late(20.0, count + 1) <= line.late(20.0, count) + 1e-12);
            assert!(line.late(20.0, count) <= line.late(21.0, count) + 1e-12);
            assert!(line.late(20.0, count) >= line.hopeless() - 1e-12);
        }
    }

    #[test]
    fn one_allocation_with_exponential_service_is_late_as_m_m_1_is() {
        // In M/M/1 the time in the system is exponential with rate 1/s - arrivals; the law's lognormal comes near.
        let line = Line::new(Service { mean: 0.1, variation: 1.0 }, 1.0, 0.5);
        let exact = (-(10.0 - 5.0) * 0.5_f64).exp();
        let found = line.late(5.0, 1);
        assert!((found / exact - 1.0).abs() < 0.25, "{found} instead of {exact}");
    }
}
