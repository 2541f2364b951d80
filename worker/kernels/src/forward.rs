//! A text through the model. Each step is cut by columns or by rows into one part for each thread; the parts do not touch each
//! other's memory, and how many there are never changes a result.

mod steps;

use std::ops::Range;

use crate::attention::Attention;
use crate::dense::{After, Dense};
use crate::head::{Decoder, Screening};
use crate::isa::PANEL;
use crate::layout::{Layer, Linear, NormSections};
use crate::model::{Input, Model};
use crate::rows::{share, take};
use crate::shape::{Precision, Shape};
use crate::team::Team;
use crate::workspace::{PartSpace, Workspace};
use steps::{Embeddings, Margins, Normalised, Quantised, Turned};

impl Model {
    /// The vocabulary ids whose largest logit over the tokens, bias included, is above zero, with that logit, by
    /// ascending id. Tokens beyond the last position do not count; an id beyond the vocabulary counts as its last.
    pub fn embed(&self, ids: &[u32], workspace: &mut Workspace, team: &Team) -> Vec<(u32, f32)> {
        self.embed_all(&[ids], workspace, team).swap_remove(0)
    }

    /// Several texts at once: the weights are read once for all of them, which pays for short ones. Each result is the
    /// same as alone. Texts together are no longer than the longest one that the model takes; others follow in the next round.
    pub fn embed_all(
        &self,
        texts: &[&[u32]],
        workspace: &mut Workspace,
        team: &Team,
    ) -> Vec<Vec<(u32, f32)>> {
        let limit = self.shape().tokens();
        let mut found = Vec::with_capacity(texts.len());
        let mut round: Vec<&[u32]> = Vec::new();
        let mut tokens = 0;
        for text in texts.iter().map(|text| &text[..text.len().min(limit)]) {
            if tokens + text.len() > limit && !round.is_empty() {
                found.append(&mut self.round(&round, workspace, team));
                round.clear();
                tokens = 0;
            }
            round.push(text);
            tokens += text.len();
        }
        found.append(&mut self.round(&round, workspace, team));
        found
    }

    fn round(&self, texts: &[&[u32]], workspace: &mut Workspace, team: &Team) -> Vec<Vec<(u32, f32)>> {
        let mut ranges: Vec<Range<usize>> = Vec::with_capacity(texts.len());
        for text in texts {
            let start = ranges.last().map_or(0, |range| range.end);
            ranges.push(start..start + text.len());
        }
        let tokens = ranges.last().map_or(0, |range| range.end);
        if tokens == 0 {
            return vec![Vec::new(); texts.len()];
        }
        workspace.resize(tokens, texts.len(), team.parts(), self);
        let mut pass = Pass { model: self, team, tokens, texts: &ranges, space: workspace };
        pass.embeddings(texts);
        for layer in &self.layout.layers {
            pass.attention(layer);
            pass.feed_forward(layer);
        }
        pass.head();
        let mut found = vec![Vec::new(); texts.len()];
        for thread in &mut workspace.parts {
            for (all, part) in found.iter_mut().zip(&mut thread.found) {
                all.append(part);
            }
        }
        found
    }
}

struct Pass<'a> {
    model: &'a Model,
    team: &'a Team,
    tokens: usize,
    texts: &'a [Range<usize>],
    space: &'a mut Workspace,
}

