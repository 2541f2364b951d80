//! Functions of vectors and rows, written once for every instruction set. The order of every sum is part of the result,
//! so it never depends on the machine. PURE.

use crate::isa::{LANES, ROUND, Simd};
use crate::shape::{Activation, Saturation};

/// Below this a row counts as zero: its scale's inverse would overflow.
const NOTHING: f32 = 1e-30;

/// Largest byte of a quantised number; symmetric, so that -128 never occurs.
const TOP: f32 = 127.0;

/// Sums the lanes pairwise, halves first.
pub(crate) fn sum(lanes: [f32; LANES]) -> f32 {
    fold(lanes, |left, right| left + right)
}

/// The largest of lanes none of which is not a number.
pub(crate) fn largest(lanes: [f32; LANES]) -> f32 {
    fold(lanes, |left, right| if left > right { left } else { right })
}

fn fold(mut lanes: [f32; LANES], both: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = both(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
pub(crate) fn lanes<S: Simd>(simd: S, value: S::Vector) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    simd.store(value, &mut lanes);
    lanes
}

#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, at: S::Vector, factors: [f32; N]) -> S::Vector {
    let mut value = simd.splat(factors[N - 1]);
    for factor in factors[..N - 1].iter().rev() {
        value = simd.fused(value, at, simd.splat(*factor));
    }
    value
}

/// The natural logarithm of 2, in two parts: the first one times a small integer is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -0.000_212_194_44;

/// `e` to the power of a number, to 2e-7; numbers beyond +-87 count as +-87.
#[inline(always)]
pub(crate) fn exponential<S: Simd>(simd: S, value: S::Vector) -> S::Vector {
    // e^r for |r| <= ln(2) / 2, fitted by least squares on the relative error (4e-9).
    const FACTORS: [f32; 7] =
        [1.0, 1.0, 0.499_999_88, 0.166_665_18, 0.041_669_54, 0.008_368_952, 0.001_375_127_9];
    let value = simd.smaller(simd.larger(value, simd.splat(-87.0)), simd.splat(87.0));
    let rounded = simd.fused(value, simd.splat(std::f32::consts::LOG2_E), simd.splat(ROUND));
    let power = simd.subtract(rounded, simd.splat(ROUND));
    let rest = simd.fused(power, simd.splat(-LN_2_HIGH), value);
    let rest = simd.fused(power, simd.splat(-LN_2_LOW), rest);
    simd.multiply(polynomial(simd, rest, FACTORS), simd.power_of_two(rounded))
}

/// `ln(1 + x)` of a number that is not below zero, to 2e-7 of the result; of zero it is zero.
#[inline(always)]
fn ln_1p<S: Simd>(simd: S, value: S::Vector) -> S::Vector {
    // (ln(1 + r) - r + r^2 / 2) / r^3 where 1 + r is between the roots of a half and of two, as in the Cephes library.
    const FACTORS: [f32; 9] = [
        0.333_333_3,
        -0.249_999_94,
        0.200_007_15,
        -0.166_680_58,
        0.142_493_23,
        -0.124_201_41,
        0.116_769_99,
        -0.115_146_1,
        0.070_376_836,
    ];
    const ROOT_OF_HALF: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
    let one = simd.splat(1.0);
    let whole = simd.add(value, one);
    let lost = simd.subtract(value, simd.subtract(whole, one));
    let (mut powers, mut parts) = ([0.0; LANES], lanes(simd, whole));
    for (power, part) in powers.iter_mut().zip(&mut parts) {
        let bits = part.to_bits();
        let exponent = bits.wrapping_sub(ROOT_OF_HALF).cast_signed() >> 23;
        *power = exponent as f32;
        *part = f32::from_bits(bits.wrapping_sub((exponent << 23).cast_unsigned()));
    }
    let (power, rest) = (simd.load(&powers), simd.subtract(simd.load(&parts), one));
    let square = simd.multiply(rest, rest);
    let tail = simd.multiply(polynomial(simd, rest, FACTORS), simd.multiply(square, rest));
    let tail = simd.fused(power, simd.splat(LN_2_LOW), tail);
    let tail = simd.fused(square, simd.splat(-0.5), tail);
    let sum = simd.fused(power, simd.splat(LN_2_HIGH), simd.add(rest, tail));
    simd.add(sum, simd.divide(lost, whole))
}

