//! Reads settings out of an object and collects everything that is wrong with them, so that a client sees all
//! of it at once.

use super::error::Items;
use super::json::{Json, Object, short};

/// An object of settings that is being read, and what was wrong so far.
pub(crate) struct SettingsReader {
    scope: &'static str,
    object: Object,
    pub(crate) items: Items,
}

/// What a key held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Read<T> {
    Absent,
    Given(T),
    /// There, but wrong; an item says so already.
    Refused,
}

impl<T> Read<T> {
    pub(crate) fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Refused => None,
        }
    }
}

impl SettingsReader {
    pub(crate) fn new(scope: &'static str, object: Object) -> Self {
        Self { scope, object, items: Items::default() }
    }

    /// `[scope]`, the beginning of every item.
    pub(crate) fn refuse(&mut self, rule: impl AsRef<str>) {
        self.items.push(format!("[{}] {}", self.scope, rule.as_ref()));
    }

    /// Whether a key is there that is not to be read.
    pub(crate) fn has(&mut self, key: &str) -> bool {
        self.object.take(key).is_some()
    }

    /// A whole number. `2.0` and `"2"` are none: Elasticsearch refuses them, and so must we, or a body that
    /// works here fails there.
    pub(crate) fn integer(&mut self, key: &str) -> Read<i32> {
        self.typed(key, "Integer", |value| match value {
            Json::Number(number) => number.as_i64().and_then(|number| i32::try_from(number).ok()),
            Json::Null | Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => None,
        })
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Read<bool> {
        self.typed(key, "Boolean", |value| if let Json::Bool(value) = value { Some(*value) } else { None })
    }

    pub(crate) fn string(&mut self, key: &str) -> Read<String> {
        self.typed(
            key,
            "String",
            |value| if let Json::String(value) = value { Some(value.clone()) } else { None },
        )
    }

    pub(crate) fn object(&mut self, key: &str) -> Read<Object> {
        self.typed(
            key,
            "Object",
            |value| if let Json::Object(value) = value { Some(value.clone()) } else { None },
        )
    }

    pub(crate) fn strings(&mut self, key: &str) -> Read<Vec<String>> {
        self.typed(key, "List of String", |value| match value {
            Json::Array(values) => values
                .iter()
                .map(|value| if let Json::String(value) = value { Some(value.clone()) } else { None })
                .collect(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => None,
        })
    }

    fn typed<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(&Json) -> Option<T>) -> Read<T> {
        let Some(value) = self.object.take(key) else {
            return Read::Absent;
        };
        read(&value).map_or_else(
            || {
                self.refuse(format!(
                    "field [{key}] is not of the expected type: the value [{}] cannot be converted to [{expected}]",
                    short(&value)
                ));
                Read::Refused
            },
            Read::Given,
        )
    }

    /// What nobody took, and what was wrong.
    pub(crate) fn finish(self) -> (Object, Items) {
        (self.object, self.items)
    }
}
