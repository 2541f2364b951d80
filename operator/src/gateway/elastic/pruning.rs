//! `top_k`, `max_ratio` and `min_weight` of a request: which weights of its vectors are given out. Elasticsearch has no such
//! thing, so in its own routes they stand in `task_settings.output`, which is ignored there.

use std::num::NonZeroU32;

use lexiscale_wire::{MaxRatio, MinWeight, Pruning};

use super::json::{Json, Object, short, short_text};

/// Takes them out of an object. An error says what is wrong with one of them.
pub(crate) fn take(object: &mut Object) -> Result<Pruning, String> {
    let top_k = object.take("top_k").map(|value| {
        let number = number(&value).and_then(serde_json::Number::as_u64);
        let count = number.and_then(|number| u32::try_from(number).ok()).and_then(NonZeroU32::new);
        count.ok_or_else(|| refused("top_k", "a whole number of 1 or more", &value))
    });
    let max_ratio = object.take("max_ratio").map(|value| {
        let ratio = single(&value).and_then(|ratio| MaxRatio::try_from(ratio).ok());
        ratio.ok_or_else(|| refused("max_ratio", "a number from 0 to 1", &value))
    });
    let min_weight = object.take("min_weight").map(|value| {
        let weight = single(&value).and_then(|weight| MinWeight::try_from(weight).ok());
        weight.ok_or_else(|| refused("min_weight", "a number of 0 or more", &value))
    });
    Ok(Pruning {
        top_k: top_k.transpose()?,
        max_ratio: max_ratio.transpose()?,
        min_weight: min_weight.transpose()?,
    })
}

/// Those of `task_settings`. What else stands there is not for sparse models, and ignored as in Elasticsearch.
pub(crate) fn of_task_settings(mut settings: Object) -> Result<Pruning, String> {
    match settings.take("output") {
        None => Ok(Pruning::default()),
        Some(Json::Object(mut output)) => {
            let pruning = take(&mut output)?;
            match output.entries().first() {
                None => Ok(pruning),
                Some((unknown, _)) => Err(format!(
                    "unknown field [{}] in [task_settings.output]; known are [top_k, max_ratio, min_weight]",
                    short_text(unknown)
                )),
            }
        }
        Some(other) => Err(format!("[task_settings.output] must be an object, not [{}]", short(&other))),
    }
}

fn number(value: &Json) -> Option<&serde_json::Number> {
    match value {
        Json::Number(number) => Some(number),
        Json::Null | Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "weights are single precision, and so are their bounds")]
fn single(value: &Json) -> Option<f32> {
    Some(number(value)?.as_f64()? as f32)
}

fn refused(field: &str, wanted: &str, value: &Json) -> String {
    format!("[{field}] must be {wanted}, not [{}]", short(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Object {
        match Json::parse(json.as_bytes()).unwrap() {
            Json::Object(object) => object,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_asked_for_is_taken_and_the_rest_left() {
        let mut asked = object(r#"{"top_k":7,"max_ratio":0.5,"min_weight":null,"other":1}"#);
        let expected: Pruning = serde_json::from_str(r#"{"top_k":7,"max_ratio":0.5}"#).unwrap();
        assert_eq!(take(&mut asked), Ok(expected));
        assert_eq!(asked.entries().len(), 1);
        assert_eq!(of_task_settings(object(r#"{"output":{"top_k":7,"max_ratio":0.5}}"#)), Ok(expected));
    }

    /// Strict where it is ours, and as lenient as Elasticsearch where it is not.
    #[test]
    fn only_our_own_part_of_task_settings_can_be_wrong() {
        for json in
            ["{}", r#"{"top_k":"x","return_documents":[1]}"#, r#"{"output":null}"#, r#"{"output":{}}"#]
        {
            assert_eq!(of_task_settings(object(json)), Ok(Pruning::default()), "{json}");
        }
        for (json, part) in [
            (r#"{"output":[]}"#, "[task_settings.output] must be an object"),
            (r#"{"output":{"topK":1}}"#, "unknown field [topK]"),
            (r#"{"output":{"top_k":0}}"#, "[top_k] must be a whole number of 1 or more, not [0]"),
            (r#"{"output":{"top_k":1.5}}"#, "[top_k]"),
            (r#"{"output":{"max_ratio":"1"}}"#, "[max_ratio] must be a number from 0 to 1, not [1]"),
            (r#"{"output":{"min_weight":-1}}"#, "[min_weight] must be a number of 0 or more, not [-1]"),
        ] {
            let error = of_task_settings(object(json)).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