/// What logits that are not below zero weigh.
#[inline(always)]
pub(crate) fn saturate<S: Simd>(simd: S, saturation: Saturation, logit: S::Vector) -> S::Vector {
    let once = ln_1p(simd, logit);
    match saturation {
        Saturation::Log => once,
        Saturation::DoubleLog => ln_1p(simd, once),
    }
}

/// `x * P(X <= x)` of a normal X, to 2e-6.
#[inline(always)]
fn gelu<S: Simd>(simd: S, value: S::Vector) -> S::Vector {
    // (P(X <= x) - 1/2) / x as a polynomial of 2 (x / EDGE)^2 - 1, which is centred so that its terms do not cancel.
    const EDGE: f32 = 5.2;
    const FACTORS: [f32; 13] = [
        0.135_949_92,
        -0.067_743_376,
        0.050_030_217,
        -0.039_942_145,
        0.031_907_126,
        -0.024_586_54,
        0.018_384_797,
        -0.013_125_154,
        0.007_570_465,
        -0.003_476_406_4,
        0.002_832_828_8,
        -0.002_517_649_4,
        0.000_869_757_96,
    ];
    let near = simd.smaller(simd.larger(value, simd.splat(-EDGE)), simd.splat(EDGE));
    let square = simd.multiply(near, near);
    let at = simd.fused(square, simd.splat(2.0 / (EDGE * EDGE)), simd.splat(-1.0));
    let share = simd.fused(near, polynomial(simd, at, FACTORS), simd.splat(0.5));
    simd.multiply(value, share)
}

#[inline(always)]
fn gelu_tanh<S: Simd>(simd: S, value: S::Vector) -> S::Vector {
    // x (1 + tanh u) / 2 = x / (1 + e^(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
    const LINEAR: f32 = -1.595_769;
    const CUBIC: f32 = LINEAR * 0.044_715;
    let square = simd.multiply(value, value);
    let inner = simd.fused(square, simd.splat(CUBIC), simd.splat(LINEAR));
    let power = exponential(simd, simd.multiply(value, inner));
    simd.divide(value, simd.add(simd.splat(1.0), power))
}

#[inline(always)]
pub(crate) fn activate<S: Simd>(simd: S, activation: Activation, value: S::Vector) -> S::Vector {
    match activation {
        Activation::Gelu => gelu(simd, value),
        Activation::GeluTanh => gelu_tanh(simd, value),
        Activation::Relu => simd.larger(value, simd.splat(0.0)),
    }
}

/// A row as bytes: number = byte * scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scaled {
    pub(crate) scale: f32,
    /// -128 times the sum of the bytes.
    pub(crate) start: i32,
}

/// The largest magnitude in a row; what is not a number does not count.
#[inline(always)]
pub(crate) fn magnitude<'a, S: Simd>(simd: S, row: impl Iterator<Item = &'a [f32; LANES]>) -> f32 {
    let mut top = simd.splat(0.0);
    for vector in row {
        top = simd.larger(simd.absolute(simd.load(vector)), top);
    }
    largest(lanes(simd, top))
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an exact sum of a few thousand bytes")]
pub(crate) fn quantise<'a, S: Simd>(
    simd: S,
    magnitude: f32,
    row: impl Iterator<Item = &'a [f32; LANES]>,
    bytes: &mut [i8],
) -> Scaled {
    let (scale, inverse) = if magnitude > NOTHING { (magnitude / TOP, TOP / magnitude) } else { (1.0, 0.0) };
    let (inverse, top, bottom, round) =
        (simd.splat(inverse), simd.splat(TOP), simd.splat(-TOP), simd.splat(ROUND));
    let mut total = simd.splat(0.0);
    for (vector, bytes) in row.zip(bytes.as_chunks_mut::<LANES>().0) {
        let value = simd.multiply(simd.load(vector), inverse);
        let value = simd.smaller(simd.larger(value, bottom), top);
        let whole = simd.subtract(simd.add(value, round), round);
        total = simd.add(total, whole);
        simd.store_bytes(whole, bytes);
    }
    Scaled { scale, start: -128 * sum(lanes(simd, total)) as i32 }
}

