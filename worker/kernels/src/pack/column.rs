//! Weights as bytes or as they are, panel by panel. PURE.

use std::ops::Range;

use crate::isa::{PANEL, QUAD};

/// One output as bytes.
pub(super) struct Column {
    pub(super) bytes: Vec<u8>,
    pub(super) scale: f32,
    /// How long the difference to the bytes is, and the column itself.
    pub(super) lost: f64,
    pub(super) length: f64,
}

impl Column {
    /// An output that is padding, or has only zeros.
    pub(super) fn zero(inputs: usize) -> Self {
        Self { bytes: vec![128; inputs], scale: 1.0, lost: 0.0, length: 0.0 }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 1..=255")]
    pub(super) fn new(weights: &[f32], inputs: &[Option<usize>]) -> Self {
        let top = weights.iter().fold(0.0_f32, |top, weight| top.max(weight.abs()));
        let mut column = Self::zero(inputs.len());
        if top < 1e-30 {
            return column;
        }
        column.scale = top / 127.0;
        for (byte, input) in column.bytes.iter_mut().zip(inputs) {
            let Some(input) = *input else { continue };
            let whole = (weights[input] / column.scale).round_ties_even().clamp(-127.0, 127.0);
            *byte = (whole + 128.0) as u8;
            let (weight, stands) = (f64::from(weights[input]), f64::from(whole) * f64::from(column.scale));
            column.lost += (weight - stands).powi(2);
            column.length += weight.powi(2);
        }
        (column.lost, column.length) = (column.lost.sqrt(), column.length.sqrt());
        column
    }
}

/// `[inputs / 4][64][4]` of 64 columns.
pub(super) fn interleave(columns: &[Column], inputs: Range<usize>, panel: &mut Vec<u8>) {
    for quad in inputs.step_by(QUAD) {
        for column in columns {
            panel.extend_from_slice(&column.bytes[quad..quad + QUAD]);
        }
    }
}

/// A column of the checkpoint with its padding.
pub(super) fn spread(weights: &[f32], inputs: &[Option<usize>]) -> Vec<f32> {
    inputs.iter().map(|input| input.map_or(0.0, |input| weights[input])).collect()
}

/// A linear layer's outputs.
pub(super) enum Columns {
    Bytes(Vec<Column>),
    Numbers(Vec<Vec<f32>>),
}

impl Columns {
    /// 64 of them from `first` on, as the kernels read these inputs: bytes by fours, numbers one by one.
    pub(super) fn panel(&self, first: usize, inputs: Range<usize>) -> Vec<u8> {
        let mut panel = Vec::new();
        match self {
            Self::Bytes(columns) => interleave(&columns[first..first + PANEL], inputs, &mut panel),
            Self::Numbers(columns) => {
                let columns = &columns[first..first + PANEL];
                for input in inputs {
                    panel.extend(columns.iter().flat_map(|column| column[input].to_le_bytes()));
                }
            }
        }
        panel
    }

    /// What an output's sums are multiplied with.
    pub(super) fn scale(&self, column: usize) -> f32 {
        match self {
            Self::Bytes(columns) => columns[column].scale,
            Self::Numbers(_) => 1.0,
        }
    }
}
