//! Whether nobody uses an endpoint, beyond doubt: every source that could know of a request says that there was none. PURE.

use std::time::Duration;

use lexiscale_wire::LoadCounters;

/// One source that could know of a request: a gateway, or a worker that is asked directly.
#[derive(Clone, Debug, PartialEq)]
pub struct Witness<'a> {
    /// As a reader knows it: `gateway lexiscale-gateway-0`.
    pub name: String,
    /// What it said a moment ago, and for how many seconds it has been there to know.
    pub said: Result<(&'a LoadCounters, f64), Silence>,
}

/// Nothing was heard of a source lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence;

/// `watched` is for how many seconds all of them were listened to without a gap: whoever came later than that is vouched for. An
/// error says who stands in the way, and why.
pub fn idleness<'a>(
    witnesses: impl IntoIterator<Item = Witness<'a>>,
    limit: Duration,
    watched: f64,
) -> Result<(), String> {
    let limit = limit.as_secs_f64();
    for Witness { name, said } in witnesses {
        let Ok((counters, uptime)) = said else { return Err(format!("{name} does not answer")) };
        let LoadCounters { queued, in_flight, idle, .. } = counters;
        if *queued > 0 || *in_flight > 0 {
            return Err(format!("{name} has {queued} requests waiting and {in_flight} under way"));
        }
        // Not a number is no proof of anything.
        let rested = |seconds: f64| seconds >= limit;
        match idle {
            Some(idle) if !rested(*idle) => return Err(format!("{name} had a request {idle:.0} s ago")),
            // It never saw a request, and knows nothing of the time before it began.
            None if !rested(uptime) && !rested(watched) => {
                return Err(format!(
                    "{name} runs for {uptime:.0} s only, and was watched for {watched:.0} s"
                ));
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    fn says(counters: &[Result<LoadCounters, Silence>], uptime: f64, watched: f64) -> Result<(), String> {
        let witnesses = counters.iter().enumerate().map(|(number, counters)| Witness {
            name: format!("gateway {number}"),
            said: counters.as_ref().map(|counters| (counters, uptime)).map_err(|silence| *silence),
        });
        idleness(witnesses, LIMIT, watched)
    }

    fn idle(seconds: f64) -> LoadCounters {
        LoadCounters { idle: Some(seconds), ..LoadCounters::default() }
    }

    #[test]
    fn one_witness_is_enough_to_keep_an_endpoint() {
        let rested = [Ok(idle(60.0)), Ok(LoadCounters::default()), Ok(idle(1e6))];
        assert_eq!(says(&rested, 60.0, 0.0), Ok(()));
        let waits = Ok(LoadCounters { queued: 1, ..LoadCounters::default() });
        let runs = Ok(LoadCounters { in_flight: 1, idle: Some(1e6), ..LoadCounters::default() });
        for (objection, word) in [
            (Ok(idle(59.0)), "59 s ago"),
            (Ok(idle(f64::NAN)), "NaN"),
            (waits, "1 requests waiting"),
            (runs, "1 under way"),
            (Err(Silence), "does not answer"),
        ] {
            let said = says(&[Ok(idle(1e6)), objection, Ok(idle(1e6))], 1e6, 1e6).unwrap_err();
            assert!(said.starts_with("gateway 1 ") && said.contains(word), "{said}");
        }
    }

    /// A gateway that was started anew says that it knows of no request, and there may have been one a minute ago.
    #[test]
    fn who_has_just_come_knows_nothing_of_the_time_before() {
        let new = [Ok(LoadCounters::default())];
        assert!(says(&new, 59.0, 59.0).unwrap_err().contains("runs for 59 s only"));
        assert!(says(&new, f64::NAN, f64::NAN).is_err());
        assert_eq!(says(&new, 60.0, 0.0), Ok(()));
        assert_eq!(says(&new, 0.0, 60.0), Ok(()), "all that it does not know was watched");
    }
}
