//! From a checkpoint's numbers to a packed file: weights in the order in which the kernels read them, as numbers or as bytes with
//! one scale for each output.

mod column;

use std::borrow::Cow;
use std::io::{self, Write};

use crate::isa::PANEL;
use crate::layout::{Header, Layout, Linear, NormSections, Places, Screen, Section};
use crate::rotation::frequencies;
use crate::shape::{Block, Positions, Precision, Shape, ShapeError, Sizes};
use crate::tensors::{LayerPart, Part, Tensors};
use column::{Column, Columns, interleave, spread};

#[derive(Debug, thiserror::Error)]
pub enum PackError<E> {
    #[error("the shape is not valid")]
    Shape(#[source] ShapeError),
    #[error("failed to read {part:?}")]
    Read {
        part: Part,
        #[source]
        source: E,
    },
    #[error("{part:?} has {found} numbers, but the shape asks for {expected}")]
    Length { part: Part, found: usize, expected: usize },
    #[error("{part:?} has a number that is not finite at index {index}: the checkpoint is damaged")]
    NotFinite { part: Part, index: usize },
    #[error("failed to write the packed model")]
    Write(#[source] io::Error),
}

/// Writes the packed model and returns its size in bytes. At no time more than one part of the model is in memory twice.
pub fn pack<T: Tensors>(
    shape: &Shape,
    precision: Precision,
    tensors: &T,
    output: &mut impl Write,
) -> Result<u64, PackError<T::Error>> {
    shape.check().map_err(PackError::Shape)?;
    let is_tied = tensors.is_tied();
    let layout = Layout::new(shape, precision, is_tied);
    let mut packer = Packer { shape, precision, sizes: shape.sizes(), tensors, output, written: 0 };
    packer.write(&Header { shape: shape.clone(), precision, is_tied }.to_bytes())?;
    packer.table(Part::WordEmbeddings, &layout.words)?;
    packer.places(&layout.places)?;
    packer.norm([Part::EmbeddingNormWeight, Part::EmbeddingNormBias], &layout.embedding_norm)?;
    for (index, layer) in layout.layers.iter().enumerate() {
        let part = |part| Part::Layer(index, part);
        packer.attention(index, &layer.attention)?;
        let order = packer.context_order();
        let (weight, bias) = (part(LayerPart::AttentionOutputWeight), part(LayerPart::AttentionOutputBias));
        packer.linear(weight, bias, &order, &layer.attention_output)?;
        let norm = [part(LayerPart::AttentionNormWeight), part(LayerPart::AttentionNormBias)];
        packer.norm(norm, &layer.attention_norm)?;
        let order = packer.widening_order();
        let (weight, bias) = (part(LayerPart::IntermediateWeight), part(LayerPart::IntermediateBias));
        packer.linear(weight, bias, &order, &layer.intermediate)?;
        packer.output(index, &layer.output)?;
        let norm = [part(LayerPart::OutputNormWeight), part(LayerPart::OutputNormBias)];
        packer.norm(norm, &layer.output_norm)?;
    }
    let order = Order::plain(shape.hidden, packer.sizes.hidden, shape.hidden, packer.sizes.hidden);
    packer.linear(Part::TransformWeight, Part::TransformBias, &order, &layout.transform)?;
    packer.norm([Part::TransformNormWeight, Part::TransformNormBias], &layout.transform_norm)?;
    packer.screen(is_tied, &layout.screen)?;
    if !is_tied {
        packer.table(Part::Decoder, &layout.decoder)?;
    }
    packer.pad(layout.bytes)?;
    packer.output.flush().map_err(PackError::Write)?;
    Ok(packer.written as u64)
}

/// Which column of the checkpoint stands where after packing; `None` is padding.
struct Order {
    inputs: Vec<Option<usize>>,
    outputs: Vec<Option<usize>>,
}

impl Order {
    fn plain(inputs: usize, padded_inputs: usize, outputs: usize, padded_outputs: usize) -> Self {
        Self { inputs: padded(inputs, padded_inputs), outputs: padded(outputs, padded_outputs) }
    }
}

fn padded(columns: usize, with_padding: usize) -> Vec<Option<usize>> {
    (0..with_padding).map(|index| (index < columns).then_some(index)).collect()
}

struct Packer<'a, T, W> {
    shape: &'a Shape,
    precision: Precision,
    sizes: Sizes,
    tensors: &'a T,
    output: &'a mut W,
    written: usize,
}

impl<'a, T: Tensors, W: Write> Packer<'a, T, W> {
    fn read(&self, part: Part) -> Result<Cow<'a, [f32]>, PackError<T::Error>> {
        let numbers = self.tensors.read(part).map_err(|source| PackError::Read { part, source })?;
        let (found, expected) = (numbers.len(), part.length(self.shape));
        if found != expected {
            return Err(PackError::Length { part, found, expected });
        }
        match numbers.iter().position(|number| !number.is_finite()) {
            Some(index) => Err(PackError::NotFinite { part, index }),
            None => Ok(numbers),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PackError<T::Error>> {
        self.output.write_all(bytes).map_err(PackError::Write)?;
        self.written += bytes.len();
        Ok(())
    }

    fn pad(&mut self, until: usize) -> Result<(), PackError<T::Error>> {
        self.write(&vec![0; until - self.written])
    }

    fn numbers(
        &mut self,
        section: &Section,
        numbers: impl IntoIterator<Item = f32>,
    ) -> Result<(), PackError<T::Error>> {
        self.pad(section.start)?;
        let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        self.write(&bytes)?;
        self.pad(section.end)
    }

    fn norm(&mut self, parts: [Part; 2], sections: &NormSections) -> Result<(), PackError<T::Error>> {
        for (part, section) in parts.into_iter().zip([&sections.weight, &sections.bias]) {
            let numbers = self.read(part)?.into_owned();
            self.numbers(section, numbers)?;
        }
        Ok(())
    }

    /// Rows, each with its padding.
    fn table(&mut self, part: Part, section: &Section) -> Result<(), PackError<T::Error>> {
        self.pad(section.start)?;
        let numbers = self.read(part)?;
        let padding = vec![0_u8; (self.sizes.hidden - self.shape.hidden) * size_of::<f32>()];
        for row in numbers.chunks_exact(self.shape.hidden) {
            let mut bytes: Vec<u8> = row.iter().flat_map(|number| number.to_le_bytes()).collect();
            bytes.extend_from_slice(&padding);
            self.write(&bytes)?;
        }
        Ok(())
    }

    fn places(&mut self, places: &Places) -> Result<(), PackError<T::Error>> {
        match (places, self.shape.positions) {
            (Places::Table(section), Positions::Table { rows: _, offset, padding, token_types }) => {
                self.positions(section, offset, padding, token_types > 0)
            }
            (
                Places::Frequencies { global, local },
                Positions::Rotations { window: _, global_theta, local_theta },
            ) => {
                for (section, theta) in [(global, global_theta), (local, local_theta)] {
                    self.numbers(section, frequencies(theta, self.shape.head()))?;
                }
                Ok(())
            }
            (Places::Table(_), Positions::Rotations { .. })
            | (Places::Frequencies { .. }, Positions::Table { .. }) => {
                unreachable!("the layout is that of the shape")
            }
        }
    }

    fn positions(
        &mut self,
        section: &Section,
        offset: usize,
        padding: Option<usize>,
        has_types: bool,
    ) -> Result<(), PackError<T::Error>> {
        let hidden = self.shape.hidden;
        let all = self.read(Part::PositionEmbeddings)?;
        let mut table = all[offset * hidden..].to_vec();
        if let Some(padding) = padding {
            table.extend_from_slice(&all[padding * hidden..][..hidden]);
        }
        if has_types {
            let types = self.read(Part::TokenTypeEmbeddings)?;
            for row in table.chunks_exact_mut(hidden) {
                for (number, first_type) in row.iter_mut().zip(types.iter()) {
                    *number += first_type;
                }
            }
        }
        let padding = self.sizes.hidden - hidden;
        let rows = table.chunks_exact(hidden);
        let numbers: Vec<f32> =
            rows.flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, padding))).collect();
        self.numbers(section, numbers)
    }

    /// The attention's output is wider than the hidden state where heads have padding.
    fn context_columns(&self) -> Vec<Option<usize>> {
        let (head, mut columns) = (self.shape.head(), vec![None; self.sizes.context()]);
        for index in 0..self.shape.heads {
            for within in 0..head {
                let place = self.sizes.head_start(index) + self.shape.place_in_head(within);
                columns[place] = Some(index * head + within);
            }
        }
        columns
    }

    /// The feed-forward part's columns; with gates, which come after all inputs in the checkpoint, panel by panel in turns.
    fn widening_order(&self) -> Order {
        let columns = padded(self.shape.intermediate, self.sizes.intermediate());
        let outputs = match self.shape.block {
            Block::NormAfter => columns,
            Block::NormBeforeGated => {
                let gate = |input: &Option<usize>| input.map(|input| self.shape.intermediate + input);
                let turns = |panel: &[Option<usize>]| {
                    panel.iter().copied().chain(panel.iter().map(gate)).collect::<Vec<_>>()
                };
                columns.chunks_exact(PANEL).flat_map(turns).collect()
            }
        };
        Order { inputs: padded(self.shape.hidden, self.sizes.hidden), outputs }
    }

    fn context_order(&self) -> Order {
        Order { inputs: self.context_columns(), outputs: padded(self.shape.hidden, self.sizes.hidden) }
    }

    fn attention(&mut self, layer: usize, sections: &Linear) -> Result<(), PackError<T::Error>> {
        use LayerPart::{KeyBias, KeyWeight, QueryBias, QueryWeight, ValueBias, ValueWeight};
        let (inputs, context) = (padded(self.shape.hidden, self.sizes.hidden), self.context_columns());
        let mut projections = Vec::new();
        for (weight, bias) in [(QueryWeight, QueryBias), (KeyWeight, KeyBias), (ValueWeight, ValueBias)] {
            let order = Order { inputs: inputs.clone(), outputs: context.clone() };
            let columns = self.columns(Part::Layer(layer, weight), &order)?;
            let biases = self.biases(Part::Layer(layer, bias), &context)?;
            projections.push((columns, biases));
        }
        let group = self.sizes.group;
        let order: Vec<(usize, usize)> = (0..self.sizes.groups)
            .flat_map(|index| (0..3).map(move |projection| (projection, index * group)))
            .collect();
        self.pad(sections.panels.start)?;
        for &(projection, start) in &order {
            for first in (start..start + group).step_by(PANEL) {
                self.write(&projections[projection].0.panel(first, 0..inputs.len()))?;
            }
        }
        let of = |numbers: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
            let each = |&(projection, start): &(usize, usize)| {
                (start..start + group).map(|column| numbers(projection, column)).collect::<Vec<_>>()
            };
            order.iter().flat_map(each).collect()
        };
        let scales = of(&|projection, column| projections[projection].0.scale(column));
        let biases = of(&|projection, column| projections[projection].1[column]);
        self.numbers(&sections.scales, scales)?;
        self.numbers(&sections.biases, biases)
    }

    fn columns(&self, weight: Part, order: &Order) -> Result<Columns, PackError<T::Error>> {
        match self.precision {
            Precision::Int8 => Ok(Columns::Bytes(self.byte_columns(weight, order)?)),
            Precision::Fp32 => {
                let weights = self.read(weight)?;
                let width = order.inputs.iter().flatten().count();
                let column = |output: &Option<usize>| match *output {
                    Some(output) => spread(&weights[output * width..][..width], &order.inputs),
                    None => vec![0.0; order.inputs.len()],
                };
                Ok(Columns::Numbers(order.outputs.iter().map(column).collect()))
            }
        }
    }

    fn byte_columns(&self, weight: Part, order: &Order) -> Result<Vec<Column>, PackError<T::Error>> {
        let weights = self.read(weight)?;
        let width = order.inputs.iter().flatten().count();
        let column = |output: &Option<usize>| match *output {
            Some(output) => Column::new(&weights[output * width..][..width], &order.inputs),
            None => Column::zero(order.inputs.len()),
        };
        Ok(order.outputs.iter().map(column).collect())
    }

    fn biases(&self, bias: Part, outputs: &[Option<usize>]) -> Result<Vec<f32>, PackError<T::Error>> {
        let biases = self.read(bias)?;
        Ok(outputs.iter().map(|output| output.map_or(0.0, |output| biases[output])).collect())
    }

    fn linear(
        &mut self,
        weight: Part,
        bias: Part,
        order: &Order,
        sections: &Linear,
    ) -> Result<(), PackError<T::Error>> {
        let columns = self.columns(weight, order)?;
        let biases = self.biases(bias, &order.outputs)?;
        self.pad(sections.panels.start)?;
        for first in (0..order.outputs.len()).step_by(PANEL) {
            self.write(&columns.panel(first, 0..order.inputs.len()))?;
        }
        self.numbers(&sections.scales, (0..order.outputs.len()).map(|column| columns.scale(column)))?;
        self.numbers(&sections.biases, biases)
    }

    fn output(&mut self, layer: usize, sections: &Linear) -> Result<(), PackError<T::Error>> {
        let Sizes { hidden, run, .. } = self.sizes;
        let intermediate = self.sizes.intermediate();
        let order = Order::plain(self.shape.intermediate, intermediate, self.shape.hidden, hidden);
        let columns = self.columns(Part::Layer(layer, LayerPart::OutputWeight), &order)?;
        let biases = self.biases(Part::Layer(layer, LayerPart::OutputBias), &order.outputs)?;
        self.pad(sections.panels.start)?;
        for start in (0..intermediate).step_by(run) {
            for first in (0..hidden).step_by(PANEL) {
                self.write(&columns.panel(first, start..start + run))?;
            }
        }
        self.numbers(&sections.scales, (0..hidden).map(|column| columns.scale(column)))?;
        self.numbers(&sections.biases, biases)
    }

    #[expect(clippy::cast_possible_truncation, reason = "bounds are rounded up")]
    fn screen(&mut self, is_tied: bool, sections: &Screen) -> Result<(), PackError<T::Error>> {
        let part = if is_tied { Part::WordEmbeddings } else { Part::Decoder };
        let (hidden, vocabulary) = (self.shape.hidden, self.shape.vocabulary);
        let order = Order::plain(hidden, self.sizes.hidden, vocabulary, self.sizes.vocabulary);
        let columns = self.byte_columns(part, &order)?;
        // A padded column has a bias below any margin.
        let biases = self.read(Part::DecoderBias)?.into_owned();
        let biases: Vec<f32> =
            order.outputs.iter().map(|output| output.map_or(f32::MIN, |output| biases[output])).collect();
        self.pad(sections.panels.start)?;
        for columns in columns.chunks_exact(PANEL) {
            let mut panel = Vec::new();
            interleave(columns, 0..order.inputs.len(), &mut panel);
            self.write(&panel)?;
        }
        self.numbers(&sections.scales, columns.iter().map(|column| column.scale))?;
        self.numbers(&sections.biases, biases.iter().copied())?;
        let scaled = biases.iter().zip(&columns).map(|(bias, column)| bias / column.scale);
        self.numbers(&sections.scaled_biases, scaled)?;
        let norm = |column: &Column| (column.length / f64::from(column.scale) * ROUNDED_UP) as f32;
        self.numbers(&sections.scaled_norms, columns.iter().map(norm))?;
        let lost =
            columns.iter().filter(|column| column.length > 0.0).map(|column| column.lost / column.length);
        let lost = lost.fold(0.0, f64::max) * ROUNDED_UP;
        self.numbers(&sections.loss, [lost as f32])
    }
}

/// More than any rounding of a bound to a 32-bit number takes away.
const ROUNDED_UP: f64 = 1.000_001;
