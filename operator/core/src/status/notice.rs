//! What is worth an event: a change of what the conditions say, told once.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use lexiscale_crds::ConditionType;

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
}
