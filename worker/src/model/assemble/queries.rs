//! The table of weights for queries, in the order of the model's own tokens.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::AssembleError;
use crate::model::manifest::TOKENIZER_FILE;
use crate::model::static_search::{self, StaticSearchError};
use crate::model::tokenizer_check::{Checked, read_tokenizer};
use crate::vocabulary::Vocabulary;

pub(super) struct Table<'a> {
    pub(super) repository: &'a Path,
    pub(super) folder: &'a Path,
}

impl Table<'_> {
    pub(super) fn read(&self, vocabulary: &Vocabulary, checked: &Checked) -> Result<Vec<f32>, AssembleError> {
        self.same_tokenizer(checked)?;
        let ids: HashMap<String, usize> =
            vocabulary.tokens().enumerate().map(|(id, token)| (token.to_owned(), id)).collect();
        let mut weights = static_search::read(self.repository, self.folder, vocabulary.len(), &ids)?;
        // What the tokenizer puts around each text is no word of a query.
        for id in &checked.around {
            if let Some(weight) = usize::try_from(*id).ok().and_then(|id| weights.get_mut(id)) {
                *weight = 0.0;
            }
        }
        Ok(weights)
    }

    /// Queries are tokenised by the model's tokenizer; weights that belong to another one would go to the wrong tokens.
    fn same_tokenizer(&self, checked: &Checked) -> Result<(), AssembleError> {
        let path = self.folder.join(TOKENIZER_FILE);
        if !path.exists() {
            return Ok(());
        }
        let other = read_tokenizer(&path)?;
        let parts = |json: &str| {
            let value: Value = serde_json::from_str(json).unwrap_or_default();
            ["normalizer", "pre_tokenizer", "model", "added_tokens"].map(|part| value.get(part).cloned())
        };
        if other == checked.json || parts(&other) == parts(&checked.json) {
            Ok(())
        } else {
            Err(StaticSearchError::Tokenizer.into())
        }
    }
}
