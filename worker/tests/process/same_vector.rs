//! The same text, the same vector, bit for bit: alone and in any list, beside whatever else runs, with one thread and with two, and
//! after a restart. A cache, a retry and two allocations would disagree otherwise.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use lexiscale_worker::embedder::Embedder;
use lexiscale_worker::pooling::SparseRow;
use lexiscale_worker::precision::PrecisionSetting;

use crate::support::models::{open, published_demo, published_demo_for_onnx};
use crate::support::reference::Reference;
use crate::vectors::texts;

const TEXTS: usize = 500;
const GROUPINGS: usize = 20;

/// A generator of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for index in (1..count).rev() {
            order.swap(index, self.below(index + 1));
        }
        order
    }
}

/// Words of the reference's texts in other orders and lengths, from one word to some hundred.
fn corpus() -> Vec<String> {
    let reference = Reference::demo();
    let words: Vec<&str> = reference.texts.iter().flat_map(|text| text.text.split_whitespace()).collect();
    let mut numbers = Numbers(0x2545_F491_4F6C_DD1D);
    let mut seen = HashSet::new();
    while seen.len() < TEXTS {
        // Short ones often, long ones sometimes, as queries and passages are.
        let length = 1 + numbers.below(12) * (1 + numbers.below(10) / 8 * 9);
        let start = numbers.below(words.len() - length);
        let mut text: Vec<&str> = words[start..start + length].to_vec();
        let other = numbers.below(length);
        text.swap(0, other);
        seen.insert(text.join(" "));
    }
    let mut corpus: Vec<String> = seen.into_iter().collect();
    corpus.sort_unstable();
    corpus
}

async fn alone(embedder: &Embedder, corpus: &[String]) -> Vec<SparseRow> {
    let mut rows = Vec::new();
    for text in corpus {
        rows.push(embedder.embed(texts(vec![text.clone()])).await.unwrap().remove(0).row);
    }
    rows
}

/// As equality of numbers would not tell 0.0 from -0.0.
fn bits(row: &SparseRow) -> Vec<(u32, u32)> {
    row.entries().iter().map(|(id, weight)| (*id, weight.to_bits())).collect()
}

#[track_caller]
fn assert_same(found: &SparseRow, expected: &SparseRow, text: &str, about: &str) {
    assert_eq!(bits(found), bits(expected), "{about}: {text:?}");
}

async fn any_grouping_gives_the_same_bits(model: &Path, precision: PrecisionSetting) {
    let embedder = Arc::new(open(model, 2, precision));
    let corpus = corpus();
    let expected = alone(&embedder, &corpus).await;
    assert!(expected.iter().filter(|row| !row.entries().is_empty()).count() > TEXTS / 2);
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for grouping in 0..GROUPINGS {
        let order = numbers.shuffled(corpus.len());
        let mut rest = order.as_slice();
        let mut requests = Vec::new();
        // All of them at once: the lanes are never without work, and lists mix.
        while !rest.is_empty() {
            let (group, others) = rest.split_at(numbers.below(24).clamp(1, rest.len()));
            rest = others;
            let (group, embedder) = (group.to_vec(), Arc::clone(&embedder));
            let request = texts(group.iter().map(|index| corpus[*index].clone()).collect());
            requests.push(tokio::spawn(async move { (group, embedder.embed(request).await.unwrap()) }));
        }
        for request in requests {
            let (group, rows) = request.await.unwrap();
            for (index, found) in group.into_iter().zip(rows) {
                let about = format!("grouping {grouping}");
                assert_same(&found.row, &expected[index], &corpus[index], &about);
            }
        }
    }
}

/// Workers of one endpoint may run with other thread counts during a rollout.
async fn threads_and_restarts_do_not_change_a_bit(model: &Path, precision: PrecisionSetting) {
    let corpus: Vec<String> = corpus().into_iter().step_by(4).collect();
    let expected = alone(&open(model, 2, precision), &corpus).await;
    for threads in [2, 1] {
        let found = alone(&open(model, threads, precision), &corpus).await;
        for ((found, expected), text) in found.iter().zip(&expected).zip(&corpus) {
            assert_same(found, expected, text, &format!("{threads} threads"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_grouping_gives_the_same_bits_in_fp32() {
    any_grouping_gives_the_same_bits(published_demo(), PrecisionSetting::Fp32).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_grouping_gives_the_same_bits_by_onnx_runtime() {
    any_grouping_gives_the_same_bits(published_demo_for_onnx(), PrecisionSetting::Fp32).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_grouping_gives_the_same_bits_in_int8() {
    any_grouping_gives_the_same_bits(published_demo(), PrecisionSetting::Int8).await;
}

#[tokio::test]
async fn threads_and_restarts_do_not_change_a_bit_in_fp32() {
    threads_and_restarts_do_not_change_a_bit(published_demo(), PrecisionSetting::Fp32).await;
}

#[tokio::test]
async fn threads_and_restarts_do_not_change_a_bit_by_onnx_runtime() {
    threads_and_restarts_do_not_change_a_bit(published_demo_for_onnx(), PrecisionSetting::Fp32).await;
}

#[tokio::test]
async fn threads_and_restarts_do_not_change_a_bit_in_int8() {
    threads_and_restarts_do_not_change_a_bit(published_demo(), PrecisionSetting::Int8).await;
}
