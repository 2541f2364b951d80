//! From a text's strongest logits to its weights, by this crate's own logarithm: that of a C library has other last digits in another library, or
//! on another machine.

use crate::isa::{LANES, Simd, Work};
use crate::math::{lanes, saturate};
use crate::model::Model;
use crate::shape::Saturation;

impl Model {
    /// Makes weights of the logits that [`Model::embed_all`] gives. What is not above zero weighs nothing.
    pub fn weigh(&self, saturation: Saturation, strongest: &mut [(u32, f32)]) {
        self.isa().run(Weighing { saturation, strongest });
    }
}

struct Weighing<'a> {
    saturation: Saturation,
    strongest: &'a mut [(u32, f32)],
}

impl Work for Weighing<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) {
        for some in self.strongest.chunks_mut(LANES) {
            let mut logits = [0.0; LANES];
            for (to, (_, logit)) in logits.iter_mut().zip(&*some) {
                *to = *logit;
            }
            let logits = simd.larger(simd.load(&logits), simd.splat(0.0));
            let weights = lanes(simd, saturate(simd, self.saturation, logits));
            for ((_, to), weight) in some.iter_mut().zip(weights) {
                *to = weight;
            }
        }
    }
}
