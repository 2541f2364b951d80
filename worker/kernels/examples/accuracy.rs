//! How far a real BERT model in bytes is from the same model in 32-bit numbers:
//! `cargo run --release -p lexiscale-kernels --example accuracy -- FOLDER IDS`, where FOLDER has `config.json` and
//! `model.safetensors`, and each line of the file IDS is a text's token ids, separated by spaces.
#![expect(clippy::print_stdout, reason = "a program's output")]

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use lexiscale_kernels::{
    Activation, Block, LayerPart, Model, Part, Positions, Precision, Shape, Sight, Team, Tensors, Workspace,
    pack, reference,
};
use safetensors::{SafeTensorError, SafeTensors};
use serde_json::Value;

type Row = Vec<(u32, f32)>;
type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, ids] = &arguments[..] else { return Err("two arguments: FOLDER IDS".into()) };
    let folder = Path::new(folder);
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
    let shape = shape(&config)?;
    let bytes = std::fs::read(folder.join("model.safetensors"))?;
    let checkpoint = Checkpoint(SafeTensors::deserialize(&bytes)?);
    let path = std::env::temp_dir().join("lexiscale-kernels-accuracy");
    let mut file = BufWriter::new(std::fs::File::create(&path)?);
    pack(&shape, Precision::Int8, &checkpoint, &mut file)?;
    file.flush()?;
    drop(file);
    let model = Model::open(&path)?;

    let (mut space, team) = (Workspace::new(), Team::alone());
    let mut cosines = Vec::new();
    let (mut kept, mut same_terms, mut terms, mut rescored) = ([0.0; 2], 0, 0, 0);
    for line in std::fs::read_to_string(ids)?.lines() {
        let ids: Vec<u32> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let expected = saturated(reference::embed(&shape, &checkpoint, &ids)?);
        let found = saturated(model.embed(&ids, &mut space, &team));
        rescored += space.rescored();
        cosines.push(cosine(&expected, &found));
        for (kept, count) in kept.iter_mut().zip([10, 100]) {
            let (expected, found) = (strongest(&expected, count), strongest(&found, count));
            *kept += expected.intersection(&found).count() as f64 / expected.len() as f64;
        }
        terms += found.len();
        same_terms += usize::from(strongest(&expected, usize::MAX) == strongest(&found, usize::MAX));
    }
    let texts = cosines.len() as f64;
    println!(
        "{texts} texts: cosine mean {:.5} worst {:.5}; kept of the top 10 {:.2} %, of the top 100 {:.2} %; {:.0} terms \
         and {:.0} rescored pairs a text, {same_terms} texts with just the same terms",
        cosines.iter().sum::<f64>() / texts,
        cosines.iter().copied().fold(1.0, f64::min),
        100.0 * kept[0] / texts,
        100.0 * kept[1] / texts,
        terms as f64 / texts,
        rescored as f64 / texts,
    );
    Ok(())
}

fn shape(config: &Value) -> Result<Shape, Failure> {
    let size = |name: &str| -> Result<usize, Failure> {
        Ok(usize::try_from(config[name].as_u64().ok_or_else(|| format!("config.json lacks {name}"))?)?)
    };
    Ok(Shape {
        layers: vec![Sight::Global; size("num_hidden_layers")?],
        hidden: size("hidden_size")?,
        heads: size("num_attention_heads")?,
        intermediate: size("intermediate_size")?,
        vocabulary: size("vocab_size")?,
        positions: Positions::Table {
            rows: size("max_position_embeddings")?,
            offset: 0,
            padding: None,
            token_types: size("type_vocab_size")?,
        },
        block: Block::NormAfter,
        epsilon: 1e-12,
        activation: Activation::Gelu,
        head_activation: Activation::Gelu,
    })
}

struct Checkpoint<'a>(SafeTensors<'a>);

impl Tensors for Checkpoint<'_> {
    type Error = SafeTensorError;

    fn read(&self, part: Part) -> Result<Cow<'_, [f32]>, SafeTensorError> {
        let name = name(part);
        // Older checkpoints have older names for layer norms.
        let older =
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        let tensor = self.0.tensor(&name).or_else(|_| self.0.tensor(&older))?;
        let numbers = tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        Ok(Cow::Owned(numbers.collect()))
    }

    fn is_tied(&self) -> bool {
        true
    }
}

fn name(part: Part) -> String {
    let name = match part {
        Part::WordEmbeddings | Part::Decoder => "bert.embeddings.word_embeddings.weight",
        Part::PositionEmbeddings => "bert.embeddings.position_embeddings.weight",
        Part::TokenTypeEmbeddings => "bert.embeddings.token_type_embeddings.weight",
        Part::EmbeddingNormWeight => "bert.embeddings.LayerNorm.weight",
        Part::EmbeddingNormBias => "bert.embeddings.LayerNorm.bias",
        Part::TransformWeight => "cls.predictions.transform.dense.weight",
        Part::TransformBias => "cls.predictions.transform.dense.bias",
        Part::TransformNormWeight => "cls.predictions.transform.LayerNorm.weight",
        Part::TransformNormBias => "cls.predictions.transform.LayerNorm.bias",
        Part::DecoderBias => "cls.predictions.bias",
        Part::Layer(layer, part) => {
            let part = match part {
                LayerPart::QueryWeight => "attention.self.query.weight",
                LayerPart::QueryBias => "attention.self.query.bias",
                LayerPart::KeyWeight => "attention.self.key.weight",
                LayerPart::KeyBias => "attention.self.key.bias",
                LayerPart::ValueWeight => "attention.self.value.weight",
                LayerPart::ValueBias => "attention.self.value.bias",
                LayerPart::AttentionOutputWeight => "attention.output.dense.weight",
                LayerPart::AttentionOutputBias => "attention.output.dense.bias",
                LayerPart::AttentionNormWeight => "attention.output.LayerNorm.weight",
                LayerPart::AttentionNormBias => "attention.output.LayerNorm.bias",
                LayerPart::IntermediateWeight => "intermediate.dense.weight",
                LayerPart::IntermediateBias => "intermediate.dense.bias",
                LayerPart::OutputWeight => "output.dense.weight",
                LayerPart::OutputBias => "output.dense.bias",
                LayerPart::OutputNormWeight => "output.LayerNorm.weight",
                LayerPart::OutputNormBias => "output.LayerNorm.bias",
            };
            return format!("bert.encoder.layer.{layer}.{part}");
        }
    };
    name.to_owned()
}

/// As SPLADE weighs: the logarithm keeps order and sign.
fn saturated(mut row: Row) -> Row {
    for (_, logit) in &mut row {
        *logit = logit.ln_1p();
    }
    row
}

fn strongest(row: &Row, count: usize) -> HashSet<u32> {
    let mut row = row.clone();
    row.sort_by(|left, right| right.1.total_cmp(&left.1));
    row.into_iter().take(count).map(|(id, _)| id).collect()
}

fn cosine(left: &Row, right: &Row) -> f64 {
    let length = |row: &Row| row.iter().map(|(_, weight)| f64::from(*weight).powi(2)).sum::<f64>().sqrt();
    let mut product = 0.0;
    for (id, weight) in left {
        if let Ok(index) = right.binary_search_by_key(id, |(id, _)| *id) {
            product += f64::from(*weight) * f64::from(right[index].1);
        }
    }
    product / (length(left) * length(right))
}
