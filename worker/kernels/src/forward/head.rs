//! From the last states to words: the masked-language head and what becomes of its logits.

use std::ops::Range;

use crate::head::sums::Summing;
use crate::head::{Decoder, Screening};
use crate::isa::PANEL;
use crate::shape::{Precision, Saturation};
use crate::workspace::PartSpace;

use super::steps::Margins;
use super::{Pass, Reduction, Sum};

impl Pass<'_> {
    pub(super) fn head(&mut self, reduction: Reduction) {
        let layout = &self.model.layout;
        self.sums(&layout.transform, 0..self.model.sizes.hidden / PANEL, Sum::Transform);
        match reduction {
            Reduction::Max => {
                // The vocabulary is screened in bytes, whatever the layers compute in.
                self.norm(&layout.transform_norm, Precision::Int8);
                self.strongest();
            }
            Reduction::Sum(saturation) => {
                self.norm(&layout.transform_norm, Precision::Fp32);
                for (index, text) in self.texts.iter().enumerate() {
                    self.added_up(index, text, saturation);
                }
            }
        }
    }

    fn strongest(&mut self) {
        let model = self.model;
        let layout = &model.layout;
        self.margins();
        let screen = &layout.screen;
        let decoder = Decoder {
            panels: model.bytes(&screen.panels),
            scales: model.numbers(&screen.scales),
            biases: model.numbers(&screen.biases),
            scaled_biases: model.numbers(&screen.scaled_biases),
            scaled_norms: model.numbers(&screen.scaled_norms),
            numbers: model.numbers(&layout.decoder),
            vocabulary: model.shape().vocabulary,
        };
        let panels = self.parts(model.sizes.vocabulary / PANEL);
        let space = &mut *self.space;
        let parts = panels.into_iter().zip(&mut space.parts).map(|(panels, thread)| {
            let PartSpace { attention: _, pairs, rescored, found } = thread;
            Screening {
                rows: space.state_bytes.view(),
                states: &space.states,
                margins: &space.margins,
                texts: self.texts,
                decoder,
                panels,
                pairs,
                rescored,
                to: found,
            }
        });
        self.team.each(parts.collect(), |part| model.isa.run(part));
    }

    /// One text: what its neighbours' tokens weigh must not come between its own.
    fn added_up(&mut self, index: usize, text: &Range<usize>, saturation: Saturation) {
        let (model, hidden) = (self.model, self.model.sizes.hidden);
        let numbers = model.numbers(&model.layout.decoder);
        let biases = model.numbers(&model.layout.screen.biases);
        let words = self.parts(model.shape().vocabulary);
        let space = &mut *self.space;
        let states = &space.states[text.start * hidden..text.end * hidden];
        turn(states, hidden, &mut space.columns);
        let columns = &space.columns[..];
        let parts = words.into_iter().zip(&mut space.parts).map(|(words, thread)| Summing {
            columns,
            tokens: text.len(),
            numbers,
            width: hidden,
            biases,
            words,
            saturation,
            to: &mut thread.found[index],
        });
        self.team.each(parts.collect(), |part| model.isa.run(part));
    }

    fn margins(&mut self) {
        let (model, hidden) = (self.model, self.model.sizes.hidden);
        let loss = model.numbers(&model.layout.screen.loss)[0];
        let rows = self.space.state_bytes.view();
        let part = Margins { states: &self.space.states, rows, hidden, loss, to: &mut self.space.margins };
        model.isa.run(part);
    }
}

/// From rows to `[rows / 64][width][64]`, filled up with zeros.
fn turn(rows: &[f32], width: usize, to: &mut Vec<f32>) {
    to.clear();
    to.resize((rows.len() / width).next_multiple_of(PANEL) * width, 0.0);
    for (index, row) in rows.chunks_exact(width).enumerate() {
        let panel = &mut to[index / PANEL * PANEL * width..][..PANEL * width];
        for (number, to) in row.iter().zip(panel.chunks_exact_mut(PANEL)) {
            to[index % PANEL] = *number;
        }
    }
}