/// Layer norm's weights; their padding is zero.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) epsilon: f32,
    /// Numbers of a row before its padding.
    pub(crate) columns: usize,
}

/// Normalises a row, whose padding is zero and stays so, and returns its largest magnitude.
#[inline(always)]
pub(crate) fn normalise<'a, S: Simd>(
    simd: S,
    norm: Norm<'_>,
    row: impl Iterator<Item = &'a [f32; LANES]> + Clone,
    to: &mut [f32],
) -> f32 {
    let mut total = simd.splat(0.0);
    for vector in row.clone() {
        total = simd.add(total, simd.load(vector));
    }
    let mean = sum(lanes(simd, total)) / norm.columns as f32;
    let means = simd.splat(mean);
    let mut squares = simd.splat(0.0);
    let whole = norm.columns / LANES;
    for vector in row.clone().take(whole) {
        let distance = simd.subtract(simd.load(vector), means);
        squares = simd.fused(distance, distance, squares);
    }
    if let Some(vector) = row.clone().nth(whole) {
        let mut distances = [0.0; LANES];
        for (distance, value) in distances.iter_mut().zip(vector).take(norm.columns % LANES) {
            *distance = value - mean;
        }
        let distance = simd.load(&distances);
        squares = simd.fused(distance, distance, squares);
    }
    let variance = sum(lanes(simd, squares)) / norm.columns as f32;
    let inverse = simd.splat(1.0 / (variance + norm.epsilon).sqrt());
    let mut top = simd.splat(0.0);
    let weights = norm.weight.as_chunks::<LANES>().0.iter().zip(norm.bias.as_chunks::<LANES>().0);
    for ((vector, (weight, bias)), to) in row.zip(weights).zip(to.as_chunks_mut::<LANES>().0) {
        let value = simd.multiply(simd.subtract(simd.load(vector), means), inverse);
        let value = simd.fused(value, simd.load(weight), simd.load(bias));
        top = simd.larger(simd.absolute(value), top);
        simd.store(value, to);
    }
    largest(lanes(simd, top))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, Work};

    struct Saturated(Saturation, [f32; LANES]);

    impl Work for Saturated {
        type Output = [f32; LANES];

        #[inline(always)]
        fn work<S: Simd>(self, simd: S) -> [f32; LANES] {
            lanes(simd, saturate(simd, self.0, simd.load(&self.1)))
        }
    }

    #[test]
    fn logarithms_are_right_and_the_same_everywhere() {
        let sizes = (0..4000_u16).map(|step| (f32::from(step) / 20.0 - 100.0).exp2());
        let near = (0..4000_u16).map(|step| f32::from(step) / 1000.0);
        for number in sizes.chain(near) {
            for isa in Isa::available() {
                let once = isa.run(Saturated(Saturation::Log, [number; LANES]))[LANES - 1];
                let twice = isa.run(Saturated(Saturation::DoubleLog, [number; LANES]))[0];
                let (exact, double) = (f64::from(number).ln_1p(), f64::from(number).ln_1p().ln_1p());
                assert!((f64::from(once) - exact).abs() <= 3e-7 * exact, "{number}: {once} {exact}");
                assert!((f64::from(twice) - double).abs() <= 5e-7 * double, "{number}: {twice} {double}");
                let portable =
                    Isa::available().pop().unwrap().run(Saturated(Saturation::Log, [number; LANES]));
                assert_eq!(portable[0].to_bits(), once.to_bits(), "{}", isa.name());
            }
        }
        for isa in Isa::available() {
            assert_eq!(isa.run(Saturated(Saturation::DoubleLog, [0.0; LANES])).map(f32::to_bits), [0; LANES]);
        }
    }
}
