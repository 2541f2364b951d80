//! Whether nobody uses an endpoint, beyond doubt: every source that could know of a request says that there was none. PURE.

use std::time::Duration;

use lexiscale_wire::LoadCounters;

/// One source that could know of a request: a gateway, or a worker that is asked directly.
#[derive(Clone, Debug, PartialEq)]
pub struct Witness<'a> {
    /// As a reader knows it: `gateway lexiscale-gateway-0`.
    pub name: String,
    /// What it said a moment ago.
    pub counters: Result<&'a LoadCounters, Silence>,
}

/// Nothing was heard of a source lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence;

/// An error says who stands in the way, and why.
pub fn idleness<'a>(witnesses: impl IntoIterator<Item = Witness<'a>>, limit: Duration) -> Result<(), String> {
    for Witness { name, counters } in witnesses {
        let Ok(counters) = counters else { return Err(format!("{name} does not answer")) };
        let LoadCounters { queued, in_flight, idle, .. } = counters;
        if *queued > 0 || *in_flight > 0 {
            return Err(format!("{name} has {queued} requests waiting and {in_flight} under way"));
        }
        // A source that never saw a request knows of none. Not a number is no proof of anything.
        if let Some(idle) = idle {
            let has_rested = *idle >= limit.as_secs_f64();
            if !has_rested {
                return Err(format!("{name} had a request {idle:.0} s ago"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    fn says(counters: &[Result<LoadCounters, Silence>]) -> Result<(), String> {
        let witness = |(number, counters): (usize, &'_ Result<LoadCounters, Silence>)| {
            (format!("gateway {number}"), counters.clone())
        };
        let all: Vec<_> = counters.iter().enumerate().map(witness).collect();
        idleness(
            all.iter().map(|(name, counters)| Witness {
                name: name.clone(),
                counters: counters.as_ref().map_err(|silence| *silence),
            }),
            LIMIT,
        )
    }

    fn idle(seconds: f64) -> LoadCounters {
        LoadCounters { idle: Some(seconds), ..LoadCounters::default() }
    }

    #[test]
    fn one_witness_is_enough_to_keep_an_endpoint() {
        assert_eq!(says(&[Ok(idle(60.0)), Ok(LoadCounters::default()), Ok(idle(1e6))]), Ok(()));
        let waits = Ok(LoadCounters { queued: 1, ..LoadCounters::default() });
        let runs = Ok(LoadCounters { in_flight: 1, idle: Some(1e6), ..LoadCounters::default() });
        for (objection, word) in [
            (Ok(idle(59.0)), "59 s ago"),
            (Ok(idle(f64::NAN)), "NaN"),
            (waits, "1 requests waiting"),
            (runs, "1 under way"),
            (Err(Silence), "does not answer"),
        ] {
            let said = says(&[Ok(idle(1e6)), objection, Ok(idle(1e6))]).unwrap_err();
            assert!(said.starts_with("gateway 1 ") && said.contains(word), "{said}");
        }
    }
}
