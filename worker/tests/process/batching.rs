//! The same text, the same vector, whoever runs beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lexiscale_worker::embedder::Embedder;
use lexiscale_worker::pooling::SparseRow;
use lexiscale_worker::queue::Limits;

use crate::support::models::{LIMITS, open, published_demo};
use crate::support::reference::Reference;
use crate::vectors::texts;

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

/// The reference's texts and variants of them, so that some lengths occur often.
fn corpus() -> Vec<String> {
    let texts = Reference::demo().texts;
    let variants = texts.iter().flat_map(|text| {
        let words: Vec<&str> = text.text.split_whitespace().take(40).collect();
        [text.text.clone(), words.iter().rev().copied().collect::<Vec<_>>().join(" "), words.join("  and ")]
    });
    variants.collect()
}

async fn alone(embedder: &Embedder, corpus: &[String]) -> Vec<SparseRow> {
    let mut rows = Vec::new();
    for text in corpus {
        rows.push(embedder.embed(texts(vec![text.clone()])).await.unwrap().remove(0).row);
    }
    rows
}

/// A few units in the last place. Nearly every run gives the same bits; once, with other builds on both cores, a weight was
/// 0.3177363 in place of 0.31773633, and why is not known. A hundredth of what the reference is held to.
const LAST_DIGITS: f32 = 1e-6;

fn assert_same(found: &SparseRow, expected: &SparseRow, about: &str) {
    let mut differences: BTreeMap<u32, f32> = found.entries().iter().copied().collect();
    for (id, weight) in expected.entries() {
        *differences.entry(*id).or_default() -= weight;
    }
    for (id, difference) in differences {
        assert!(difference.abs() <= LAST_DIGITS, "{about:?}: token {id} differs by {difference}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_grouping_gives_the_same_vector() {
    let embedder = Arc::new(open(published_demo(), 2, LIMITS));
    let corpus = corpus();
    let expected = alone(&embedder, &corpus).await;
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for _ in 0..5 {
        let order = numbers.shuffled(corpus.len());
        let mut rest = order.as_slice();
        let mut requests = Vec::new();
        while !rest.is_empty() {
            let (group, others) = rest.split_at(numbers.below(12).clamp(1, rest.len()));
            rest = others;
            let (group, embedder) = (group.to_vec(), Arc::clone(&embedder));
            let request = texts(group.iter().map(|index| corpus[*index].clone()).collect());
            requests.push(tokio::spawn(async move { (group, embedder.embed(request).await.unwrap()) }));
        }
        for request in requests {
            let (group, rows) = request.await.unwrap();
            for (index, found) in group.into_iter().zip(rows) {
                assert_same(&found.row, &expected[index], &corpus[index]);
            }
        }
    }
}

/// Workers of one endpoint may run with other thread counts during a rollout.
#[tokio::test]
async fn threads_and_batch_limits_do_not_change_the_vector() {
    let corpus = corpus();
    let expected = alone(&open(published_demo(), 1, LIMITS), &corpus).await;
    let narrow = Limits { batch_texts: 1, ..LIMITS };
    let found = alone(&open(published_demo(), 2, narrow), &corpus).await;
    for ((found, expected), text) in found.iter().zip(&expected).zip(&corpus) {
        assert_same(found, expected, text);
    }
}
