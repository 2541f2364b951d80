//! Rotations that tell where a token stands: pairs of a head's numbers, one of each half, are turned by an angle that grows with
//! the place. Sine and cosine are our own, as libraries differ in the last bit. PURE.

use crate::isa::LANES;

/// The angle of each pair, which every token is turned further; padded to whole vectors. In 32 bits step by step, as the models were
/// trained. Powers may differ in their last bit from library to library, so they are computed once, when a model is packed.
pub(crate) fn frequencies(theta: f32, head: usize) -> Vec<f32> {
    let angle = |pair: usize| theta.powf((2 * pair) as f32 / head as f32).recip();
    let mut angles: Vec<f32> = (0..head / 2).map(angle).collect();
    angles.resize((head / 2).next_multiple_of(LANES), 0.0);
    angles
}

/// Cosines and sines of the places of a text, of one kind of layers. It grows to the longest text so far.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    frequencies: Vec<f32>,
    places: usize,
    /// `[place]`, each with the cosines of all pairs and then their sines.
    numbers: Vec<f32>,
}

impl Turns {
    /// For texts of so many tokens.
    pub(crate) fn prepare(&mut self, frequencies: &[f32], tokens: usize) {
        if self.frequencies != frequencies {
            *self = Self { frequencies: frequencies.to_vec(), ..Self::default() };
        }
        for place in self.places..tokens {
            let turned = frequencies.iter().map(|angle| cosine_and_sine(place as f32 * angle));
            let (cosines, sines): (Vec<f32>, Vec<f32>) = turned.unzip();
            self.numbers.extend(cosines);
            self.numbers.extend(sines);
        }
        self.places = self.places.max(tokens);
    }

    /// Of one place, vector by vector.
    #[inline(always)]
    pub(crate) fn at(&self, place: usize) -> impl Iterator<Item = (&[f32; LANES], &[f32; LANES])> {
        let pairs = self.frequencies.len();
        let (cosines, sines) = self.numbers[2 * place * pairs..][..2 * pairs].split_at(pairs);
        cosines.as_chunks().0.iter().zip(sines.as_chunks().0)
    }
}

/// In 64 bits, whose last digits are lost when the result is rounded. What is not finite gives anything.
#[expect(clippy::cast_possible_truncation, reason = "rounded to the precision of the models")]
fn cosine_and_sine(angle: f32) -> (f32, f32) {
    // A quarter turn; the first part has 33 bits, so its product with the number of quarters is exact.
    const QUARTER: f64 = 1.570_796_326_734_125_6;
    const QUARTER_REST: f64 = 6.077_100_506_506_192e-11;
    let angle = f64::from(angle);
    let quarters = (angle * std::f64::consts::FRAC_2_PI).round_ties_even();
    let rest = angle - quarters * QUARTER - quarters * QUARTER_REST;
    let square = rest * rest;
    // The series of Taylor; what is left out is below 2^-50 within an eighth of a turn.
    let series = |first: f64| {
        let mut sum = 1.0;
        for index in (0..8).rev() {
            let index = first + 2.0 * f64::from(index);
            sum = 1.0 - sum * square / (index * (index + 1.0));
        }
        sum
    };
    let (cosine, sine) = (series(1.0), rest * series(2.0));
    let (cosine, sine) = match quarters.rem_euclid(4.0) {
        1.0 => (-sine, cosine),
        2.0 => (-cosine, -sine),
        3.0 => (sine, -cosine),
        _ => (cosine, sine),
    };
    (cosine as f32, sine as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the library's in 64 bits, up to the last place of the longest text.
    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "the nearest number is what is compared with")]
    fn sines_and_cosines_are_right_to_the_last_bit_but_one() {
        let (mut worst, mut exact) = (0_u32, 0);
        for step in 0..200_000_u32 {
            let angle = step as f32 * 0.655_37;
            let (sine, cosine) = f64::from(angle).sin_cos();
            for (found, expected) in <[f32; 2]>::from(cosine_and_sine(angle)).into_iter().zip([cosine, sine])
            {
                let distance = found.to_bits().abs_diff((expected as f32).to_bits());
                worst = worst.max(distance);
                exact += u32::from(distance == 0);
            }
        }
        assert!(worst <= 1 && exact > 399_000, "{worst} {exact}");
        for angle in [f32::NAN, f32::INFINITY, f32::MAX] {
            cosine_and_sine(angle);
        }
    }

    #[test]
    fn a_table_that_grew_is_that_of_the_longest_text() {
        let (mut grown, mut whole) = (Turns::default(), Turns::default());
        let angles = frequencies(10_000.0, 40);
        assert_eq!((angles.len(), angles[0].to_bits()), (32, 1.0_f32.to_bits()));
        whole.prepare(&angles, 50);
        for tokens in [3, 1, 50, 7] {
            grown.prepare(&angles, tokens);
        }
        assert_eq!(grown.numbers, whole.numbers);
        // Another model's angles in the same memory.
        grown.prepare(&frequencies(500.0, 40), 2);
        assert_eq!(grown.numbers.len(), 2 * 2 * 32);
        assert!(grown.numbers != whole.numbers[..128]);
    }
}
