//! The merge patch (RFC 7396) that makes one value into another: it names what differs and nothing else, so that what
//! others change at the same time stays theirs. PURE.

use serde_json::{Map, Value};

pub(crate) fn difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return after.clone();
    };
    let removed = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = after.iter().filter_map(|(key, value)| match before.get(key) {
        Some(same) if same == value => None,
        Some(other) => Some((key.clone(), difference(other, value))),
        None => Some((key.clone(), value.clone())),
    });
    Value::Object(removed.chain(changed).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_what_differs_and_nulls_what_is_gone() {
        let before = json!({"a": 1, "b": {"c": [1], "d": 2, "e": {}}, "f": 3});
        let after = json!({"a": 1, "b": {"c": [2], "e": {}}, "g": {"h": 4}});
        assert_eq!(
            difference(&before, &after),
            json!({"b": {"c": [2], "d": null}, "f": null, "g": {"h": 4}})
        );
        assert_eq!(difference(&before, &before), json!({}));
    }
}
