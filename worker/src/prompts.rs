//! What a model wants before its texts: the prompts of a Sentence Transformers folder, by name. PURE.

use std::collections::BTreeMap;

use lexiscale_wire::InputType;
use serde::Deserialize;

/// Where such a folder keeps them.
pub const PROMPTS_FILE: &str = "config_sentence_transformers.json";

/// A prompt is a sentence; longer ones would leave no room for the text.
const LONGEST: usize = 16 * 1024;

/// Under which names a kind of text has its prompt, the first that there is.
const FOR_QUERIES: [&str; 1] = ["query"];
const FOR_DOCUMENTS: [&str; 3] = ["document", "passage", "corpus"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompts {
    by_name: BTreeMap<String, String>,
    default_name: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum PromptsError {
    #[error("failed to parse {PROMPTS_FILE}")]
    Parse(#[source] serde_json::Error),
    #[error("{PROMPTS_FILE}: prompt {name:?} is longer than {LONGEST} bytes; shorten it")]
    TooLong { name: String },
    #[error("{PROMPTS_FILE}: default_prompt_name is {name:?}, but no prompt has that name")]
    Default { name: String },
}

/// Nothing of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model has no prompt {name:?}; {known}")]
pub struct UnknownPrompt {
    name: String,
    known: String,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    prompts: Option<BTreeMap<String, Option<String>>>,
    #[serde(default)]
    default_prompt_name: Option<String>,
}

impl Prompts {
    pub fn parse(json: &[u8]) -> Result<Self, PromptsError> {
        let File { prompts, default_prompt_name: default_name } =
            serde_json::from_slice(json).map_err(PromptsError::Parse)?;
        let by_name: BTreeMap<_, _> = prompts
            .unwrap_or_default()
            .into_iter()
            .map(|(name, prompt)| (name, prompt.unwrap_or_default()))
            .collect();
        if let Some((name, _)) = by_name.iter().find(|(_, prompt)| prompt.len() > LONGEST) {
            return Err(PromptsError::TooLong { name: name.clone() });
        }
        match default_name {
            Some(name) if !by_name.contains_key(&name) => Err(PromptsError::Default { name }),
            default_name => Ok(Self { by_name, default_name }),
        }
    }

    /// What goes before the texts of a request: the prompt that it names, else the one for its kind of texts, else the model's
    /// default. Empty for most models.
    pub fn of(&self, name: Option<&str>, input_type: Option<InputType>) -> Result<&str, UnknownPrompt> {
        if let Some(name) = name {
            return self.by_name.get(name).map(String::as_str).ok_or_else(|| self.unknown(name));
        }
        let usual: &[&str] = match input_type {
            Some(InputType::Search) => &FOR_QUERIES,
            Some(InputType::Ingest) => &FOR_DOCUMENTS,
            None => &[],
        };
        let default = || self.by_name.get(self.default_name.as_ref()?);
        let prompt = usual.iter().find_map(|name| self.by_name.get(*name)).or_else(default);
        Ok(prompt.map_or("", String::as_str))
    }

    fn unknown(&self, name: &str) -> UnknownPrompt {
        let names: Vec<_> = self.by_name.keys().map(String::as_str).collect();
        let known = if names.is_empty() {
            "it has none, so leave prompt_name out".to_owned()
        } else {
            format!("it has {}", names.join(", "))
        };
        let name = name.chars().take(64).collect();
        UnknownPrompt { name, known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: Option<InputType> = Some(InputType::Search);
    const INGEST: Option<InputType> = Some(InputType::Ingest);

    fn prompts(json: &str) -> Prompts {
        Prompts::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_goes_before_the_kind_of_text_and_that_before_the_default() {
        let prompts = prompts(
            r#"{"prompts":{"query":"q: ","passage":"p: ","other":"o: "},"default_prompt_name":"other","similarity_fn_name":"dot"}"#,
        );
        for (name, input_type, expected) in [
            (None, SEARCH, "q: "),
            (None, INGEST, "p: "),
            (None, None, "o: "),
            (Some("passage"), SEARCH, "p: "),
        ] {
            assert_eq!(prompts.of(name, input_type), Ok(expected), "{name:?} {input_type:?}");
        }
        let error = prompts.of(Some("title"), None).unwrap_err().to_string();
        assert_eq!(error, r#"the model has no prompt "title"; it has other, passage, query"#);
    }

    #[test]
    fn most_models_have_none() {
        for json in ["{}", r#"{"prompts":{},"default_prompt_name":null}"#, r#"{"prompts":null}"#] {
            assert_eq!(prompts(json), Prompts::default());
        }
        assert_eq!(Prompts::default().of(None, SEARCH), Ok(""));
        let error = Prompts::default().of(Some("query"), None).unwrap_err().to_string();
        assert!(error.ends_with("it has none, so leave prompt_name out"), "{error}");
        assert_eq!(prompts(r#"{"prompts":{"query":null}}"#).of(None, SEARCH), Ok(""));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (json, part) in [
            ("7", "parse"),
            (r#"{"prompts":{"query":1}}"#, "parse"),
            (r#"{"default_prompt_name":"query"}"#, "no prompt has that name"),
            (&format!(r#"{{"prompts":{{"query":"{}"}}}}"#, "a".repeat(LONGEST + 1)), "longer than"),
        ] {
            let error = Prompts::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
