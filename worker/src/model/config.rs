//! A model's `config.json`, read strictly: either an architecture that the converter knows, with every number that the
//! graph depends on, or a sentence about what is missing. PURE.

mod modernbert;

use serde::Deserialize;

pub use modernbert::{Attention, ModernBert};

/// Largest `config.json` that is read.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

const SUPPORTED: &str = "BertForMaskedLM, DistilBertForMaskedLM, RobertaForMaskedLM, XLMRobertaForMaskedLM, \
     CamembertForMaskedLM and ModernBertForMaskedLM";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Bert,
    DistilBert,
    /// With XLM-R and CamemBERT, which differ in their tokenizers only.
    Roberta,
    ModernBert,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// With the error function, exact.
    Gelu,
    /// The tanh approximation.
    GeluTanh,
    Relu,
}

/// Where the vocabulary product takes its weights from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoder {
    /// The word embeddings.
    Tied,
    Own,
}

/// Everything about a masked-language model that its graph depends on. All sizes are above zero, and the hidden size
/// is a multiple of the number of heads.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    pub family: Family,
    pub vocabulary_size: usize,
    pub hidden_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub intermediate_size: usize,
    /// Rows of the table of positions, or the longest text for families that have none.
    pub positions: usize,
    /// The padding id of families that count positions from the one after it, and skip padding in the count.
    pub padding: Option<usize>,
    /// 0 for families without segment embeddings.
    pub token_types: usize,
    pub layer_norm_epsilon: f32,
    pub activation: Activation,
    /// That of the masked-language head.
    pub head_activation: Activation,
    pub decoder: Decoder,
    /// What only `ModernBERT` has.
    pub modern: Option<ModernBert>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to parse config.json")]
    Parse(#[source] serde_json::Error),
    #[error(
        "architecture {found} is not supported; supported are {SUPPORTED}, or a repository with an ONNX model"
    )]
    Architecture { found: String },
    #[error("{field} = {found} is not supported for {architecture}; supported is {supported}")]
    Setting { architecture: &'static str, field: &'static str, found: String, supported: &'static str },
    #[error("config.json lacks {field}")]
    Missing { field: &'static str },
    #[error("config.json has {field} = {found}, which is not in {bounds}")]
    OutOfBounds { field: &'static str, found: u64, bounds: &'static str },
    #[error("config.json has hidden size {hidden}, which {heads} attention heads do not divide")]
    Heads { hidden: usize, heads: usize },
}

/// The part of `config.json` that every model has, converted or not.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Window {
    #[serde(default)]
    max_position_embeddings: Option<u64>,
    #[serde(default)]
    vocab_size: Option<u64>,
    #[serde(default)]
    model_type: Option<String>,
    #[serde(default)]
    pad_token_id: Option<u64>,
}

impl Window {
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        serde_json::from_slice(json).map_err(ConfigError::Parse)
    }

    /// How many tokens the positions allow. The `RoBERTa` family starts to count after its padding id.
    pub fn positions(&self) -> Option<u64> {
        let offset = match self.model_type.as_deref() {
            Some("roberta" | "xlm-roberta" | "camembert" | "mpnet") => self.pad_token_id.unwrap_or(1) + 1,
            _ => 0,
        };
        self.max_position_embeddings.map(|positions| positions.saturating_sub(offset))
    }

    pub fn vocabulary_size(&self) -> Option<u64> {
        self.vocab_size
    }
}

