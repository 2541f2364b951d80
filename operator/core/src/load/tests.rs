use super::*;

/// Looks are ten seconds apart here.
const INTERVAL: f64 = 10.0;

fn sample(source: &str, instance: &str, counters: LoadCounters) -> Sample {
    Sample { source: source.to_owned(), instance: instance.to_owned(), uptime: 0.0, counters }
}

fn counted(completed: u64, service_time: f64) -> LoadCounters {
    LoadCounters { arrivals: completed + 1, completed, service_time, queued: 1, ..LoadCounters::default() }
}

fn completed(happened: &Happened) -> (u64, f64) {
    (happened.sum.completed, happened.sum.service_time)
}

#[test]
fn what_happened_is_the_sum_of_what_grew() {
    let mut baselines = Baselines::default();
    let first = [sample("a", "1", counted(10, 1.0)), sample("b", "1", counted(100, 10.0))];
    assert_eq!(
        completed(&baselines.advance(first, INTERVAL)),
        (0, 0.0),
        "what was before the first look is no load"
    );
    let second = [sample("a", "1", counted(13, 1.5)), sample("b", "1", counted(104, 12.0))];
    let happened = baselines.advance(second, INTERVAL);
    assert_eq!(completed(&happened), (7, 2.5));
    assert_eq!(happened.sum.queued, 2, "what waits is what waits now");
}

/// A gateway that restarts counts from zero. Taken for a difference, that would be a load of nothing, or of billions.
#[test]
fn a_source_that_begins_anew_is_a_new_baseline() {
    let mut baselines = Baselines::default();
    baselines.advance([sample("a", "1", counted(1000, 100.0))], INTERVAL);
    assert_eq!(completed(&baselines.advance([sample("a", "2", counted(5, 0.5))], INTERVAL)), (0, 0.0));
    assert_eq!(completed(&baselines.advance([sample("a", "2", counted(8, 0.75))], INTERVAL)), (3, 0.25));
}

#[test]
fn a_counter_that_goes_back_counts_nothing() {
    let mut baselines = Baselines::default();
    baselines.advance([sample("a", "1", counted(1000, 100.0))], INTERVAL);
    assert_eq!(completed(&baselines.advance([sample("a", "1", counted(5, 0.5))], INTERVAL)), (0, 0.0));
}

#[test]
fn a_source_that_was_away_is_compared_with_nothing() {
    let mut baselines = Baselines::default();
    baselines.advance([sample("a", "1", counted(10, 1.0))], INTERVAL);
    baselines.advance([], INTERVAL);
    assert_eq!(completed(&baselines.advance([sample("a", "1", counted(1000, 100.0))], INTERVAL)), (0, 0.0));
}

/// A worker is asked every 20 s, and a law may look twice a second.
#[test]
fn what_is_told_rarely_is_no_burst() {
    let mut baselines = Baselines::default();
    let at = |uptime, completed| Sample { uptime, ..sample("a", "1", counted(completed, 0.0)) };
    baselines.advance([at(0.0, 0)], 0.5);
    let mut seen = Vec::new();
    for look in 1..=80_u32 {
        // Told anew after 20 s and after 40 s, the same in between.
        let told = u64::from(look / 40) * 200;
        let happened = baselines.advance([at(f64::from(look / 40) * 20.0, told)], 0.5);
        seen.push(happened.sum.completed);
    }
    assert_eq!(seen[..39], [0; 39]);
    assert!(seen[39..].iter().all(|count| (4..=6).contains(count)), "{seen:?}");
    for _ in 0..40 {
        seen.push(baselines.advance([at(40.0, 400)], 0.5).sum.completed);
    }
    assert_eq!(seen.iter().sum::<u64>(), 400, "none is lost");
}

/// Taken at its word, such a source would never be heard of again, and its endpoint shrink under load.
#[test]
fn a_source_whose_clock_has_jumped_is_compared_with_nothing_once() {
    let mut baselines = Baselines::default();
    let at = |uptime, completed| Sample { uptime, ..sample("a", "1", counted(completed, 0.0)) };
    baselines.advance([at(0.0, 0)], INTERVAL);
    for jump in [1e9, 1e300, f64::INFINITY] {
        let before = completed(&baselines.advance([at(jump, 40)], INTERVAL));
        assert_eq!(before, (0, 0.0), "{jump}");
        assert_eq!(completed(&baselines.advance([at(jump, 100)], INTERVAL)), (60, 0.0), "{jump}");
        baselines.advance([], INTERVAL);
        baselines.advance([at(0.0, 0)], INTERVAL);
    }
}

#[test]
fn means_and_spread_are_of_the_interval() {
    let mut baselines = Baselines::default();
    let mut counters = LoadCounters::default();
    baselines.advance([sample("a", "1", counters.clone())], INTERVAL);
    for milliseconds in [100, 300] {
        let service = std::time::Duration::from_millis(milliseconds);
        let times = lexiscale_wire::Times { service, queue: service, latency: service * 2 };
        counters.answered(times, None);
    }
    let happened = baselines.advance([sample("a", "1", counters)], INTERVAL);
    let allocated = Allocated { desired: 2, ready: 2, ..Allocated::default() };
    let observed = happened.observation(10.0, allocated, false);
    let close = |value: Option<f64>, expected: f64| {
        assert!(value.is_some_and(|value| (value - expected).abs() < 1e-9), "{value:?} is not {expected}");
    };
    close(observed.service_time, 0.2);
    close(observed.latency, 0.4);
    close(Some(observed.concurrency), 0.08);
    close(observed.utilization, 0.02);
    close(observed.service_time_variation, 0.25);
    assert_eq!(observed.late, None);
    assert!(observed.check().is_ok());
}

#[test]
fn nothing_that_happened_has_no_mean() {
    let observed = Happened::default().observation(10.0, Allocated::default(), true);
    let means = [observed.service_time, observed.latency, observed.utilization];
    assert_eq!((means, observed.late), ([None; 3], Some(0)));
    assert!(observed.check().is_ok());
}
