//! What is worth an event: a change of what the conditions say, told once.

use std::cmp::Ordering;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use lexiscale_crds::{ConditionType, ScalingDecision};

/// Something that has just become true of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub tone: Tone,
    pub reason: String,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Normal,
    Warning,
}

/// Compares the conditions before and after. A change of message alone is no news; a change of reason is. `otherwise` is
/// the tone of news that is not a stall: a download that is tried again works, but not well.
pub fn notices(before: &[Condition], after: &[Condition], otherwise: Tone) -> Vec<Notice> {
    let news = |kind: ConditionType| {
        let find = |conditions: &'_ [Condition]| {
            conditions.iter().find(|condition| condition.type_ == kind.as_str()).cloned()
        };
        let (before, after) = (find(before), find(after)?);
        let same =
            before.is_some_and(|before| before.status == after.status && before.reason == after.reason);
        (!same).then_some(after)
    };
    let ready = news(ConditionType::Ready);
    let stalled = news(ConditionType::Stalled);
    let reconciling = news(ConditionType::Reconciling);
    let tell =
        |tone, condition: Condition| Notice { tone, reason: condition.reason, message: condition.message };
    if let Some(stalled) = stalled {
        return vec![tell(Tone::Warning, stalled)];
    }
    // `Reconciling` says more than `Ready` where both changed: it names what is being done, or waited for.
    let told = reconciling.or(ready);
    told.map(|condition| tell(otherwise, condition)).into_iter().collect()
}

/// One notice for each number that changed, with both numbers. The first number of all is no change.
pub fn scaled(
    before: Option<&ScalingDecision>,
    after: Option<&ScalingDecision>,
) -> Option<(i32, i32, Notice)> {
    let (before, after) = (before?, after?);
    let (from, to) = (before.allocations, after.allocations);
    let reason = match from.cmp(&to) {
        Ordering::Equal => return None,
        Ordering::Less => "ScaledUp",
        Ordering::Greater => "ScaledDown",
    };
    let message = format!("from {from} to {to} allocations, because of {}: {}", after.reason, after.message);
    Some((from, to, Notice { tone: Tone::Normal, reason: reason.to_owned(), message }))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::status::{Verdict, conditions::Said};

    fn conditions(verdict: Verdict) -> Vec<Condition> {
        verdict.conditions(&[], None, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn told_once_and_not_again() {
        let working = conditions(Verdict::Working(Said::new("Downloading", "10 %")));
        let further = conditions(Verdict::Working(Said::new("Downloading", "20 %")));
        let stuck = conditions(Verdict::Stuck(Said::new("ModelNotFound", "no such model")));
        let reasons = |before: &[Condition], after: &[Condition]| {
            notices(before, after, Tone::Normal)
                .into_iter()
                .map(|notice| (notice.tone, notice.reason))
                .collect::<Vec<_>>()
        };
        assert_eq!(reasons(&[], &working), [(Tone::Normal, "Downloading".to_owned())]);
        assert_eq!(reasons(&working, &further), []);
        assert_eq!(reasons(&further, &stuck), [(Tone::Warning, "ModelNotFound".to_owned())]);
        assert_eq!(reasons(&stuck, &stuck), []);
    }

    #[test]
    fn each_change_of_the_number_is_told_with_its_reason() {
        let decision = |allocations, reason: &str| ScalingDecision {
            allocations,
            reason: reason.to_owned(),
            message: "m".to_owned(),
            time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH),
            wake_requested_at: None,
            memory: None,
        };
        let told = |before: Option<i32>, after| {
            let before = before.map(|before| decision(before, "Start"));
            let found = scaled(before.as_ref(), Some(&decision(after, "HighLoad")));
            found.map(|(_, _, notice)| format!("{}: {}", notice.reason, notice.message))
        };
        assert_eq!(told(None, 1), None);
        assert_eq!(told(Some(2), 2), None);
        let up = "ScaledUp: from 2 to 5 allocations, because of HighLoad: m";
        assert_eq!(told(Some(2), 5).as_deref(), Some(up));
        assert!(told(Some(2), 0).unwrap().starts_with("ScaledDown: from 2 to 0"));
    }
}
