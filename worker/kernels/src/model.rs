//! A packed model, mapped into memory: opening it reads one page, and processes that serve the same file share it.

use std::io;
use std::path::Path;

use fs_err::File;
use memmap2::Mmap;

use crate::isa::{Isa, detect};
use crate::layout::{Header, HeaderError, Layout, Linear, NormSections, Section};
use crate::math::Norm;
use crate::rows::{ByteRows, Factors, NumberRows};
use crate::shape::{Precision, Shape, Sizes};

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("failed to open the packed model")]
    Open(#[source] io::Error),
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("the packed model has {found} bytes, but its header asks for {expected}: pack it again")]
    Length { found: usize, expected: usize },
    #[error("packed models are little endian, and this machine is not")]
    Endianness,
}

/// A model ready to run. Any number of threads may use it at once.
#[derive(Debug)]
pub struct Model {
    file: Mmap,
    shape: Shape,
    precision: Precision,
    pub(crate) sizes: Sizes,
    pub(crate) layout: Layout,
    pub(crate) isa: Isa,
}

impl Model {
    /// Maps a file that `pack` wrote. The file must not change while the model lives; a cache that publishes files by
    /// renaming them gives that.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if cfg!(target_endian = "big") {
            return Err(OpenError::Endianness);
        }
        let file = File::open(path).map_err(OpenError::Open)?;
        // SAFETY: the mapping is private and read-only. Nothing here relies on what the bytes say: the header is copied
        // and checked, every offset follows from it, and weights may have any value.
        let file = unsafe { Mmap::map(file.file()) }.map_err(OpenError::Open)?;
        // Only a hint: a file that is not in memory yet begins to come.
        #[cfg(unix)]
        let _ = file.advise(memmap2::Advice::WillNeed);
        let Header { shape, precision, is_tied } = Header::parse(&file)?;
        let layout = Layout::new(&shape, precision, is_tied);
        if file.len() != layout.bytes {
            return Err(OpenError::Length { found: file.len(), expected: layout.bytes });
        }
        Ok(Self { file, sizes: shape.sizes(), shape, precision, layout, isa: detect() })
    }

    /// Runs on another instruction set than the fastest: results are the same.
    #[must_use]
    pub fn with_isa(mut self, isa: Isa) -> Self {
        self.isa = isa;
        self
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn bytes(&self, section: &Section) -> &[u8] {
        &self.file[section.clone()]
    }

    pub(crate) fn numbers(&self, section: &Section) -> &[f32] {
        bytemuck::cast_slice(&self.file[section.clone()])
    }

    pub(crate) fn norm(&self, sections: &NormSections) -> Norm<'_> {
        Norm {
            weight: self.numbers(&sections.weight),
            bias: self.numbers(&sections.bias),
            epsilon: self.shape.epsilon,
            columns: self.shape.hidden,
        }
    }

    /// A layer's weights with the input that they are multiplied with.
    pub(crate) fn weights<'a>(&'a self, linear: &Linear, input: Input<'a>) -> Weights<'a> {
        let factors = match self.precision {
            Precision::Int8 => {
                Factors::Bytes { rows: input.bytes.view(), panels: self.bytes(&linear.panels) }
            }
            Precision::Fp32 => {
                let rows = NumberRows { numbers: input.numbers, width: input.width };
                Factors::Numbers { rows, panels: self.numbers(&linear.panels) }
            }
        };
        Weights { factors, scales: self.numbers(&linear.scales), biases: self.numbers(&linear.biases) }
    }
}

/// Rows of activations in both forms, of which the one that the model's precision takes is filled.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) bytes: &'a ByteRows,
    pub(crate) numbers: &'a [f32],
    pub(crate) width: usize,
}

/// A linear layer's operands.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) factors: Factors<'a>,
    pub(crate) scales: &'a [f32],
    pub(crate) biases: &'a [f32],
}
