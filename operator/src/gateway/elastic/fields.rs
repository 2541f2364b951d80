//! A body that is an object, read in one pass, so that texts are not copied through a tree.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};

use super::error::Refusal;
use super::json::{parse_with, short_text};

/// What a body holds, and how its fields are read.
pub(super) trait Fields: Default {
    /// Reads the value of `key`, or refuses a key that is not known. No key comes twice.
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, access: &mut A) -> Result<(), A::Error>;
}

pub(super) fn parse<T: Fields>(body: &[u8]) -> Result<T, Refusal> {
    parse_with(body, Reader(PhantomData))
}

struct Reader<T>(PhantomData<T>);

impl<'de, T: Fields> DeserializeSeed<'de> for Reader<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Fields> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<T, A::Error> {
        let mut fields = T::default();
        // All of them are known, or the body is refused: there are few.
        let mut seen: Vec<String> = Vec::new();
        while let Some(key) = access.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format!("duplicate field [{}]", short_text(&key))));
            }
            fields.read(&key, &mut access)?;
            seen.push(key);
        }
        Ok(fields)
    }
}
