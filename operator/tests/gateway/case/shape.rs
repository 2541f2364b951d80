//! Compares a body with what it must be. Every key must be there, no other may be, and the order of the keys
//! is part of it. A text in angle brackets stands for what a server decides: `<string>` (not empty),
//! `<integer>`, `<number>`, `<boolean>`, and `<weights>`, a sparse embedding.

use serde_norway::Value;

const STANDS_FOR: [&str; 5] = ["<string>", "<integer>", "<number>", "<boolean>", "<weights>"];

/// What of an expectation nobody understands.
pub(crate) fn defect(expected: &Value) -> Option<String> {
    match expected {
        Value::String(text) if is_placeholder(text) && !STANDS_FOR.contains(&text.as_str()) => {
            Some(format!("{text} stands for nothing"))
        }
        Value::Sequence(items) => items.iter().find_map(defect),
        Value::Mapping(entries) => entries.iter().find_map(|(key, value)| {
            if key.is_string() { defect(value) } else { Some(format!("{key:?} is no key")) }
        }),
        Value::Tagged(_) => Some("tags mean nothing here".to_owned()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

pub(crate) fn mismatch(expected: &Value, body: &[u8]) -> Option<String> {
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        return Some(format!("the body is no JSON: {error}"));
    }
    // JSON is YAML too, and a YAML mapping keeps the order of its keys and refuses one that comes twice.
    match serde_norway::from_slice(body) {
        Ok(given) => difference(expected, &given, "body"),
        Err(error) => Some(format!("the body cannot be read: {error}")),
    }
}

fn is_placeholder(text: &str) -> bool {
    text.starts_with('<') && text.ends_with('>')
}

fn difference(expected: &Value, given: &Value, at: &str) -> Option<String> {
    match (expected, given) {
        (Value::String(placeholder), _) if is_placeholder(placeholder) => {
            (!stands_for(placeholder, given)).then(|| format!("{at} is no {placeholder}"))
        }
        (Value::Mapping(expected), Value::Mapping(given)) => {
            let keys = |mapping: &serde_norway::Mapping| mapping.keys().cloned().collect::<Vec<_>>();
            if keys(expected) != keys(given) {
                let names = |mapping| {
                    let names: Vec<_> =
                        keys(mapping).iter().map(|key| key.as_str().unwrap_or("?").to_owned()).collect();
                    names.join(", ")
                };
                return Some(format!(
                    "{at} has the keys [{}] instead of [{}]",
                    names(given),
                    names(expected)
                ));
            }
            expected.iter().zip(given.values()).find_map(|((key, expected), given)| {
                difference(expected, given, &format!("{at}.{}", key.as_str().unwrap_or("?")))
            })
        }
        (Value::Sequence(expected), Value::Sequence(given)) => {
            if expected.len() != given.len() {
                return Some(format!("{at} has {} entries instead of {}", given.len(), expected.len()));
            }
            let mut pairs = expected.iter().zip(given).enumerate();
            pairs
                .find_map(|(index, (expected, given))| difference(expected, given, &format!("{at}[{index}]")))
        }
        (expected, given) => {
            (expected != given).then(|| format!("{at} is {given:?} instead of {expected:?}"))
        }
    }
}

fn stands_for(placeholder: &str, given: &Value) -> bool {
    match placeholder {
        "<string>" => given.as_str().is_some_and(|text| !text.is_empty()),
        "<integer>" => given.is_i64(),
        "<number>" => given.is_number(),
        "<boolean>" => given.is_bool(),
        "<weights>" => are_weights(given),
        _ => false,
    }
}

/// Tokens with weights above zero, the heaviest first, and no name that an index would take for a path.
fn are_weights(given: &Value) -> bool {
    let Value::Mapping(entries) = given else {
        return false;
    };
    let names_fit = entries.keys().all(|key| key.as_str().is_some_and(|token| !token.contains('.')));
    let weights: Option<Vec<f64>> = entries.values().map(Value::as_f64).collect();
    !entries.is_empty()
        && names_fit
        && weights.is_some_and(|weights| {
            weights.iter().all(|weight| *weight > 0.0) && weights.is_sorted_by(|a, b| a >= b)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(expected: &str, body: &str) -> Option<String> {
        mismatch(&serde_norway::from_str(expected).unwrap(), body.as_bytes())
    }

    #[test]
    fn order_missing_and_further_keys_count() {
        assert_eq!(compare("{a: 1, b: [x]}", r#"{"a":1,"b":["x"]}"#), None);
        for body in
            [r#"{"b":["x"],"a":1}"#, r#"{"a":1}"#, r#"{"a":1,"b":["x"],"c":1}"#, r#"{"a":1,"b":["x","y"]}"#]
        {
            assert!(compare("{a: 1, b: [x]}", body).is_some(), "{body}");
        }
        assert!(compare("{a: {b: 1, c: 2}}", r#"{"a":{"c":2,"b":1}}"#).is_some());
    }

    #[test]
    fn types_count() {
        for (expected, body) in [
            ("{a: 1}", r#"{"a":1.0}"#),
            ("{a: 1}", r#"{"a":"1"}"#),
            ("{a: null}", "{}"),
            ("{a: <string>}", r#"{"a":""}"#),
            ("{a: <integer>}", r#"{"a":1.5}"#),
            ("{a: <boolean>}", r#"{"a":"true"}"#),
            ("{}", "{} {}"),
            ("{a: 1}", "a: 1"),
        ] {
            assert!(compare(expected, body).is_some(), "{expected} {body}");
        }
    }

    #[test]
    fn weights_fall_and_are_above_zero() {
        assert_eq!(compare("{a: <weights>}", r#"{"a":{"x":1.5,"y":1.5,"z":1e-7}}"#), None);
        for body in [
            r#"{"a":{}}"#,
            r#"{"a":{"x":1,"y":2}}"#,
            r#"{"a":{"x":0.0}}"#,
            r#"{"a":{"x.y":1}}"#,
            r#"{"a":[]}"#,
        ] {
            assert!(compare("{a: <weights>}", body).is_some(), "{body}");
        }
    }

    #[test]
    fn an_expectation_that_nobody_understands_is_a_defect() {
        assert!(defect(&serde_norway::from_str("{a: [<text>]}").unwrap()).is_some());
        assert!(defect(&serde_norway::from_str("{1: a}").unwrap()).is_some());
        assert!(defect(&serde_norway::from_str("{a: [<string>, 1, null, {b: x}]}").unwrap()).is_none());
    }
}
