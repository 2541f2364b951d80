//! The names of tokens as they stand in an answer, made once: `"token":`, escaped, with `.` written as `__`, as Elasticsearch
//! does. PURE.

use std::collections::HashMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    /// One key after the other.
    json: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// Tokens whose names are equal once `.` is rewritten, by id, with a number that they share. No object may have a key twice.
    twins: HashMap<u32, u32>,
}

impl Keys {
    pub(super) fn new(tokens: &[Box<str>]) -> Self {
        let mut keys = Self { ends: Vec::with_capacity(tokens.len()), ..Self::default() };
        let mut first_with: HashMap<String, u32> = HashMap::with_capacity(tokens.len());
        for (id, token) in (0_u32..).zip(tokens) {
            let name = token.replace('.', "__");
            // A string always becomes JSON, and a vector takes all that is written to it.
            let _ = serde_json::to_writer(&mut keys.json, &name);
            keys.json.push(b':');
            keys.ends.push(keys.json.len());
            if let Some(first) = first_with.get(&name) {
                keys.twins.insert(*first, *first);
                keys.twins.insert(id, *first);
            } else {
                first_with.insert(name, id);
            }
        }
        keys
    }

    /// `"token":`; nothing for an id that the vocabulary has not.
    pub(super) fn key(&self, id: u32) -> Option<&[u8]> {
        let index = usize::try_from(id).ok()?;
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.json.get(start..end)
    }

    pub(super) fn twin(&self, id: u32) -> Option<u32> {
        if self.twins.is_empty() { None } else { self.twins.get(&id).copied() }
    }
}
