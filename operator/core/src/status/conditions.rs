//! Conditions after kstatus: `Ready` always, `Reconciling` and `Stalled` only while true, never both of them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lexiscale_crds::{ConditionType, Failure};

/// A reason and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub reason: String,
    pub message: String,
}

impl Said {
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into() }
    }
}

/// The operator is working towards the spec.
pub type Progressing = Said;
/// Somebody has to change something.
pub type Stall = Said;

/// What is between an object and its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does what its spec asks for.
    Settled(Said),
    /// It serves, and the operator is working on the rest.
    ServingWhile(Said, Progressing),
    /// It serves what it served before, and the rest needs somebody.
    ServingDespite(Said, Stall),
    /// It does not serve yet.
    Working(Progressing),
    /// It does not serve, and needs somebody.
    Stuck(Stall),
}

impl Verdict {
    /// The conditions of this verdict. A transition time moves only when the condition's status does.
    pub(super) fn conditions(
        self,
        previous: &[Condition],
        generation: Option<i64>,
        now: Timestamp,
    ) -> Vec<Condition> {
        let condition = |kind: ConditionType, holds: bool, said: Said| {
            let status = if holds { "True" } else { "False" };
            let unchanged =
                previous.iter().find(|before| before.type_ == kind.as_str() && before.status == status);
            let since = unchanged.map_or(Time(now), |before| before.last_transition_time.clone());
            Condition {
                type_: kind.as_str().to_owned(),
                status: status.to_owned(),
                reason: said.reason,
                message: said.message,
                last_transition_time: since,
                observed_generation: generation,
            }
        };
        let ready = |said| condition(ConditionType::Ready, true, said);
        let not_ready = |said| condition(ConditionType::Ready, false, said);
        let reconciling = |said| condition(ConditionType::Reconciling, true, said);
        let stalled = |said| condition(ConditionType::Stalled, true, said);
        match self {
            Self::Settled(said) => vec![ready(said)],
            Self::ServingWhile(said, progressing) => vec![ready(said), reconciling(progressing)],
            Self::ServingDespite(said, stall) => vec![ready(said), stalled(stall)],
            Self::Working(progressing) => vec![not_ready(progressing.clone()), reconciling(progressing)],
            Self::Stuck(stall) => vec![not_ready(stall.clone()), stalled(stall)],
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Settled(_) => true,
            Self::ServingWhile(..) | Self::ServingDespite(..) | Self::Working(_) | Self::Stuck(_) => false,
        }
    }
}

/// The conditions after a pass that failed, unless they say so already: a pass that goes on failing is told once. What served
/// goes on serving, whatever the operator fails to do.
pub(super) fn of_failed_pass(
    previous: &[Condition],
    generation: Option<i64>,
    said: Said,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let holds = |kind: ConditionType| {
        previous.iter().find(|before| before.type_ == kind.as_str() && before.status == "True")
    };
    let told = holds(ConditionType::Reconciling)
        .is_some_and(|before| before.reason == said.reason && before.observed_generation == generation);
    let verdict = match holds(ConditionType::Ready) {
        Some(ready) => Verdict::ServingWhile(Said::new(&ready.reason, &ready.message), said),
        None => Verdict::Working(said),
    };
    (!told).then(|| verdict.conditions(previous, generation, now))
}

/// The failure to show: today's, with the time when it was first seen; or the previous one until all is well again.
pub(super) fn last_failure(
    previous: Option<&Failure>,
    found: Option<Failure>,
    settled: bool,
    now: Timestamp,
) -> Option<Failure> {
    match found {
        Some(failure) => {
            let seen_before = previous
                .filter(|previous| {
                    previous.component == failure.component && previous.reason == failure.reason
                })
                .and_then(|previous| previous.time.clone());
            Some(Failure { time: seen_before.or(failure.time.clone()).or(Some(Time(now))), ..failure })
        }
        None if settled => None,
        None => previous.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// `kubectl wait`, alerts and Argo CD read the time; a time that moves at every message makes them all restart.
    #[test]
    fn transition_time_moves_only_with_status() {
        let first = Verdict::Working(Said::new("A", "a")).conditions(&[], Some(1), at(1));
        let second = Verdict::Working(Said::new("B", "b")).conditions(&first, Some(2), at(2));
        assert_eq!(second[0].last_transition_time, Time(at(1)));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("B", Some(2)));
        let third = Verdict::Settled(Said::new("C", "c")).conditions(&second, Some(2), at(3));
        assert_eq!(third[0].last_transition_time, Time(at(3)));
    }

    /// A webhook that answers 500 for a day must be seen on the object, and must not cost a write with every retry.
    #[test]
    fn a_failed_pass_is_told_once_and_takes_no_readiness_away() {
        let failed = |previous: &[Condition], message: &str| {
            of_failed_pass(previous, Some(1), Said::new("WriteFailed", message), at(5))
        };
        let brief = |conditions: &[Condition]| {
            let brief = |condition: &Condition| format!("{}={}", condition.type_, condition.status);
            conditions.iter().map(brief).collect::<Vec<_>>()
        };
        let fresh = failed(&[], "500").unwrap();
        assert_eq!(brief(&fresh), ["Ready=False", "Reconciling=True"]);
        assert_eq!(fresh[0].reason, "WriteFailed");
        assert_eq!(failed(&fresh, "500, request 2"), None);

        let serving = Verdict::Settled(Said::new("Serving", "2 of 2")).conditions(&[], Some(1), at(1));
        let despite = failed(&serving, "500").unwrap();
        assert_eq!(brief(&despite), ["Ready=True", "Reconciling=True"]);
        assert_eq!((despite[0].reason.as_str(), despite[1].reason.as_str()), ("Serving", "WriteFailed"));
    }

    #[test]
    fn reconciling_and_stalled_never_stand_together() {
        let said = || Said::new("R", "m");
        let kinds = |verdict: Verdict| {
            let conditions = verdict.conditions(&[], None, at(0));
            conditions
                .into_iter()
                .map(|condition| format!("{}={}", condition.type_, condition.status))
                .collect::<Vec<_>>()
        };
        assert_eq!(kinds(Verdict::Settled(said())), ["Ready=True"]);
        assert_eq!(kinds(Verdict::ServingWhile(said(), said())), ["Ready=True", "Reconciling=True"]);
        assert_eq!(kinds(Verdict::ServingDespite(said(), said())), ["Ready=True", "Stalled=True"]);
        assert_eq!(kinds(Verdict::Working(said())), ["Ready=False", "Reconciling=True"]);
        assert_eq!(kinds(Verdict::Stuck(said())), ["Ready=False", "Stalled=True"]);
    }
}