impl Pass<'_> {
    /// Ranges of `count` things for the team, without empty ones.
    fn parts(&self, count: usize) -> Vec<Range<usize>> {
        let parts = self.team.parts().min(count);
        (0..parts).map(|index| share(&(0..count), index, parts)).collect()
    }

    fn embeddings(&mut self, texts: &[&[u32]]) {
        let (model, hidden) = (self.model, self.model.sizes.hidden);
        let tokens: Vec<(u32, usize)> =
            texts.iter().flat_map(|text| positions(model.shape(), text)).collect();
        let (words, positions) = (model.numbers(&model.layout.words), model.numbers(&model.layout.positions));
        let norm = model.norm(&model.layout.embedding_norm);
        let ranges = self.parts(self.tokens);
        let mut states = &mut self.space.states[..];
        let bytes = self.space.state_bytes.split(&ranges);
        let bytes = bytes.into_iter().map(|bytes| (model.precision() == Precision::Int8).then_some(bytes));
        let parts = ranges.into_iter().zip(bytes).map(|(rows, bytes)| Embeddings {
            tokens: &tokens[rows.clone()],
            last: model.shape().vocabulary - 1,
            words,
            positions,
            norm,
            states: take(&mut states, rows.len() * hidden),
            bytes,
            hidden,
        });
        self.team.each(parts.collect(), |part| model.isa.run(part));
    }

    fn attention(&mut self, layer: &Layer) {
        let (model, tokens) = (self.model, self.tokens);
        let sizes = model.sizes;
        let input =
            Input { bytes: &self.space.state_bytes, numbers: &self.space.states, width: sizes.hidden };
        let weights = model.weights(&layer.attention, input);
        let groups = self.parts(sizes.groups);
        let mut to = &mut self.space.wide[..];
        let parts = groups.into_iter().zip(&mut self.space.parts).map(|(groups, thread)| Attention {
            tokens,
            texts: self.texts,
            weights,
            sizes,
            heads: model.shape().heads,
            scale: (model.shape().head() as f32).sqrt().recip(),
            to: take(&mut to, groups.len() * sizes.group * tokens),
            groups,
            scratch: &mut thread.attention,
        });
        self.team.each(parts.collect(), |part| model.isa.run(part));
        self.turn_wide(sizes.context());
        self.sums(&layer.attention_output, 0..sizes.hidden / PANEL, Sum::Residual { width: sizes.context() });
        self.norm(&layer.attention_norm, model.precision());
    }

    fn feed_forward(&mut self, layer: &Layer) {
        let (model, tokens) = (self.model, self.tokens);
        let sizes = model.sizes;
        let run_panels = sizes.run / PANEL;
        let hidden_panels = sizes.hidden / PANEL;
        for run in 0..sizes.runs {
            let input =
                Input { bytes: &self.space.state_bytes, numbers: &self.space.states, width: sizes.hidden };
            let weights = model.weights(&layer.intermediate, input);
            let after = After::Activation(model.shape().activation);
            let mut to = &mut self.space.wide[..];
            let parts = self.team.parts().min(run_panels);
            let parts = (0..parts).map(|index| {
                let panels = share(&(run * run_panels..(run + 1) * run_panels), index, parts);
                let to = take(&mut to, panels.len() * tokens * PANEL);
                let columns = panels.start * PANEL;
                Dense { weights, tokens, panels, columns, after, to }
            });
            self.team.each(parts.collect(), |part| model.isa.run(part));
            self.turn_wide(sizes.run);
            let width = sizes.run;
            let sum = if run == 0 { Sum::Residual { width } } else { Sum::Accumulate { width } };
            self.sums(&layer.output, run * hidden_panels..(run + 1) * hidden_panels, sum);
        }
        self.norm(&layer.output_norm, model.precision());
    }

    fn head(&mut self) {
        let model = self.model;
        let layout = &model.layout;
        self.sums(&layout.transform, 0..model.sizes.hidden / PANEL, Sum::Transform);
        // The vocabulary is screened in bytes, whatever the layers compute in.
        self.norm(&layout.transform_norm, Precision::Int8);
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

    /// A layer of the hidden size. Where `panels` are those of a later run, columns still count from zero.
    fn sums(&mut self, linear: &Linear, panels: Range<usize>, sum: Sum) {
        let (model, tokens, hidden) = (self.model, self.tokens, self.model.sizes.hidden);
        let space = &mut *self.space;
        let wide = |width| Input { bytes: &space.wide_bytes, numbers: &space.wide_rows, width };
        let states = Input { bytes: &space.state_bytes, numbers: &space.states, width: hidden };
        let (input, after) = match sum {
            Sum::Residual { width } => (wide(width), After::Residual { rows: &space.states, width: hidden }),
            Sum::Accumulate { width } => (wide(width), After::Accumulate),
            Sum::Transform => (states, After::Activation(model.shape().head_activation)),
        };
        let weights = model.weights(linear, input);
        let mut to = &mut space.sums[..];
        let parts = self.team.parts().min(panels.len());
        let parts = (0..parts).map(|index| {
            let own = share(&(0..panels.len()), index, parts);
            Dense {
                weights,
                tokens,
                columns: own.start * PANEL,
                panels: panels.start + own.start..panels.start + own.end,
                after,
                to: take(&mut to, own.len() * tokens * PANEL),
            }
        });
        self.team.each(parts.collect(), |part| model.isa.run(part));
    }

    /// `wide` row by row, as the next product reads it.
    fn turn_wide(&mut self, width: usize) {
        let (model, tokens) = (self.model, self.tokens);
        let ranges = self.parts(tokens);
        let panels = &self.space.wide[..tokens * width];
        match model.precision() {
            Precision::Int8 => {
                self.space.wide_bytes.resize(tokens, width);
                let bytes = self.space.wide_bytes.split(&ranges);
                let parts = ranges.into_iter().zip(bytes);
                let parts = parts.map(|(rows, bytes)| Quantised { panels, tokens, rows, bytes });
                self.team.each(parts.collect(), |part| model.isa.run(part));
            }
            Precision::Fp32 => {
                let mut rest = &mut self.space.wide_rows[..tokens * width];
                let parts = ranges.into_iter().map(|rows| {
                    let to = take(&mut rest, rows.len() * width);
                    Turned { panels, tokens, rows, width, to }
                });
                self.team.each(parts.collect(), |part| model.isa.run(part));
            }
        }
    }

    /// Normalises `sums` into states, and into their bytes where those are read next.
    fn norm(&mut self, sections: &NormSections, next: Precision) {
        let (model, tokens, hidden) = (self.model, self.tokens, self.model.sizes.hidden);
        let norm = model.norm(sections);
        let ranges = self.parts(tokens);
        let bytes = self.space.state_bytes.split(&ranges);
        let bytes = bytes.into_iter().map(|bytes| (next == Precision::Int8).then_some(bytes));
        let (panels, mut states) = (&self.space.sums[..], &mut self.space.states[..]);
        let parts = ranges.into_iter().zip(bytes).map(|(rows, bytes)| Normalised {
            panels,
            tokens,
            norm,
            states: take(&mut states, rows.len() * hidden),
            rows,
            bytes,
            hidden,
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

/// What a layer of the hidden size reads, and what becomes of it.
#[derive(Clone, Copy)]
enum Sum {
    /// Wide rows; the states are added.
    Residual { width: usize },
    /// Wide rows; added to what an earlier run left.
    Accumulate { width: usize },
    /// The states.
    Transform,
}

/// Each token with its row in the table of positions.
fn positions(shape: &Shape, text: &[u32]) -> impl Iterator<Item = (u32, usize)> {
    let padding = shape.padding.and_then(|padding| u32::try_from(padding).ok());
    let last = shape.tokens();
    let mut next = 0;
    text.iter().map(move |id| {
        if Some(*id) == padding {
            return (*id, last);
        }
        next += 1;
        (*id, next - 1)
    })
}
