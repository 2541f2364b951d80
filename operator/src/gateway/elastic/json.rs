//! Strict JSON: no key twice, no more than 64 levels, nothing after the value, valid UTF-8. Object order is
//! kept, so that what is read can be written again as it came.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Number;

use super::error::Refusal;

/// Deeper bodies are an attack on the stack, not a request.
pub(crate) const DEEPEST: usize = 64;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Self>),
    Object(Object),
}

/// A JSON object in the order in which it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object(Vec<(String, Json)>);

impl Json {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        parse_with(bytes, AtDepth(1))
    }
}

impl Object {
    /// The body of a request that must be an object.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        match Json::parse(bytes)? {
            Json::Object(object) => Ok(object),
            other => {
                Err(Refusal::Json(format!("[1:1] the body must be a JSON object, not [{}]", short(&other))))
            }
        }
    }

    /// Removes a key, so that what is left at the end is what nobody knows. `null` means absent.
    pub(crate) fn take(&mut self, key: &str) -> Option<Json> {
        let index = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(index).1).filter(|value| *value != Json::Null)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn entries(&self) -> &[(String, Json)] {
        &self.0
    }

    pub(crate) fn into_entries(self) -> Vec<(String, Json)> {
        self.0
    }

    pub(crate) fn from_entries(entries: Vec<(String, Json)>) -> Self {
        Self(entries)
    }

    /// `{key=value, key=value}` of what is left, as Elasticsearch lists unknown keys.
    pub(crate) fn listed(&self) -> String {
        const MOST: usize = 20;
        let entry = |(key, value): &(String, Json)| format!("{}={}", short_text(key), short(value));
        let mut entries: Vec<_> = self.0.iter().take(MOST).map(entry).collect();
        if self.0.len() > MOST {
            entries.push("…".to_owned());
        }
        format!("{{{}}}", entries.join(", "))
    }
}

/// A value as it appears in a reason: enough to recognise it, never a whole body.
pub(crate) fn short(value: &Json) -> String {
    match value {
        Json::String(text) => short_text(text),
        other => short_text(&serde_json::to_string(other).unwrap_or_default()),
    }
}

/// A client's words as they appear in a reason.
pub(crate) fn short_text(text: &str) -> String {
    const LONGEST: usize = 100;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Runs a seed over a whole body and puts the position in front of what is wrong, as Elasticsearch does.
pub(crate) fn parse_with<'de, S: DeserializeSeed<'de>>(
    bytes: &'de [u8],
    seed: S,
) -> Result<S::Value, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value)).map_err(
        |error| {
            let position = format!(" at line {} column {}", error.line(), error.column());
            let message = error.to_string();
            let message = message.strip_suffix(&position).unwrap_or(&message);
            Refusal::Json(format!("[{}:{}] {message}", error.line(), error.column()))
        },
    )
}

/// Reads a value whose own level is the number given; the body is level 1.
#[derive(Clone, Copy)]
pub(crate) struct AtDepth(pub(crate) usize);

impl AtDepth {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.0 > DEEPEST {
            return Err(E::custom(format!("the body is nested deeper than {DEEPEST} levels")));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for AtDepth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AtDepth {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(below)? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("duplicate field [{}]", short_text(&key))));
            }
            entries.push((key, access.next_value_seed(below)?));
        }
        Ok(Json::Object(Object(entries)))
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => value.serialize(serializer),
            Self::String(value) => serializer.serialize_str(value),
            Self::Array(values) => serializer.collect_seq(values),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_it_reads_in_the_same_order() {
        let text = r#"{"b":[1,-2,2.0,1.2345679,1e-7,true,null],"a":{"z":"","y":{}}}"#;
        assert_eq!(serde_json::to_string(&Json::parse(text.as_bytes()).unwrap()).unwrap(), text);
    }

    #[test]
    fn refuses_with_the_position_first() {
        let table: [(&[u8], &str); 9] = [
            (b"", "[1:0]"),
            (b"{", "[1:1]"),
            (b"{'a':1}", "[1:2]"),
            (b"{\"a\":1}x", "[1:8]"),
            (b"{\"a\":1,\n\"a\":2}", "[2:3] duplicate field [a]"),
            (b"{\"a\":{\"b\":1,\"b\":1}}", "duplicate field [b]"),
            (b"{\"a\":\"\xff\"}", "[1:"),
            (b"{\"a\":\"\\ud800\"}", "[1:"),
            (b"\xef\xbb\xbf{}", "[1:1]"),
        ];
        for (body, expected) in table {
            let refusal = Json::parse(body).unwrap_err().to_string();
            assert!(refusal.contains(expected), "{body:?}: {refusal}");
        }
    }

    #[test]
    fn sixty_four_levels_are_read_and_one_more_is_not() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Json::parse(nested(64).as_bytes()).is_ok());
        assert!(Json::parse(nested(65).as_bytes()).unwrap_err().to_string().contains("64 levels"));
        assert!(Json::parse(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn a_body_must_be_an_object() {
        for body in ["[]", "1", "null", "\"a\""] {
            assert!(matches!(Object::parse(body.as_bytes()), Err(Refusal::Json(_))), "{body}");
        }
    }

    #[test]
    fn null_is_absent_and_taken_keys_are_gone() {
        let mut object = Object::parse(br#"{"a":null,"b":2,"c":"x"}"#).unwrap();
        assert_eq!(object.take("a"), None);
        assert_eq!(object.take("b"), Some(Json::Number(2.into())));
        assert_eq!(object.listed(), "{c=x}");
    }

    #[test]
    fn a_reason_never_repeats_a_whole_body() {
        assert_eq!(short_text(&"ä".repeat(100)), "ä".repeat(100));
        assert_eq!(short_text(&"ä".repeat(101)), format!("{}…", "ä".repeat(100)));
        let entries = (0..1_000).map(|number| (format!("{number}{}", "k".repeat(1_000)), Json::Null));
        let listed = Object::from_entries(entries.collect()).listed();
        assert!(listed.ends_with(", …}") && listed.chars().count() < 3_000, "{listed}");
    }
}
