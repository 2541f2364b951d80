//! Every instruction set of this machine against the portable one, on ordinary and on hostile numbers.

use super::{Dot, Isa, LANES, PANEL, Product, ROWS, Simd, VECTORS, Work};
use crate::synthetic::Random;

const SPECIAL: [f32; 16] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    1e-45,
    -1e-42,
    0.5,
    1.5,
    -2.5,
    126.5,
];

/// One bit pattern for all that is not a number: which one comes out is not specified.
fn bits(values: &[f32]) -> Vec<u32> {
    let bits = |value: &f32| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
    values.iter().map(bits).collect()
}

struct Operations<'a>([&'a [f32; LANES]; 3]);

impl Work for Operations<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) -> Vec<u32> {
        let [a, b, c] = self.0.map(|values| simd.load(values));
        let results = [
            simd.splat(self.0[0][3]),
            simd.add(a, b),
            simd.subtract(a, b),
            simd.multiply(a, b),
            simd.divide(a, b),
            simd.fused(a, b, c),
            simd.larger(a, b),
            simd.smaller(a, b),
            simd.absolute(a),
        ];
        let mut all = vec![u32::from(simd.above(a, b))];
        for result in results {
            let mut values = [0.0; LANES];
            simd.store(result, &mut values);
            all.extend(bits(&values));
        }
        all
    }
}

fn same_everywhere<T: PartialEq + std::fmt::Debug>(run: impl Fn(Isa) -> T) {
    let sets = Isa::available();
    let (portable, others) = sets.split_last().unwrap();
    assert_eq!(portable.name(), "portable");
    let expected = run(*portable);
    for isa in others {
        assert!(run(*isa) == expected, "{} differs from portable", isa.name());
    }
}

#[test]
fn operations_mean_the_same_everywhere() {
    let mut random = Random(1);
    for round in 0..200 {
        let mut values = || -> [f32; LANES] {
            std::array::from_fn(|_| match random.below(3) {
                0 => SPECIAL[usize::try_from(random.below(16)).unwrap()],
                1 => f32::from_bits(u32::try_from(random.bits() >> 32).unwrap()),
                _ => random.normal(),
            })
        };
        let operands = if round == 0 { [SPECIAL; 3] } else { [values(), values(), values()] };
        same_everywhere(|isa| isa.run(Operations(operands.each_ref())));
    }
}

struct Conversions(f32);

impl Work for Conversions {
    type Output = (Vec<u32>, Vec<i8>);

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) -> Self::Output {
        let (mut powers, mut bytes) = ([0.0; LANES], [0; LANES]);
        let power = self.0.round().max(-126.0);
        simd.store(simd.power_of_two(simd.splat(power + super::ROUND)), &mut powers);
        simd.store_bytes(simd.splat(self.0), &mut bytes);
        (bits(&powers), bytes.to_vec())
    }
}

#[test]
fn rounding_to_bytes_and_powers_of_two_is_the_same_everywhere() {
    for step in -508..=508 {
        let value = step as f32 / 4.0;
        same_everywhere(|isa| isa.run(Conversions(value)));
        let (powers, bytes) = Isa::available()[0].run(Conversions(value));
        assert_eq!(powers[0], value.round().max(-126.0).exp2().to_bits(), "{value}");
        assert!((f32::from(bytes[0]) - value.round_ties_even()).abs() < 0.1, "{value}");
    }
}

struct Dots<'a>(Dot<'a>, usize);

impl Work for Dots<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) -> Vec<u32> {
        match self.1 {
            1 => dots::<S, 1>(simd, &self.0),
            2 => dots::<S, 2>(simd, &self.0),
            3 => dots::<S, 3>(simd, &self.0),
            4 => dots::<S, 4>(simd, &self.0),
            5 => dots::<S, 5>(simd, &self.0),
            _ => dots::<S, ROWS>(simd, &self.0),
        }
    }
}

#[inline(always)]
fn dots<S: Simd, const R: usize>(simd: S, work: &Dot<'_>) -> Vec<u32> {
    let mut sums = [[simd.splat(0.0); VECTORS]; R];
    simd.dot(work, &mut sums);
    let mut all = Vec::new();
    for sum in sums.as_flattened() {
        let mut values = [0.0; LANES];
        simd.store(*sum, &mut values);
        all.extend(bits(&values));
    }
    all
}