impl ModelConfig {
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let raw: Raw = serde_json::from_slice(json).map_err(ConfigError::Parse)?;
        match raw.architecture() {
            Some("BertForMaskedLM") => raw.bert(),
            Some("DistilBertForMaskedLM") => raw.distilbert(),
            Some("RobertaForMaskedLM") => raw.roberta("RobertaForMaskedLM"),
            Some("XLMRobertaForMaskedLM") => raw.roberta("XLMRobertaForMaskedLM"),
            Some("CamembertForMaskedLM") => raw.roberta("CamembertForMaskedLM"),
            Some(modernbert::ARCHITECTURE) => modernbert::parse(json),
            found => Err(ConfigError::Architecture { found: found.unwrap_or("(none named)").to_owned() }),
        }
    }

    pub fn head_size(&self) -> usize {
        self.hidden_size / self.heads
    }

    /// Tokens of a text that the model can see.
    pub fn window(&self) -> usize {
        self.positions - self.padding.map_or(0, |padding| padding + 1)
    }

    fn checked(self) -> Result<Self, ConfigError> {
        if !self.hidden_size.is_multiple_of(self.heads) {
            return Err(ConfigError::Heads { hidden: self.hidden_size, heads: self.heads });
        }
        if self.padding.is_some_and(|padding| padding.saturating_add(1) >= self.positions) {
            return Err(ConfigError::OutOfBounds {
                field: "pad_token_id",
                found: self.padding.unwrap_or_default() as u64,
                bounds: "what max_position_embeddings leaves room for",
            });
        }
        Ok(self)
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    architectures: Vec<String>,
    vocab_size: Option<u64>,
    max_position_embeddings: Option<u64>,
    tie_word_embeddings: Option<bool>,
    // BERT
    hidden_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    num_attention_heads: Option<u64>,
    intermediate_size: Option<u64>,
    type_vocab_size: Option<u64>,
    layer_norm_eps: Option<f32>,
    hidden_act: Option<String>,
    position_embedding_type: Option<String>,
    is_decoder: Option<bool>,
    pad_token_id: Option<u64>,
    // DistilBERT
    dim: Option<u64>,
    n_layers: Option<u64>,
    n_heads: Option<u64>,
    hidden_dim: Option<u64>,
    activation: Option<String>,
}

impl Raw {
    /// The masked-language architecture if there is one among those named, else the first.
    fn architecture(&self) -> Option<&str> {
        let masked = self.architectures.iter().find(|name| name.ends_with("ForMaskedLM"));
        masked.or(self.architectures.first()).map(String::as_str)
    }

    fn decoder(&self) -> Decoder {
        if self.tie_word_embeddings.unwrap_or(true) { Decoder::Tied } else { Decoder::Own }
    }

    fn bert(self) -> Result<ModelConfig, ConfigError> {
        self.bert_like("BertForMaskedLM", Family::Bert)
    }

    fn roberta(self, architecture: &'static str) -> Result<ModelConfig, ConfigError> {
        let padding = usize::try_from(self.pad_token_id.unwrap_or(1)).unwrap_or(usize::MAX);
        let config = self.bert_like(architecture, Family::Roberta)?;
        // The head's activation is not a setting of this family.
        ModelConfig { padding: Some(padding), head_activation: Activation::Gelu, ..config }.checked()
    }

    fn bert_like(self, architecture: &'static str, family: Family) -> Result<ModelConfig, ConfigError> {
        if let Some(found) = self.position_embedding_type.clone().filter(|kind| kind != "absolute") {
            let field = "position_embedding_type";
            return Err(ConfigError::Setting { architecture, field, found, supported: "absolute" });
        }
        if self.is_decoder == Some(true) {
            let field = "is_decoder";
            return Err(ConfigError::Setting {
                architecture,
                field,
                found: "true".to_owned(),
                supported: "false",
            });
        }
        let activation = activation(architecture, "hidden_act", self.hidden_act.as_deref())?;
        ModelConfig {
            family,
            vocabulary_size: size("vocab_size", self.vocab_size)?,
            hidden_size: size("hidden_size", self.hidden_size)?,
            layers: size("num_hidden_layers", self.num_hidden_layers)?,
            heads: size("num_attention_heads", self.num_attention_heads)?,
            intermediate_size: size("intermediate_size", self.intermediate_size)?,
            positions: size("max_position_embeddings", self.max_position_embeddings)?,
            token_types: size("type_vocab_size", self.type_vocab_size.or(Some(2)))?,
            padding: None,
            layer_norm_epsilon: self.layer_norm_eps.unwrap_or(1e-12),
            activation,
            head_activation: activation,
            decoder: self.decoder(),
            modern: None,
        }
        .checked()
    }

    fn distilbert(self) -> Result<ModelConfig, ConfigError> {
        let architecture = "DistilBertForMaskedLM";
        let activation = activation(architecture, "activation", self.activation.as_deref())?;
        ModelConfig {
            family: Family::DistilBert,
            vocabulary_size: size("vocab_size", self.vocab_size)?,
            hidden_size: size("dim", self.dim)?,
            layers: size("n_layers", self.n_layers)?,
            heads: size("n_heads", self.n_heads)?,
            intermediate_size: size("hidden_dim", self.hidden_dim)?,
            positions: size("max_position_embeddings", self.max_position_embeddings)?,
            padding: None,
            token_types: 0,
            layer_norm_epsilon: 1e-12,
            activation,
            head_activation: activation,
            decoder: self.decoder(),
            modern: None,
        }
        .checked()
    }
}

