//! Elasticsearch's adaptive allocations once more, transcribed step by step from section 5 of the specification. It shares
//! no code and no type with what it is compared with, and prefers the specification's wording to any elegance.

/// 5.2, smoothing factor 100.
#[derive(Default)]
struct Filter {
    has_value: bool,
    estimate: f64,
    variance: f64,
    remembered_changed: bool,
}

impl Filter {
    fn add(&mut self, x: f64, v: f64, auto_detection: bool, external_flag: bool) {
        if !self.has_value {
            self.has_value = true;
            self.estimate = x;
            self.variance = v;
            self.remembered_changed = true;
            return;
        }
        let mut q = v / 100.0;
        let mut changed = external_flag;
        if auto_detection {
            let ten_sigma = (x - self.estimate) * (x - self.estimate) / (v + self.variance);
            if ten_sigma > 100.0 {
                changed = true;
            }
        }
        if changed || self.remembered_changed {
            q = x * x;
        }
        let g = (self.variance + q) / (self.variance + q + v);
        self.estimate += g * (x - self.estimate);
        self.variance = (1.0 - g) * (self.variance + q);
        self.remembered_changed = changed;
    }

    fn low(&self) -> f64 {
        self.estimate - self.variance.sqrt()
    }

    fn high(&self) -> f64 {
        self.estimate + self.variance.sqrt()
    }
}

/// What one cycle sees of a deployment.
pub(crate) struct Cycle {
    /// Wall time in microseconds.
    pub now: i64,
    pub dt: f64,
    pub number_of_allocations: u32,
    pub running: u32,
    pub starting: u32,
    pub seconds_since_latest_start: Option<f64>,
    pub successes: u64,
    pub pending: u64,
    /// The sum over the nodes of the growth of each.
    pub pending_growth: Option<u64>,
    pub failures: u64,
    pub mean_time: f64,
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub scale_to_zero_time: f64,
}

#[derive(Default)]
pub(crate) struct Deployment {
    rate: Filter,
    time: Filter,
    number_changed: bool,
    idle_clock: f64,
    baseline: Option<u64>,
    last_scale_up: Option<i64>,
}

impl Deployment {
    /// 5.5
    pub(crate) fn wake_up(&mut self, now: i64) {
        self.last_scale_up = Some(now);
        self.idle_clock = 0.0;
    }

    /// The number of allocations to update to, if any.
    pub(crate) fn cycle(&mut self, o: &Cycle) -> Option<u32> {
        // 5.1: zero allocations, or nothing to take a difference to.
        if o.number_of_allocations == 0 {
            return None;
        }
        let earlier_pending = self.baseline.replace(o.pending)?;
        let growth = match o.pending_growth {
            Some(growth) => growth,
            None if o.pending > earlier_pending => o.pending - earlier_pending,
            None => 0,
        };
        let c = (o.successes + growth + o.failures) as f64;

        // 5.3, feeding
        if c > 0.0 {
            self.idle_clock = 0.0;
        } else {
            self.idle_clock += o.dt;
        }
        let r = c / o.dt;
        let current_estimate = if self.rate.has_value { self.rate.estimate } else { r };
        let poisson = f64::max(1.0, current_estimate * o.dt) / (o.dt * o.dt);
        self.rate.add(r, poisson, true, false);
        if c > 0.0 && !o.mean_time.is_nan() {
            let t = if self.time.has_value { self.time.estimate } else { o.mean_time };
            self.time.add(o.mean_time, t * t / c, false, self.number_changed);
        }
        self.number_changed = false;

        // 5.3, deciding
        let old = o.number_of_allocations;
        let mut n = old;
        let mut low = f64::max(0.0, self.rate.low());
        let mut high = self.rate.high();
        if self.time.has_value {
            low *= f64::max(0.0, self.time.low());
            high *= self.time.high();
        }
        while low / f64::from(n) > 0.9 {
            n += 1;
        }
        while n > 1 && high / f64::from(n - 1) < 0.85 {
            n -= 1;
        }
        if o.max.is_none() {
            n = n.min(32);
        }
        if let Some(min) = o.min {
            n = n.max(min);
        }
        if let Some(max) = o.max {
            n = n.min(max);
        }
        if o.min.unwrap_or(0) == 0 && self.idle_clock > o.scale_to_zero_time {
            n = 0;
        }
        if n == old {
            return None;
        }
        self.number_changed = true;

        // 5.4
        if o.running == 0 {
            return None;
        }
        if n < old {
            let scaled_up_lately = self.last_scale_up.is_some_and(|time| o.now < time + 300_000_000);
            let started_lately = o.seconds_since_latest_start.is_some_and(|age| age < 300.0);
            if scaled_up_lately || o.starting > 0 || started_lately {
                return None;
            }
        } else {
            self.last_scale_up = Some(o.now);
        }
        Some(n)
    }
}
