//! What each text's answer is when the text is asked alone, and whether a later one is the same.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use super::texts::{Text, ask};
use crate::wire::Wire;

type Embedding = Map<String, Value>;

pub(super) struct Known {
    pub(super) texts: Vec<Text>,
    alone: Vec<Embedding>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Every weight in every digit.
    Identical,
    /// Nearer to its own text's than to any other, by this cosine.
    Close(f64),
    /// Another text's.
    Wrong,
}

impl Known {
    /// Asks for each, one after the other.
    pub(super) async fn learn(address: SocketAddr, texts: Vec<Text>) -> Result<Self> {
        let mut wire = Wire::connect(address).await?;
        let mut alone = Vec::with_capacity(texts.len());
        for text in &texts {
            wire.send(&ask(address, &[text])).await?;
            let message = wire.message().await?.context("closed")?;
            ensure!(message.is_ok(), "answered {}", message.first_line());
            alone.extend(embeddings(&message.body)?);
        }
        ensure!(alone.len() == texts.len(), "{} answers for {} texts", alone.len(), texts.len());
        Ok(Self { texts, alone })
    }

    /// Of the texts of these numbers, in this order.
    pub(super) fn judge(&self, numbers: &[usize], body: &[u8]) -> Result<Vec<Verdict>> {
        let embeddings = embeddings(body)?;
        if embeddings.len() != numbers.len() {
            bail!("{} embeddings for {} texts", embeddings.len(), numbers.len());
        }
        Ok(numbers.iter().zip(&embeddings).map(|(number, found)| self.compare(*number, found)).collect())
    }

    fn compare(&self, number: usize, found: &Embedding) -> Verdict {
        let own = &self.alone[number];
        if own == found {
            return Verdict::Identical;
        }
        let likeness = cosine(own, found);
        let mut others = self.alone.iter().enumerate().filter(|(other, _)| *other != number);
        if others.any(|(_, other)| cosine(other, found) >= likeness) {
            Verdict::Wrong
        } else {
            Verdict::Close(likeness)
        }
    }
}

fn embeddings(body: &[u8]) -> Result<Vec<Embedding>> {
    let body: Value = serde_json::from_slice(body)?;
    let list = body.get("sparse_embedding").and_then(Value::as_array).context("no sparse_embedding")?;
    let one = |entry: &Value| entry.get("embedding").and_then(Value::as_object).cloned();
    list.iter().map(|entry| one(entry).context("no embedding")).collect()
}

fn cosine(one: &Embedding, other: &Embedding) -> f64 {
    let weight = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let square = |of: &Embedding| of.values().map(|value| weight(value).powi(2)).sum::<f64>();
    let shared = one.iter().filter_map(|(token, value)| Some(weight(value) * weight(other.get(token)?)));
    shared.sum::<f64>() / (square(one) * square(other)).sqrt()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known() -> Known {
        let alone = [json!({"kube": 1.5, "pod": 0.5}), json!({"cat": 1.0})];
        let text = |text: &str| Text { text: text.to_owned(), is_query: false };
        let embedding = |value: &Value| value.as_object().cloned().unwrap_or_default();
        Known { texts: vec![text("pods"), text("cats")], alone: alone.iter().map(embedding).collect() }
    }

    fn body(embeddings: &[Value]) -> Vec<u8> {
        let list: Vec<_> =
            embeddings.iter().map(|one| json!({"is_truncated": false, "embedding": one})).collect();
        json!({"sparse_embedding": list}).to_string().into_bytes()
    }

    /// Whoever indexes a list gets another document's vector if it breaks.
    #[test]
    fn answers_in_another_order_are_wrong() {
        let body = body(&[json!({"cat": 1.0}), json!({"kube": 1.5, "pod": 0.5})]);
        let judge = |numbers: &[usize]| known().judge(numbers, &body).unwrap();
        assert_eq!(judge(&[1, 0]), [Verdict::Identical; 2]);
        assert_eq!(judge(&[0, 1]), [Verdict::Wrong; 2]);
    }

    #[test]
    fn a_different_digit_is_not_identical() {
        let body = body(&[json!({"kube": 1.5, "pod": 0.500_001})]);
        let [Verdict::Close(likeness)] = known().judge(&[0], &body).unwrap()[..] else {
            panic!("neither identical nor another's")
        };
        assert!(likeness > 0.999 && likeness < 1.0);
    }

    #[test]
    fn an_answer_of_too_few_texts_is_an_error() {
        known().judge(&[0, 1], &body(&[json!({"cat": 1.0})])).unwrap_err();
    }
}
