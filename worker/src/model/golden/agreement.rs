//! How near two vectors of one text are. PURE.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::model::manifest::Golden;
use crate::pooling::SparseRow;

/// For fp32 against fp32. The order of additions is all that differs, which is worth a millionth of the largest intermediate
/// value; a wrong graph differs in the first digit.
const ABSOLUTE: f32 = 5e-4;
const RELATIVE: f32 = 5e-4;
/// Terms whose keeping is counted.
const TOP: usize = 100;

/// The weight that differs most, by the tolerance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    pub token: u32,
    pub expected: f32,
    pub found: f32,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, expected, found } = self;
        write!(formatter, "token {token} weighs {found}, but should weigh {expected}")
    }
}

/// None for vectors that agree.
pub fn difference(expected: &SparseRow, found: &SparseRow) -> Option<Difference> {
    let pairs = paired(expected, found).into_iter().map(|(token, (expected, found))| {
        let allowed = ABSOLUTE + RELATIVE * expected.abs().max(found.abs());
        ((expected - found).abs() / allowed, Difference { token, expected, found })
    });
    let worst =
        pairs.max_by(|(left, one), (right, other)| left.total_cmp(right).then(other.token.cmp(&one.token)));
    worst.filter(|(excess, _)| *excess > 1.0).map(|(_, difference)| difference)
}

/// How near int8 comes to fp32, over texts whose fp32 vector has weights. None where there is none.
pub fn agreement(expected: &[SparseRow], found: &[SparseRow]) -> Option<Golden> {
    let pairs: Vec<(&SparseRow, &SparseRow)> =
        expected.iter().zip(found).filter(|(expected, _)| !expected.entries().is_empty()).collect();
    let cosines: Vec<f64> = pairs.iter().map(|(expected, found)| cosine(expected, found)).collect();
    let (mut kept, mut of) = (0, 0);
    for (expected, found) in &pairs {
        let top = |row: &SparseRow| -> HashSet<u32> {
            row.entries().iter().take(TOP).map(|(token, _)| *token).collect()
        };
        let expected = top(expected);
        kept += expected.intersection(&top(found)).count();
        of += expected.len();
    }
    let worst_cosine = cosines.iter().copied().min_by(f64::total_cmp)?;
    Some(Golden {
        mean_cosine: cosines.iter().sum::<f64>() / cosines.len() as f64,
        worst_cosine,
        top100_kept: kept as f64 / of as f64,
    })
}

fn cosine(left: &SparseRow, right: &SparseRow) -> f64 {
    let pairs = paired(left, right);
    let product: f64 = pairs.values().map(|(left, right)| f64::from(*left) * f64::from(*right)).sum();
    let length = |row: &SparseRow| -> f64 {
        row.entries().iter().map(|(_, weight)| f64::from(*weight).powi(2)).sum::<f64>().sqrt()
    };
    let lengths = length(left) * length(right);
    if lengths > 0.0 { product / lengths } else { 0.0 }
}

fn paired(left: &SparseRow, right: &SparseRow) -> HashMap<u32, (f32, f32)> {
    let mut pairs: HashMap<u32, (f32, f32)> =
        left.entries().iter().map(|(token, weight)| (*token, (*weight, 0.0))).collect();
    for (token, weight) in right.entries() {
        pairs.entry(*token).or_default().1 = *weight;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(weights: &[f32]) -> SparseRow {
        SparseRow::from_dense(weights)
    }

    #[test]
    fn noise_agrees_and_a_wrong_or_missing_weight_does_not() {
        let expected = row(&[1.0, 0.0, 2.0]);
        assert_eq!(difference(&expected, &row(&[1.000_1, 0.000_2, 2.000_5])), None);
        for (found, token) in [([1.01, 0.0, 2.0], 0), ([1.0, 0.01, 2.0], 1), ([1.0, 0.0, 0.0], 2)] {
            assert_eq!(difference(&expected, &row(&found)).unwrap().token, token);
        }
    }

    #[test]
    fn the_same_vectors_agree_wholly_and_disjoint_ones_not_at_all() {
        let rows = [row(&[1.0, 2.0]), row(&[]), row(&[0.0, 3.0])];
        let same = agreement(&rows, &rows).unwrap();
        assert!((same.mean_cosine - 1.0).abs() < 1e-12 && (same.top100_kept - 1.0).abs() < 1e-12);
        let other = [row(&[1.0, 2.0]), row(&[]), row(&[3.0])];
        let half = agreement(&rows, &other).unwrap();
        assert!(half.worst_cosine.abs() < 1e-12 && (half.mean_cosine - 0.5).abs() < 1e-12, "{half:?}");
        assert!((half.top100_kept - 2.0 / 3.0).abs() < 1e-12, "{half:?}");
        assert_eq!(agreement(&rows[1..2], &rows[1..2]), None);
    }
}
