//! BERT, DistilBERT and RoBERTa.

use crate::model::config::ModelConfig;
use crate::model::tensor_names::TensorNames;
use crate::model::weights::WeightsError;
use crate::tokenize::Tokens;

use super::{Plain, Product, States, activate, embedded};

pub(super) fn states(plain: &Plain<'_>, texts: &[Tokens]) -> Result<(States, Product), WeightsError> {
    let &ModelConfig { family, hidden_size, intermediate_size, vocabulary_size, decoder, .. } = plain.config;
    let names = TensorNames::new(family, decoder).expect("only ModernBERT has no names like BERT's");
    let words = plain.weights.read(names.words, &[vocabulary_size, hidden_size])?;
    let mut states = embeddings(plain, &names, &words, texts)?;
    let square = [hidden_size; 2];
    for layer in 0..plain.config.layers {
        let names = names.layer(layer);
        let query = plain.linear(&names.query, square, true)?;
        let key = plain.linear(&names.key, square, true)?;
        let value = plain.linear(&names.value, square, true)?;
        let output = plain.linear(&names.attention_output, square, true)?;
        for text in &mut states {
            let (query, key, value) = (query.apply(text), key.apply(text), value.apply(text));
            text.add(&output.apply(&plain.attended(&query, &key, &value, |_, _| true)));
        }
        plain.norm(&mut states, &names.attention_norm, true)?;
        let intermediate = plain.linear(&names.intermediate, [hidden_size, intermediate_size], true)?;
        let output = plain.linear(&names.output, [intermediate_size, hidden_size], true)?;
        for text in &mut states {
            let mut wide = intermediate.apply(text);
            activate(&mut wide, plain.config.activation);
            text.add(&output.apply(&wide));
        }
        plain.norm(&mut states, &names.output_norm, true)?;
    }
    let transform = plain.linear(names.head.transform, square, true)?;
    for text in &mut states {
        *text = transform.apply(text);
        activate(text, plain.config.head_activation);
    }
    plain.norm(&mut states, names.head.norm, true)?;
    let biases = names.head.biases;
    let bias = biases.iter().find(|name| plain.weights.contains(name)).unwrap_or(&biases[0]);
    let bias = Some(plain.weights.read(bias, &[vocabulary_size])?);
    Ok((states, Product { matrix: plain.matrix(words, names.head.decoder)?, bias }))
}

fn embeddings(
    plain: &Plain<'_>,
    names: &TensorNames,
    words: &[f32],
    texts: &[Tokens],
) -> Result<States, WeightsError> {
    let &ModelConfig { hidden_size, positions, padding, token_types, .. } = plain.config;
    let table = plain.weights.read(names.positions, &[positions, hidden_size])?;
    let segment = match names.token_types {
        Some(name) => plain.weights.read(name, &[token_types, hidden_size])?,
        None => vec![0.0; hidden_size],
    };
    let mut states: States = texts.iter().map(|text| embedded(words, hidden_size, text)).collect();
    for (text, tokens) in states.iter_mut().zip(texts) {
        let mut places = places(&tokens.ids, padding).into_iter();
        text.each_row(|row| {
            let start = places.next().unwrap_or_default() * hidden_size;
            for (index, value) in row.iter_mut().enumerate() {
                *value += segment[index];
                *value += table[start + index];
            }
        });
    }
    plain.norm(&mut states, names.embedding_norm, true)?;
    Ok(states)
}

/// The row of each token in the table of positions.
fn places(ids: &[u32], padding: Option<usize>) -> Vec<usize> {
    let Some(padding) = padding else {
        return (0..ids.len()).collect();
    };
    let mut last = padding;
    let place = |id: &u32| {
        if usize::try_from(*id) == Ok(padding) {
            return padding;
        }
        last += 1;
        last
    };
    ids.iter().map(place).collect()
}