/// Saturation in the middle of a sum is how other engines give other vectors on other machines.
#[test]
fn sums_of_extreme_bytes_are_exact() {
    let mut random = Random(2);
    for depth in [32, 96, 768, 4096] {
        for (activation, weight) in
            [(Some(127), Some(255)), (Some(-128), Some(255)), (Some(-127), Some(0)), (None, None)]
        {
            let stride = depth + 16;
            let rows: Vec<i8> = (0..ROWS * stride)
                .map(|_| activation.unwrap_or_else(|| random.bits().to_le_bytes()[0].cast_signed()))
                .collect();
            let panel: Vec<u8> = (0..depth * PANEL)
                .map(|_| weight.unwrap_or_else(|| random.bits().to_le_bytes()[0]))
                .collect();
            // As it always is: what the weights' offset adds.
            let sum =
                |row: usize| rows[row * stride..][..depth].iter().map(|byte| i32::from(*byte)).sum::<i32>();
            let start: Vec<i32> = (0..ROWS).map(|row| -128 * sum(row)).collect();
            for count in 1..=ROWS {
                let work = || Dot { rows: &rows, stride, start: &start, panel: &panel, depth, ahead: &panel };
                same_everywhere(|isa| isa.run(Dots(work(), count)));
            }
            let exact: i64 = (0..depth)
                .map(|input| i64::from(rows[input]) * (i64::from(panel[input / 4 * 256 + input % 4]) - 128))
                .sum();
            let work = Dot { rows: &rows, stride, start: &start, panel: &panel, depth, ahead: &[] };
            let found = Isa::available()[0].run(Dots(work, 1))[0];
            assert_eq!(found, (exact as f32).to_bits(), "depth {depth}");
        }
    }
}

/// Two products of bytes fit 16 bits up to a sum of 128, and every kernel has to know where that ends.
#[test]
fn sums_of_neighbours_at_the_border_of_16_bits_are_exact() {
    let pairs = [
        [64, 64],
        [64, 65],
        [127, 1],
        [127, 2],
        [-128, 0],
        [-128, -1],
        [-127, -127],
        [-128, -128],
        [127, -128],
    ];
    for first in pairs {
        for second in pairs {
            let quad = [first[0], first[1], second[0], second[1]];
            let rows: Vec<i8> = [quad, [1, -1, 0, 2]].concat().into_iter().cycle().take(ROWS * 32).collect();
            let sum: i32 = rows[..32].iter().map(|byte| i32::from(*byte)).sum();
            let (start, panel) = ([-128 * sum; ROWS], [255; 32 * PANEL]);
            let work =
                || Dot { rows: &rows, stride: 32, start: &start, panel: &panel, depth: 32, ahead: &[] };
            same_everywhere(|isa| isa.run(Dots(work(), ROWS)));
            let exact = (127 * sum) as f32;
            assert_eq!(Isa::available()[0].run(Dots(work(), 1))[0], exact.to_bits(), "{quad:?}");
        }
    }
}

struct Products<'a>(Product<'a>);

impl Work for Products<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) -> Vec<u32> {
        let mut all = Vec::new();
        products::<S, 1, 4>(simd, &self.0, &mut all);
        products::<S, 3, 2>(simd, &self.0, &mut all);
        products::<S, 5, 1>(simd, &self.0, &mut all);
        products::<S, ROWS, 4>(simd, &self.0, &mut all);
        all
    }
}

#[inline(always)]
fn products<S: Simd, const R: usize, const C: usize>(simd: S, work: &Product<'_>, all: &mut Vec<u32>) {
    let mut sums = [[simd.splat(0.0); C]; R];
    simd.product(work, &mut sums);
    for sum in sums.as_flattened() {
        let mut values = [0.0; LANES];
        simd.store(*sum, &mut values);
        all.extend(bits(&values));
    }
}

#[test]
fn products_of_numbers_have_the_same_bits() {
    let mut random = Random(3);
    for depth in [1, 2, 17, 64, 300] {
        let rows: Vec<f32> = (0..ROWS * (depth + 3)).map(|_| random.normal()).collect();
        let table: Vec<f32> = (0..depth * 70).map(|_| random.normal()).collect();
        let work = || Product {
            rows: &rows,
            stride: depth + 3,
            table: &table,
            table_stride: 70,
            depth,
            ahead: &table,
        };
        same_everywhere(|isa| isa.run(Products(work())));
    }
}

/// The kernels read through raw pointers, so this is what keeps a wrong length from being a read out of bounds.
#[test]
fn operands_that_are_too_short_are_refused() {
    for isa in Isa::available() {
        for (rows, panel, start) in [(191, 2048, 6), (192, 2047, 6), (192, 2048, 5)] {
            let (rows, panel, start) = (vec![0; rows], vec![0; panel], vec![0; start]);
            let refused = std::panic::catch_unwind(|| {
                let work =
                    Dot { rows: &rows, stride: 32, start: &start, panel: &panel, depth: 32, ahead: &[] };
                isa.run(Dots(work, ROWS))
            });
            assert!(refused.is_err(), "{}", isa.name());
        }
    }
}
