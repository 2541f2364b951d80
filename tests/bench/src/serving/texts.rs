//! The texts that every contender is measured with, and requests made of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::json;

use crate::wire::request;

const PATH: &str = "/_inference";
/// Kind of the texts that are searched for.
const QUERY: &str = "query";

pub(super) struct Texts(BTreeMap<String, Vec<String>>);

/// A text with its kind, which says what it is embedded for.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) is_query: bool,
}

impl Texts {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let json = fs_err::read(path)?;
        Ok(Self(
            serde_json::from_slice(&json).with_context(|| format!("failed to parse {}", path.display()))?,
        ))
    }

    pub(super) fn of(&self, kind: &str) -> Result<Vec<Text>> {
        let kinds = || self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let texts = self.0.get(kind).with_context(|| format!("no texts of {kind:?}, but of {}", kinds()))?;
        ensure!(!texts.is_empty(), "no text is of {kind:?}");
        Ok(texts.iter().map(|text| Text { text: text.clone(), is_query: kind == QUERY }).collect())
    }

    /// The first of each kind.
    pub(super) fn some(&self, of_each: usize) -> Result<Vec<Text>> {
        let mut some = Vec::new();
        for kind in self.0.keys() {
            some.extend(self.of(kind)?.into_iter().take(of_each));
        }
        Ok(some)
    }
}

/// One request for all of them.
pub(super) fn ask(address: SocketAddr, texts: &[&Text]) -> Bytes {
    let input: Vec<_> = texts.iter().map(|text| text.text.as_str()).collect();
    let input_type = if texts.iter().all(|text| text.is_query) { "search" } else { "ingest" };
    request(address, PATH, &json!({"input": input, "input_type": input_type}).to_string())
}
