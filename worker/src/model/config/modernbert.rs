//! The settings of ModernBERT, in the form that its first checkpoints have and in that of newer ones. PURE.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ConfigError, Decoder, Family, ModelConfig, activation, size};

pub(super) const ARCHITECTURE: &str = "ModernBertForMaskedLM";

/// Which tokens a layer's tokens look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// All of the text.
    Global,
    /// Those that are near.
    Local,
}

#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "config.json has one for each kind of bias")]
pub struct ModernBert {
    /// One for each layer.
    pub attention: Vec<Attention>,
    /// How far tokens of local layers look, to either side.
    pub reach: usize,
    /// Bases of the rotations that stand for positions.
    pub global_theta: f32,
    pub local_theta: f32,
    pub norm_bias: bool,
    pub attention_bias: bool,
    pub feed_forward_bias: bool,
    pub head_bias: bool,
    pub decoder_bias: bool,
}

impl ModernBert {
    pub fn theta(&self, attention: Attention) -> f32 {
        match attention {
            Attention::Global => self.global_theta,
            Attention::Local => self.local_theta,
        }
    }
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as config.json has them")]
struct Raw {
    vocab_size: Option<u64>,
    hidden_size: Option<u64>,
    intermediate_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    num_attention_heads: Option<u64>,
    max_position_embeddings: Option<u64>,
    hidden_activation: Option<String>,
    classifier_activation: Option<String>,
    norm_eps: Option<f32>,
    #[serde(default)]
    norm_bias: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    classifier_bias: bool,
    decoder_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    local_attention: Option<u64>,
    // As the first checkpoints say it.
    global_attn_every_n_layers: Option<u64>,
    global_rope_theta: Option<f32>,
    local_rope_theta: Option<f32>,
    // As newer ones say it.
    layer_types: Option<Vec<String>>,
    rope_parameters: Option<BTreeMap<String, Option<Rotation>>>,
    rope_scaling: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Rotation {
    rope_type: Option<String>,
    rope_theta: Option<f32>,
}

const GLOBAL: &str = "full_attention";
const LOCAL: &str = "sliding_attention";

pub(super) fn parse(json: &[u8]) -> Result<ModelConfig, ConfigError> {
    let raw: Raw = serde_json::from_slice(json).map_err(ConfigError::Parse)?;
    let layers = size("num_hidden_layers", raw.num_hidden_layers)?;
    let modern = ModernBert {
        attention: raw.attention(layers)?,
        reach: size("local_attention", raw.local_attention.or(Some(128)))? / 2,
        global_theta: raw.theta(GLOBAL, raw.global_rope_theta, 160_000.0)?,
        local_theta: raw.theta(LOCAL, raw.local_rope_theta, 10_000.0)?,
        norm_bias: raw.norm_bias,
        attention_bias: raw.attention_bias,
        feed_forward_bias: raw.mlp_bias,
        head_bias: raw.classifier_bias,
        decoder_bias: raw.decoder_bias.unwrap_or(true),
    };
    let config = ModelConfig {
        family: Family::ModernBert,
        vocabulary_size: size("vocab_size", raw.vocab_size)?,
        hidden_size: size("hidden_size", raw.hidden_size)?,
        layers,
        heads: size("num_attention_heads", raw.num_attention_heads)?,
        intermediate_size: size("intermediate_size", raw.intermediate_size)?,
        positions: size("max_position_embeddings", raw.max_position_embeddings.or(Some(8192)))?,
        padding: None,
        token_types: 0,
        layer_norm_epsilon: raw.norm_eps.unwrap_or(1e-5),
        activation: activation(ARCHITECTURE, "hidden_activation", raw.hidden_activation.as_deref())?,
        head_activation: activation(
            ARCHITECTURE,
            "classifier_activation",
            raw.classifier_activation.as_deref(),
        )?,
        decoder: if raw.tie_word_embeddings.unwrap_or(true) { Decoder::Tied } else { Decoder::Own },
        modern: Some(modern),
    }
    .checked()?;
    // Rotations turn pairs of numbers.
    if !config.head_size().is_multiple_of(2) {
        return Err(refused("hidden_size / num_attention_heads", config.head_size().to_string(), "even"));
    }
    Ok(config)
}

fn refused(field: &'static str, found: String, supported: &'static str) -> ConfigError {
    ConfigError::Setting { architecture: ARCHITECTURE, field, found, supported }
}

impl Raw {
    fn attention(&self, layers: usize) -> Result<Vec<Attention>, ConfigError> {
        let Some(types) = &self.layer_types else {
            let every = size("global_attn_every_n_layers", self.global_attn_every_n_layers.or(Some(3)))?;
            let kind = |layer: usize| {
                if layer.is_multiple_of(every) { Attention::Global } else { Attention::Local }
            };
            return Ok((0..layers).map(kind).collect());
        };
        if types.len() != layers {
            return Err(refused("layer_types", format!("{} entries", types.len()), "one for each layer"));
        }
        let kind = |name: &String| match name.as_str() {
            GLOBAL => Ok(Attention::Global),
            LOCAL => Ok(Attention::Local),
            other => Err(refused("layer_types", other.to_owned(), "full_attention or sliding_attention")),
        };
        types.iter().map(kind).collect()
    }

