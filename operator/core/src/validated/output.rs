//! `spec.deployment.output` as what workers are told. PURE.

use std::num::NonZeroU32;

use lexiscale_crds::OutputSettings;
use lexiscale_wire::{MaxRatio, MinWeight, Pruning};

use super::Invalid;

pub(super) fn pruning(settings: Option<&OutputSettings>) -> Result<Pruning, Invalid> {
    let Some(OutputSettings { top_k, max_ratio, min_weight }) = settings else {
        return Ok(Pruning::default());
    };
    let invalid = |field, given: String, bounds| Invalid::Output { field, given, bounds };
    let top_k = top_k.map(|given| {
        let count = u32::try_from(given).ok().and_then(NonZeroU32::new);
        count.ok_or_else(|| invalid("topK", given.to_string(), "1 or more"))
    });
    let max_ratio = max_ratio.map(|given| {
        MaxRatio::try_from(single(given)).map_err(|_| invalid("maxRatio", given.to_string(), "from 0 to 1"))
    });
    let min_weight = min_weight.map(|given| {
        MinWeight::try_from(single(given)).map_err(|_| invalid("minWeight", given.to_string(), "0 or more"))
    });
    Ok(Pruning {
        top_k: top_k.transpose()?,
        max_ratio: max_ratio.transpose()?,
        min_weight: min_weight.transpose()?,
    })
}

#[expect(clippy::cast_possible_truncation, reason = "weights are single precision, and so are their bounds")]
fn single(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_told_and_what_cannot_be_is_named() {
        let settings = |top_k, max_ratio, min_weight| OutputSettings { top_k, max_ratio, min_weight };
        let read = |settings: &OutputSettings| pruning(Some(settings)).map_err(|error| error.to_string());
        assert_eq!(pruning(None), Ok(Pruning::default()));
        let all = read(&settings(Some(256), Some(0.05), Some(0.5))).unwrap();
        let expected = r#"{"top_k":256,"max_ratio":0.05,"min_weight":0.5}"#;
        assert_eq!(serde_json::to_string(&all).unwrap(), expected);
        for (settings, message) in [
            (settings(Some(0), None, None), "deployment.output.topK is 0, but must be 1 or more"),
            (settings(None, Some(1.5), None), "deployment.output.maxRatio is 1.5, but must be from 0 to 1"),
            (settings(None, None, Some(-1.0)), "deployment.output.minWeight is -1, but must be 0 or more"),
        ] {
            assert_eq!(read(&settings).unwrap_err(), message);
        }
    }
}
