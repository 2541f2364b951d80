//! Instruction sets: one set of vector operations, implemented for each, and the choice between them.
//!
//! Kernels are written once over [`Simd`]. Every operation has one exact meaning (fused multiply-add, maximum of two
//! numbers, sums in the order of sixteen lanes), so each implementation gives the same bits, and the portable one, which
//! is safe Rust, is the reference for the others.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(test)]
mod tests;

/// Numbers in a vector, whatever the registers of the machine hold.
pub(crate) const LANES: usize = 16;
/// Columns of a packed block of weights.
pub(crate) const PANEL: usize = 64;
/// Vectors of a panel's row.
pub(crate) const VECTORS: usize = PANEL / LANES;
/// Inputs that lie side by side in a packed block, as the dot-product instructions want them.
pub(crate) const QUAD: usize = 4;
/// The most rows that a kernel multiplies at once: 6 x 4 vectors of sums leave registers for the operands.
pub(crate) const ROWS: usize = 6;

/// Added to a number below 2^22 it leaves its nearest integer (ties to even) in the lowest bits.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// Rows of signed activations times one panel of unsigned weights (`weight + 128`).
pub(crate) struct Dot<'a> {
    /// The first row; the others follow at `stride`.
    pub(crate) rows: &'a [i8],
    pub(crate) stride: usize,
    /// Where each row's sum starts: -128 times the sum of its activations, which takes the weights' offset out.
    pub(crate) start: &'a [i32],
    /// `[depth / 4][64][4]`.
    pub(crate) panel: &'a [u8],
    /// A multiple of 32, and not zero.
    pub(crate) depth: usize,
    /// What will be read next: brought nearer while this is computed.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only requested there"))]
    pub(crate) ahead: &'a [u8],
}

impl Dot<'_> {
    /// Whether everything that `R` rows read is there. The kernels with raw pointers rely on it.
    pub(crate) fn assert<const R: usize>(&self) {
        assert!(
            (1..=ROWS).contains(&R) && self.depth >= 32 && self.depth.is_multiple_of(32),
            "rows or depth"
        );
        assert!(self.rows.len() >= (R - 1) * self.stride + self.depth, "activations are too short");
        assert!(self.start.len() >= R, "starts are too short");
        assert!(self.panel.len() >= self.depth * PANEL, "panel is too short");
    }
}

/// Rows of numbers times a table of `C` vectors a row.
pub(crate) struct Product<'a> {
    pub(crate) rows: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) table: &'a [f32],
    pub(crate) table_stride: usize,
    pub(crate) depth: usize,
    /// What will be read next: brought nearer while this is computed.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only requested there"))]
    pub(crate) ahead: &'a [f32],
}

impl Product<'_> {
    pub(crate) fn assert<const R: usize, const C: usize>(&self) {
        assert!(R >= 1 && self.depth >= 1, "nothing to multiply");
        assert!(self.rows.len() >= (R - 1) * self.stride + self.depth, "rows are too short");
        assert!(self.table.len() >= (self.depth - 1) * self.table_stride + C * LANES, "table is too short");
    }
}

/// Operations on vectors of [`LANES`] numbers. Values exist only where the instructions do.
pub(crate) trait Simd: Copy + Send + Sync {
    type Vector: Copy;

    fn splat(self, value: f32) -> Self::Vector;
    fn load(self, from: &[f32; LANES]) -> Self::Vector;
    fn store(self, value: Self::Vector, to: &mut [f32; LANES]);
    fn add(self, left: Self::Vector, right: Self::Vector) -> Self::Vector;
    fn subtract(self, left: Self::Vector, right: Self::Vector) -> Self::Vector;
    fn multiply(self, left: Self::Vector, right: Self::Vector) -> Self::Vector;
    fn divide(self, left: Self::Vector, right: Self::Vector) -> Self::Vector;
    /// `left * right + plus`, rounded once.
    fn fused(self, left: Self::Vector, right: Self::Vector, plus: Self::Vector) -> Self::Vector;
    /// `left` where it is larger, else `right`: also where one of them is not a number.
    fn larger(self, left: Self::Vector, right: Self::Vector) -> Self::Vector;
    /// `left` where it is smaller, else `right`.
    fn smaller(self, left: Self::Vector, right: Self::Vector) -> Self::Vector;
    fn absolute(self, value: Self::Vector) -> Self::Vector;
    /// A bit for each lane in which `left` is larger.
    fn above(self, left: Self::Vector, right: Self::Vector) -> u16;
    /// 2 to the power of an integer in -126..=127 to which [`ROUND`] was added.
    fn power_of_two(self, rounded: Self::Vector) -> Self::Vector;
    /// Numbers in -127..=127, to the nearest integer, ties to even.
    fn store_bytes(self, value: Self::Vector, to: &mut [i8; LANES]);
    /// Brings numbers nearer that will be read soon.
    fn request(self, numbers: &[f32]);
    /// Exact integer sums as numbers.
    fn dot<const R: usize>(self, work: &Dot<'_>, to: &mut [[Self::Vector; VECTORS]; R]);
    /// Each sum by fused multiply-add in the order of the table's rows, from what it is.
    fn product<const R: usize, const C: usize>(self, work: &Product<'_>, to: &mut [[Self::Vector; C]; R]);
}

/// Something to do with whatever vectors there are. Implementations are `#[inline(always)]`, so that one copy of them is
/// compiled inside each instruction set's entry.
pub(crate) trait Work {
    type Output;
    fn work<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(avx2::Avx2<avx2::Vnni>),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2<avx2::Maddubs>),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
    Portable,
}

/// The fastest instruction set of this machine.
pub fn detect() -> Isa {
    Isa::available().swap_remove(0)
}

impl Isa {
    /// Those that this machine has, the fastest first; `portable` is always among them.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            found.extend(avx512::Avx512::detect().map(|token| Self(Kind::Avx512(token))));
            found.extend(avx2::Avx2::<avx2::Vnni>::detect().map(|token| Self(Kind::AvxVnni(token))));
            found.extend(avx2::Avx2::<avx2::Maddubs>::detect().map(|token| Self(Kind::Avx2(token))));
        }
        #[cfg(target_arch = "aarch64")]
        found.extend(neon::Neon::detect().map(|token| Self(Kind::Neon(token))));
        found.push(Self(Kind::Portable));
        found
    }

    /// As metrics and info pages show it.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni(_) => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => "neon",
            Kind::Portable => "portable",
        }
    }

    pub(crate) fn run<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(token) => token.run(work),
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni(token) => token.run(work),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(token) => token.run(work),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(token) => token.run(work),
            Kind::Portable => work.work(portable::Portable),
        }
    }
}
