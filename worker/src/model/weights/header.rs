//! The header of a safetensors file, read more strictly than the library does: each name once, few dimensions, no more tensors
//! than any model has. The library then checks offsets and lengths.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A header names each tensor with some 100 bytes; the largest models have a few thousand.
pub(super) const MAX_TENSORS: usize = 100_000;
/// Weights of language models have two.
const MAX_RANK: usize = 8;
const MAX_NAME_BYTES: usize = 512;

/// Fails unless the header keeps to these limits.
pub(super) fn check(header: &[u8]) -> Result<(), serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_slice(header);
    parser.deserialize_map(Entries)?;
    parser.end()
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
                return Err(A::Error::custom("a tensor's name is too long or not printable"));
            }
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value::<Entry>()?;
            }
            if seen.len() >= MAX_TENSORS {
                return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
            if let Some(name) = seen.replace(name) {
                return Err(A::Error::custom(format!("tensor {name} is described twice")));
            }
        }
        Ok(())
    }
}

/// One tensor. The derived reader refuses a field that comes twice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for the sake of the checks that reading does")]
struct Entry {
    dtype: IgnoredAny,
    shape: Shape,
    data_offsets: IgnoredAny,
}

struct Shape;

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Dimensions.deserialize(deserializer)
    }
}

struct Dimensions;

impl<'de> DeserializeSeed<'de> for Dimensions {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Dimensions {
    type Value = Shape;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        let mut rank = 0;
        while list.next_element::<IgnoredAny>()?.is_some() {
            rank += 1;
            if rank > MAX_RANK {
                return Err(A::Error::custom(format!("a tensor has more than {MAX_RANK} dimensions")));
            }
        }
        Ok(Shape)
    }
}
