//! A text through the model. Each step is cut by columns or by rows into one part for each thread; the parts do not touch each
//! other's memory, and how many there are never changes a result.

mod head;
mod steps;

use std::ops::Range;

use crate::attention::Attention;
use crate::dense::{After, Dense};
use crate::isa::PANEL;
use crate::layout::{Layer, Linear, NormSections, Places};
use crate::model::{Input, Model};
use crate::rows::{share, take};
use crate::shape::{Block, Positions, Precision, Saturation, Sight};
use crate::team::Team;
use crate::workspace::Workspace;
use steps::{Embeddings, Normalised, Quantised, Table, Turned};

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
        self.rounds(texts, Reduction::Max, workspace, team)
    }

    /// The same, but with the sum over the tokens of what each logit above zero weighs, in place of the largest logit.
    pub fn sum_all(
        &self,
        texts: &[&[u32]],
        saturation: Saturation,
        workspace: &mut Workspace,
        team: &Team,
    ) -> Vec<Vec<(u32, f32)>> {
        self.rounds(texts, Reduction::Sum(saturation), workspace, team)
    }

    fn rounds(
        &self,
        texts: &[&[u32]],
        reduction: Reduction,
        workspace: &mut Workspace,
        team: &Team,
    ) -> Vec<Vec<(u32, f32)>> {
        let limit = self.shape().tokens();
        let mut found = Vec::with_capacity(texts.len());
        let mut round: Vec<&[u32]> = Vec::new();
        let mut tokens = 0;
        for text in texts.iter().map(|text| &text[..text.len().min(limit)]) {
            if tokens + text.len() > limit && !round.is_empty() {
                found.append(&mut self.round(&round, reduction, workspace, team));
                round.clear();
                tokens = 0;
            }
            round.push(text);
            tokens += text.len();
        }
        found.append(&mut self.round(&round, reduction, workspace, team));
        found
    }

    fn round(
        &self,
        texts: &[&[u32]],
        reduction: Reduction,
        workspace: &mut Workspace,
        team: &Team,
    ) -> Vec<Vec<(u32, f32)>> {
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
        // What the first half of the first layer reads is also what it adds to, wherever its norms are.
        let mut residual = Residual::States;
        for (layer, sight) in self.layout.layers.iter().zip(&self.shape().layers) {
            pass.attention(layer, *sight, residual);
            residual = match self.shape().block {
                Block::NormAfter => Residual::States,
                Block::NormBeforeGated => Residual::Sums,
            };
            pass.feed_forward(layer, residual);
        }
        pass.head(reduction);
        let mut found = vec![Vec::new(); texts.len()];
        for thread in &mut workspace.parts {
            for (all, part) in found.iter_mut().zip(&mut thread.found) {
                all.append(part);
            }
        }
        found
    }
}