fn activation(
    architecture: &'static str,
    field: &'static str,
    name: Option<&str>,
) -> Result<Activation, ConfigError> {
    match name {
        None | Some("gelu") => Ok(Activation::Gelu),
        Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        Some("relu") => Ok(Activation::Relu),
        Some(found) => {
            let supported = "gelu, gelu_new, gelu_pytorch_tanh or relu";
            Err(ConfigError::Setting { architecture, field, found: found.to_owned(), supported })
        }
    }
}

/// The bound keeps products of two sizes far from overflow; the largest vocabulary in use has about a million entries.
fn size(field: &'static str, value: Option<u64>) -> Result<usize, ConfigError> {
    let found = value.ok_or(ConfigError::Missing { field })?;
    let bounds = "1..=4194304";
    if !(1..=4_194_304).contains(&found) {
        return Err(ConfigError::OutOfBounds { field, found, bounds });
    }
    usize::try_from(found).map_err(|_| ConfigError::OutOfBounds { field, found, bounds })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERT: &str = r#"{"architectures":["BertForMaskedLM"],"vocab_size":96,"hidden_size":16,"num_hidden_layers":2,
        "num_attention_heads":4,"intermediate_size":32,"max_position_embeddings":24}"#;

    #[test]
    fn defaults_are_those_of_transformers() {
        let config = ModelConfig::parse(BERT.as_bytes()).unwrap();
        assert_eq!(config.activation, Activation::Gelu);
        assert_eq!(config.decoder, Decoder::Tied);
        assert_eq!(config.token_types, 2);
        assert_eq!(config.head_size(), 4);
    }

    /// Whoever asks for such a model reads this message in the status of their endpoint.
    #[test]
    fn refusals_name_the_field_and_what_is_supported() {
        let table = [
            (BERT.replace("BertForMaskedLM", "ElectraForMaskedLM"), "ElectraForMaskedLM is not supported"),
            (BERT.replace(r#""architectures":["BertForMaskedLM"],"#, ""), "(none named) is not supported"),
            (
                BERT.replace(r#""vocab_size":96"#, r#""position_embedding_type":"relative_key""#),
                "relative_key",
            ),
            (BERT.replace(r#""vocab_size":96"#, r#""hidden_act":"swish""#), "lacks vocab_size"),
            (BERT.replace('{', r#"{"hidden_act":"swish","#), "hidden_act = swish is not supported"),
            (BERT.replace('{', r#"{"is_decoder":true,"#), "is_decoder = true"),
            (BERT.replace(r#""hidden_size":16"#, r#""hidden_size":0"#), "hidden_size = 0"),
            (BERT.replace(r#""hidden_size":16"#, r#""hidden_size":9999999"#), "hidden_size = 9999999"),
            (BERT.replace(r#""num_attention_heads":4"#, r#""num_attention_heads":3"#), "3 attention heads"),
            ("[]".to_owned(), "failed to parse config.json"),
        ];
        for (json, message) in table {
            let error = ModelConfig::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    /// Counted from the padding id, the first token of a text has the third row of the table.
    #[test]
    fn roberta_counts_positions_from_its_padding() {
        let json = BERT.replace("BertForMaskedLM", "XLMRobertaForMaskedLM");
        let config = ModelConfig::parse(json.as_bytes()).unwrap();
        assert_eq!((config.family, config.padding, config.window()), (Family::Roberta, Some(1), 22));
        let json = json.replace('{', r#"{"pad_token_id":23,"#);
        let error = ModelConfig::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("pad_token_id = 23"), "{error}");
    }

    #[test]
    fn roberta_loses_the_positions_before_its_first_token() {
        let json =
            br#"{"model_type":"roberta","max_position_embeddings":514,"pad_token_id":1,"vocab_size":50265}"#;
        assert_eq!(Window::parse(json).unwrap().positions(), Some(512));
    }
}
