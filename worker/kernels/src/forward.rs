//! A text through the model. Each step is cut by columns or by rows into one part for each thread; the parts do not touch each
//! other's memory, and how many there are never changes a result.

use std::ops::Range;

use crate::attention::Attention;
use crate::dense::{After, Dense};
use crate::head::{Decoder, Margin, Screening, margin};
use crate::isa::{LANES, PANEL, Simd, Work};
use crate::layout::{Layer, Linear, NormSections};
use crate::math::{Norm, magnitude, normalise, quantise};
use crate::model::{Model, Weights};
use crate::rows::{ByteRowsMut, share, take};
use crate::team::Team;
use crate::workspace::{ThreadSpace, Workspace, row_of};

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
        workspace.resize(tokens, texts.len(), team.threads(), &self.sizes);
        let mut pass = Pass { model: self, team, tokens, texts: &ranges, space: workspace };
        pass.embeddings(texts);
        for layer in &self.layout.layers {
            pass.attention(layer);
            pass.feed_forward(layer);
        }
        pass.head();
        let mut found = vec![Vec::new(); texts.len()];
        for thread in &mut workspace.threads {
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
    /// One range of `count` things for each thread, without empty ones.
    fn parts(&self, count: usize) -> Vec<Range<usize>> {
        let parts = self.team.threads().min(count);
        (0..parts).map(|index| share(&(0..count), index, parts)).collect()
    }

    fn embeddings(&mut self, texts: &[&[u32]]) {
        let (model, hidden) = (self.model, self.model.sizes.hidden);
        let tokens: Vec<(u32, usize)> = texts.iter().flat_map(|text| text.iter().copied().zip(0..)).collect();
        let (words, positions) = (model.numbers(&model.layout.words), model.numbers(&model.layout.positions));
        let norm = model.norm(&model.layout.embedding_norm);
        let ranges = self.parts(self.tokens);
        let mut states = &mut self.space.states[..];
        let bytes = self.space.state_bytes.split(&ranges);
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
        let weights = model.weights(&layer.attention, sizes.hidden);
        let groups = self.parts(sizes.groups);
        let mut to = &mut self.space.wide[..];
        let parts = groups.into_iter().zip(&mut self.space.threads).map(|(groups, thread)| Attention {
            rows: self.space.state_bytes.view(),
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
        self.wide_bytes(sizes.context());
        let weights = model.weights(&layer.attention_output, sizes.context());
        self.to_sums(weights, 0..sizes.hidden / PANEL, Residual::Add);
        self.norm(&layer.attention_norm);
    }

    fn feed_forward(&mut self, layer: &Layer) {
        let (model, tokens) = (self.model, self.tokens);
        let sizes = model.sizes;
        let run_panels = sizes.run / PANEL;
        let widening = model.weights(&layer.intermediate, sizes.hidden);
        let narrowing = model.weights(&layer.output, sizes.run);
        let hidden_panels = sizes.hidden / PANEL;
        for run in 0..sizes.runs {
            let rows = self.space.state_bytes.view();
            let after = After::Activation(model.shape().activation);
            let mut to = &mut self.space.wide[..];
            let parts = self.team.threads().min(run_panels);
            let parts = (0..parts).map(|index| {
                let panels = share(&(run * run_panels..(run + 1) * run_panels), index, parts);
                let to = take(&mut to, panels.len() * tokens * PANEL);
                let columns = panels.start * PANEL;
                Dense { rows, tokens, weights: widening, panels, columns, after, to }
            });
            self.team.each(parts.collect(), |part| model.isa.run(part));
            self.wide_bytes(sizes.run);
            let residual = if run == 0 { Residual::Add } else { Residual::Accumulate };
            self.to_sums(narrowing, run * hidden_panels..(run + 1) * hidden_panels, residual);
        }
        self.norm(&layer.output_norm);
    }

    fn head(&mut self) {
        let model = self.model;
        let layout = &model.layout;
        self.transform(&layout.transform);
        self.norm(&layout.transform_norm);
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
        let parts = panels.into_iter().zip(&mut space.threads).map(|(panels, thread)| {
            let ThreadSpace { attention: _, pairs, rescored, found } = thread;
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

    fn transform(&mut self, linear: &Linear) {
        let model = self.model;
        let weights = model.weights(linear, model.sizes.hidden);
        let residual = Residual::Activation;
        self.to_sums(weights, 0..model.sizes.hidden / PANEL, residual);
    }

    /// A layer of the hidden size. Where `panels` are those of a later run, columns still count from zero.
    fn to_sums(&mut self, weights: Weights<'_>, panels: Range<usize>, residual: Residual) {
        let (model, tokens, hidden) = (self.model, self.tokens, self.model.sizes.hidden);
        let (rows, after) = match residual {
            Residual::Add => {
                (self.space.wide_bytes.view(), After::Residual { rows: &self.space.states, width: hidden })
            }
            Residual::Accumulate => (self.space.wide_bytes.view(), After::Accumulate),
            Residual::Activation => {
                (self.space.state_bytes.view(), After::Activation(model.shape().activation))
            }
        };
        let mut to = &mut self.space.sums[..];
        let parts = self.team.threads().min(panels.len());
        let parts = (0..parts).map(|index| {
            let own = share(&(0..panels.len()), index, parts);
            Dense {
                rows,
                tokens,
                weights,
                columns: own.start * PANEL,
                panels: panels.start + own.start..panels.start + own.end,
                after,
                to: take(&mut to, own.len() * tokens * PANEL),
            }
        });
        self.team.each(parts.collect(), |part| model.isa.run(part));
    }

    /// Rows of `wide` as bytes.
    fn wide_bytes(&mut self, width: usize) {
        let (model, tokens) = (self.model, self.tokens);
        self.space.wide_bytes.resize(tokens, width);
        let ranges = self.parts(tokens);
        let bytes = self.space.wide_bytes.split(&ranges);
        let panels = &self.space.wide[..tokens * width];
        let parts = ranges.into_iter().zip(bytes).map(|(rows, bytes)| Bytes { panels, tokens, rows, bytes });
        self.team.each(parts.collect(), |part| model.isa.run(part));
    }

    /// Normalises `sums` into states and their bytes.
    fn norm(&mut self, sections: &NormSections) {
        let (model, tokens, hidden) = (self.model, self.tokens, self.model.sizes.hidden);
        let norm = model.norm(sections);
        let ranges = self.parts(tokens);
        let bytes = self.space.state_bytes.split(&ranges);
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

#[derive(Clone, Copy)]
enum Residual {
    Add,
    Accumulate,
    Activation,
}

/// Words and positions, normalised.
struct Embeddings<'a> {
    /// Ids and positions.
    tokens: &'a [(u32, usize)],
    last: usize,
    words: &'a [f32],
    positions: &'a [f32],
    norm: Norm<'a>,
    states: &'a mut [f32],
    bytes: ByteRowsMut<'a>,
    hidden: usize,
}

impl Work for Embeddings<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(mut self, simd: S) {
        let hidden = self.hidden;
        let mut sum = vec![0.0; hidden];
        let rows = self.tokens.iter().zip(self.states.chunks_exact_mut(hidden)).enumerate();
        for (row, (&(id, position), state)) in rows {
            let id = usize::try_from(id).map_or(self.last, |id| id.min(self.last));
            let word = self.words[id * hidden..][..hidden].as_chunks::<LANES>().0;
            let position = self.positions[position * hidden..][..hidden].as_chunks::<LANES>().0;
            for (sum, (word, position)) in sum.as_chunks_mut().0.iter_mut().zip(word.iter().zip(position)) {
                simd.store(simd.add(simd.load(word), simd.load(position)), sum);
            }
            let top = normalise(simd, self.norm, sum.as_chunks().0.iter(), state);
            let scaled = quantise(simd, top, state.as_chunks().0.iter(), self.bytes.row(row));
            self.bytes.set(row, scaled);
        }
    }
}

struct Normalised<'a> {
    panels: &'a [f32],
    tokens: usize,
    norm: Norm<'a>,
    rows: Range<usize>,
    states: &'a mut [f32],
    bytes: ByteRowsMut<'a>,
    hidden: usize,
}

impl Work for Normalised<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(mut self, simd: S) {
        let states = self.states.chunks_exact_mut(self.hidden);
        for (index, (row, state)) in self.rows.zip(states).enumerate() {
            let top = normalise(simd, self.norm, row_of(self.panels, self.tokens, row), state);
            let scaled = quantise(simd, top, state.as_chunks().0.iter(), self.bytes.row(index));
            self.bytes.set(index, scaled);
        }
    }
}

struct Bytes<'a> {
    panels: &'a [f32],
    tokens: usize,
    rows: Range<usize>,
    bytes: ByteRowsMut<'a>,
}

impl Work for Bytes<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(mut self, simd: S) {
        for (index, row) in self.rows.enumerate() {
            let top = magnitude(simd, row_of(self.panels, self.tokens, row));
            let scaled = quantise(simd, top, row_of(self.panels, self.tokens, row), self.bytes.row(index));
            self.bytes.set(index, scaled);
        }
    }
}

struct Margins<'a> {
    states: &'a [f32],
    rows: crate::rows::ByteRowsView<'a>,
    hidden: usize,
    loss: f32,
    to: &'a mut [Margin],
}

impl Work for Margins<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) {
        let states = self.states.chunks_exact(self.hidden);
        for (((state, bytes), scale), to) in
            states.zip(self.rows.bytes.chunks_exact(self.hidden)).zip(self.rows.scales).zip(self.to)
        {
            *to = margin(simd, state, bytes, *scale, self.loss);
        }
    }
}
