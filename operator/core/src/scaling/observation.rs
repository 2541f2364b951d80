//! What happened at one endpoint since the observation before, summed over all gateways and direct traffic. PURE.

/// Times are in seconds, counts in requests (an inference call of any number of texts that reaches an allocation as
/// one piece). Means are over the interval and absent where nothing happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Seconds since the previous observation, measured.
    pub interval: f64,
    /// Allocations that should run.
    pub desired: u32,
    /// Allocations that serve.
    pub ready: u32,
    /// Allocations that exist and do not serve yet.
    pub starting: u32,
    /// Standby allocations that are ready: beside those that serve, and lent the moment all of these are busy.
    pub standby: u32,
    /// Seconds since the latest of the allocations began to serve, where that is known.
    pub youngest: Option<f64>,
    /// Requests that came in.
    pub arrivals: u64,
    /// Requests that an allocation has answered.
    pub completed: u64,
    /// Requests that failed, timed out or were refused.
    pub failed: u64,
    /// Requests that wait now, those that are held for an allocation to start included.
    pub queued: u64,
    /// By how much `queued` has grown, where it is the sum of several sources: the sum over those where it has grown.
    pub queue_growth: Option<u64>,
    /// Requests that allocations work on now.
    pub in_flight: u64,
    /// Mean time of an allocation for a request, without waiting.
    pub service_time: Option<f64>,
    /// Mean time that a request waited.
    pub queue_time: Option<f64>,
    /// Mean time from arrival to answer.
    pub latency: Option<f64>,
    /// Mean number of requests in the system.
    pub concurrency: f64,
    /// Share of the ready allocations' time that was spent on requests.
    pub utilization: Option<f64>,
    /// Requests, answered or failed, that missed the endpoint's latency goal, where that is measured.
    pub late: Option<u64>,
    /// Squared coefficient of variation of the service time, where that is measured.
    pub service_time_variation: Option<f64>,
}

/// An observation whose numbers can be.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a>(&'a Observation);

impl std::ops::Deref for Checked<'_> {
    type Target = Observation;

    fn deref(&self) -> &Observation {
        self.0
    }
}

/// Why an observation is not to be decided on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} of the observation is {value}, which cannot be")]
pub struct Flaw {
    field: &'static str,
    value: f64,
}

/// A year: beyond that, a number of seconds is a mistake.
const LONGEST: f64 = 365.0 * 24.0 * 3600.0;

/// Rates over less than a millisecond say nothing.
const SHORTEST: f64 = 1e-3;

/// More requests in one interval than any cluster sees.
const MOST: u64 = 1_000_000_000_000;

/// A share of more than this many allocations' time is a mistake; clocks of several sources may disagree a little.
const MOST_UTILIZED: f64 = 1000.0;

impl Observation {
    pub fn check(&self) -> Result<Checked<'_>, Flaw> {
        // Not a number is within nothing.
        let within = |field, value: f64, most: f64| {
            if value >= 0.0 && value <= most { Ok(()) } else { Err(Flaw { field, value }) }
        };
        let Self {
            interval,
            desired: _,
            ready: _,
            starting: _,
            standby: _,
            youngest,
            arrivals,
            completed,
            failed,
            queued,
            queue_growth,
            in_flight,
            service_time,
            queue_time,
            latency,
            concurrency,
            utilization,
            late,
            service_time_variation,
        } = self;
        within("interval", *interval, LONGEST)?;
        if *interval < SHORTEST {
            return Err(Flaw { field: "interval", value: *interval });
        }
        let late = late.unwrap_or_default();
        let queue_growth = queue_growth.unwrap_or_default();
        let counts = [
            ("arrivals", *arrivals),
            ("completed", *completed),
            ("failed", *failed),
            ("queued", *queued),
            ("queueGrowth", queue_growth),
            ("inFlight", *in_flight),
            ("late", late),
        ];
        for (field, count) in counts {
            within(field, as_number(count), as_number(MOST))?;
        }
        let times = [
            ("youngest", youngest),
            ("serviceTime", service_time),
            ("queueTime", queue_time),
            ("latency", latency),
        ];
        for (field, time) in times {
            within(field, time.unwrap_or_default(), LONGEST)?;
        }
        within("concurrency", *concurrency, as_number(MOST))?;
        within("utilization", utilization.unwrap_or_default(), MOST_UTILIZED)?;
        within("serviceTimeVariation", service_time_variation.unwrap_or_default(), 1e6)?;
        Ok(Checked(self))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
pub(super) fn as_number(count: u64) -> f64 {
    count as f64
}