    fn theta(&self, kind: &str, old: Option<f32>, default: f32) -> Result<f32, ConfigError> {
        if self.rope_scaling.as_ref().is_some_and(|scaling| !scaling.is_null()) {
            return Err(refused("rope_scaling", "an object".to_owned(), "none"));
        }
        let new = self.rope_parameters.as_ref().and_then(|all| all.get(kind)?.as_ref());
        if let Some(other) = new.and_then(|new| new.rope_type.as_deref()).filter(|kind| *kind != "default") {
            return Err(refused("rope_type", other.to_owned(), "default"));
        }
        let theta = new.and_then(|new| new.rope_theta).or(old).unwrap_or(default);
        if theta.is_finite() && theta >= 1.0 {
            Ok(theta)
        } else {
            Err(refused("rope_theta", theta.to_string(), "a number from 1"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"architectures":["ModernBertForMaskedLM"],"vocab_size":96,"hidden_size":16,
        "num_hidden_layers":4,"num_attention_heads":4,"intermediate_size":24,"max_position_embeddings":64,
        "global_attn_every_n_layers":2,"local_attention":8,"global_rope_theta":160000.0,"local_rope_theta":1000.0}"#;

    #[test]
    fn both_forms_of_the_settings_say_the_same() {
        let new = OLD.replace(
            r#""global_attn_every_n_layers":2"#,
            r#""layer_types":["full_attention","sliding_attention","full_attention","sliding_attention"],
               "rope_parameters":{"full_attention":{"rope_type":"default","rope_theta":160000.0},
               "sliding_attention":{"rope_type":"default","rope_theta":1000.0}}"#,
        );
        let new = new.replace(r#","global_rope_theta":160000.0,"local_rope_theta":1000.0"#, "");
        let (old, new) = (parse(OLD.as_bytes()).unwrap(), parse(new.as_bytes()).unwrap());
        assert_eq!(old, new);
        let modern = new.modern.unwrap();
        assert_eq!((modern.reach, modern.decoder_bias, modern.norm_bias), (4, true, false));
        assert_eq!(modern.attention[..2], [Attention::Global, Attention::Local]);
    }

    #[test]
    fn what_would_change_the_vectors_is_refused_by_name() {
        for (json, message) in [
            (OLD.replace('{', r#"{"rope_scaling":{"factor":2},"#), "rope_scaling"),
            (OLD.replace('{', r#"{"layer_types":["full_attention"],"#), "1 entries"),
            (OLD.replace('{', r#"{"layer_types":["a","a","a","a"],"#), "layer_types = a"),
            (OLD.replace('{', r#"{"rope_parameters":{"full_attention":{"rope_type":"yarn"}},"#), "yarn"),
            (OLD.replace(r#""local_rope_theta":1000.0"#, r#""local_rope_theta":-1.0"#), "rope_theta = -1"),
            (
                OLD.replace(r#""num_attention_heads":4"#, r#""num_attention_heads":16"#),
                "= 1 is not supported",
            ),
        ] {
            let error = parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