/// What becomes of the logits of a text's tokens for a word.
#[derive(Clone, Copy)]
enum Reduction {
    Max,
    Sum(Saturation),
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
        let ids = texts.concat();
        let rows: Vec<usize> = match model.shape().positions {
            Positions::Table { padding, .. } => {
                let last = model.shape().tokens();
                texts.iter().flat_map(|text| rows_of_positions(text, padding, last)).collect()
            }
            Positions::Rotations { .. } => Vec::new(),
        };
        let table = match &model.layout.places {
            Places::Table(section) => Some(model.numbers(section)),
            Places::Frequencies { global, local } => {
                let longest = texts.iter().map(|text| text.len()).max().unwrap_or_default();
                for (turns, section) in self.space.turns.iter_mut().zip([global, local]) {
                    turns.prepare(model.numbers(section), longest);
                }
                None
            }
        };
        let words = model.numbers(&model.layout.words);
        let norm = model.norm(&model.layout.embedding_norm);
        let ranges = self.parts(self.tokens);
        let mut states = &mut self.space.states[..];
        let bytes = self.space.state_bytes.split(&ranges);
        let bytes = bytes.into_iter().map(|bytes| (model.precision() == Precision::Int8).then_some(bytes));
        let parts = ranges.into_iter().zip(bytes).map(|(tokens, bytes)| Embeddings {
            ids: &ids[tokens.clone()],
            last: model.shape().vocabulary - 1,
            words,
            places: table.map(|numbers| Table { rows: &rows[tokens.clone()], numbers }),
            norm,
            states: take(&mut states, tokens.len() * hidden),
            bytes,
            hidden,
        });
        self.team.each(parts.collect(), |part| model.isa.run(part));
    }

    fn attention(&mut self, layer: &Layer, sight: Sight, residual: Residual) {
        let (model, tokens) = (self.model, self.tokens);
        let sizes = model.sizes;
        let input =
            Input { bytes: &self.space.state_bytes, numbers: &self.space.states, width: sizes.hidden };
        let weights = model.weights(&layer.attention, input);
        let groups = self.parts(sizes.groups);
        let [global, local] = &self.space.turns;
        let turns = match (model.shape().positions, sight) {
            (Positions::Table { .. }, _) => None,
            (Positions::Rotations { .. }, Sight::Global) => Some(global),
            (Positions::Rotations { .. }, Sight::Local { .. }) => Some(local),
        };
        let mut to = &mut self.space.wide[..];
        let parts = groups.into_iter().zip(&mut self.space.parts).map(|(groups, thread)| Attention {
            tokens,
            texts: self.texts,
            weights,
            sizes,
            heads: model.shape().heads,
            scale: (model.shape().head() as f32).sqrt().recip(),
            sight,
            turns,
            to: take(&mut to, groups.len() * sizes.group * tokens),
            groups,
            scratch: &mut thread.attention,
        });
        self.team.each(parts.collect(), |part| model.isa.run(part));
        self.turn_wide(sizes.context());
        let sum = Sum::Residual { residual, width: sizes.context() };
        self.sums(&layer.attention_output, 0..sizes.hidden / PANEL, sum);
        self.norm(&layer.attention_norm, model.precision());
    }

    fn feed_forward(&mut self, layer: &Layer, residual: Residual) {
        let sizes = self.model.sizes;
        let run_panels = sizes.run / PANEL;
        let hidden_panels = sizes.hidden / PANEL;
        for run in 0..sizes.runs {
            self.widen(&layer.intermediate, run * run_panels..(run + 1) * run_panels);
            self.turn_wide(sizes.run);
            let width = sizes.run;
            let sum = if run == 0 { Sum::Residual { residual, width } } else { Sum::Accumulate { width } };
            self.sums(&layer.output, run * hidden_panels..(run + 1) * hidden_panels, sum);
        }
        self.norm(&layer.output_norm, self.model.precision());
    }

    /// One run of the feed-forward layer.
    fn widen(&mut self, linear: &Linear, panels: Range<usize>) {
        let (model, tokens) = (self.model, self.tokens);
        let (after, each) = match model.shape().block {
            Block::NormAfter => (After::Activation(model.shape().activation), 1),
            Block::NormBeforeGated => (After::Gated(model.shape().activation), 2),
        };
        let input =
            Input { bytes: &self.space.state_bytes, numbers: &self.space.states, width: model.sizes.hidden };
        let weights = model.weights(linear, input);
        let mut to = &mut self.space.wide[..];
        let parts = self.team.parts().min(panels.len());
        let parts = (0..parts).map(|index| {
            let panels = share(&panels, index, parts);
            let to = take(&mut to, panels.len() * tokens * PANEL);
            let panels = each * panels.start..each * panels.end;
            let columns = panels.start * PANEL;
            Dense { weights, tokens, panels, columns, after, to }
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
            Sum::Residual { residual: Residual::States, width } => {
                (wide(width), After::Residual { rows: &space.states, width: hidden })
            }
            Sum::Residual { residual: Residual::Sums, width } => (wide(width), After::Sum),
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
}

/// What a layer of the hidden size reads, and what becomes of it.
#[derive(Clone, Copy)]
enum Sum {
    /// Wide rows; added to what the layer goes on from.
    Residual { residual: Residual, width: usize },
    /// Wide rows; added to what an earlier run left.
    Accumulate { width: usize },
    /// The states.
    Transform,
}

/// What a half of a layer adds to.
#[derive(Clone, Copy)]
enum Residual {
    /// What it read.
    States,
    /// What was added up so far, of which it read the norm.
    Sums,
}

/// Each token's row in the table of positions; that of the padding token is the last.
fn rows_of_positions(text: &[u32], padding: Option<usize>, last: usize) -> impl Iterator<Item = usize> {
    let padding = padding.and_then(|padding| u32::try_from(padding).ok());
    let mut next = 0;
    text.iter().map(move |id| {
        if Some(*id) == padding {
            return last;
        }
        next += 1;
        next - 1
    })
}
