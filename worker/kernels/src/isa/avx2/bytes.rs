//! Products of bytes, by the 256-bit VNNI instructions or without them.

use std::arch::x86_64::{
    __m256i, _MM_HINT_T1, _mm_prefetch, _mm256_abs_epi16, _mm256_add_epi32, _mm256_avg_epu8,
    _mm256_blendv_epi8, _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_cmpgt_epi16, _mm256_cvtepi32_ps,
    _mm256_dpbusd_avx_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_movemask_ps,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256,
    _mm256_sub_epi8, _mm256_xor_si256,
};
use std::slice::Chunks;

use super::{HALF, Vector};
use crate::isa::{Dot, PANEL, QUAD, VECTORS};

/// How bytes are multiplied.
pub(in crate::isa) trait Bytes: Copy + Send + Sync + 'static {
    /// Beyond AVX2 and FMA, which [`super::Avx2::detect`] asks for.
    fn detect() -> bool;

    /// # Safety
    ///
    /// Detected, as [`super::Avx2`] has it, and `work.assert::<R>()` holds.
    unsafe fn dot<const R: usize>(work: &Dot<'_>, to: &mut [[Vector; VECTORS]; R]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isa) struct Vnni;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isa) struct Maddubs;

impl Bytes for Vnni {
    fn detect() -> bool {
        is_x86_feature_detected!("avxvnni")
    }

    #[inline(always)]
    unsafe fn dot<const R: usize>(work: &Dot<'_>, to: &mut [[Vector; VECTORS]; R]) {
        // SAFETY: says the caller.
        unsafe { dot_vnni(work, to) }
    }
}

impl Bytes for Maddubs {
    fn detect() -> bool {
        true
    }

    #[inline(always)]
    unsafe fn dot<const R: usize>(work: &Dot<'_>, to: &mut [[Vector; VECTORS]; R]) {
        // SAFETY: says the caller.
        unsafe { dot_maddubs(work, to) }
    }
}

/// What will be read next, requested in equal parts.
struct Ahead<'a>(Chunks<'a, u8>);

impl<'a> Ahead<'a> {
    fn new(work: &Dot<'a>, parts: usize) -> Self {
        Self(work.ahead.chunks(work.ahead.len().div_ceil(parts).next_multiple_of(LINE).max(LINE)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn request(&mut self) {
        for line in self.0.next().unwrap_or_default().chunks(LINE) {
            _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
        }
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of a panel's row that one register of sums takes: eight columns of four inputs.
const GROUP: usize = HALF * QUAD;

/// The panel's four vectors one after the other: twelve registers of sums for six rows, two of weights.
///
/// # Safety
///
/// Detected, and `work.assert::<R>()` holds.
#[inline(never)]
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn dot_vnni<const R: usize>(work: &Dot<'_>, to: &mut [[Vector; VECTORS]; R]) {
    let (rows, stride) = (work.rows.as_ptr(), work.stride);
    let chunks = work.depth.div_ceil(CHUNK * QUAD);
    let mut ahead = Ahead::new(work, VECTORS * chunks);
    for vector in 0..VECTORS {
        let mut sums: [[__m256i; 2]; R] = [[_mm256_setzero_si256(); 2]; R];
        for (sums, start) in sums.iter_mut().zip(work.start) {
            *sums = [_mm256_set1_epi32(*start); 2];
        }
        for quad in 0..work.depth / QUAD {
            if quad.is_multiple_of(CHUNK) {
                ahead.request();
            }
            // SAFETY: `4 * quad + 4 <= depth`; the panel has 64 * 4 bytes for each four inputs, and row `row` has `depth`
            // bytes from `row * stride`, which `assert` has compared with the slices' lengths.
            unsafe {
                let panel = work.panel.as_ptr().add(quad * PANEL * QUAD + 2 * vector * GROUP);
                let low = _mm256_loadu_si256(panel.cast());
                let high = _mm256_loadu_si256(panel.add(GROUP).cast());
                for (row, sums) in sums.iter_mut().enumerate() {
                    let four = rows.add(row * stride + quad * QUAD).cast::<i32>().read_unaligned();
                    let four = _mm256_set1_epi32(four);
                    sums[0] = _mm256_dpbusd_avx_epi32(sums[0], low, four);
                    sums[1] = _mm256_dpbusd_avx_epi32(sums[1], high, four);
                }
            }
        }
        for (to, sums) in to.iter_mut().zip(sums) {
            to[vector] = [_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])];
        }
    }
}

/// Quads that are looked at together, a bit of 64 for each, and for which a part of what is ahead is requested.
const CHUNK: usize = 64;
/// What two neighbouring activations may add up to, one way or the other: 128 * 255 fits 16 bits. With unlike signs each
/// fits by itself, and they only take from each other.
const PAIR: i16 = 128;

/// Eight columns at a time, by `maddubs`, whose sums of two products saturate at 16 bits. So activations that are too large for
/// that, with the two beside them, are halved, and what is missing is multiplied afterwards. They are rare, as the largest of a
/// row is 127 and most are far from it.
///
/// # Safety
///
/// Detected, and `work.assert::<R>()` holds.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn dot_maddubs<const R: usize>(work: &Dot<'_>, to: &mut [[Vector; VECTORS]; R]) {
    let mut sums = [[_mm256_setzero_si256(); 2 * VECTORS]; R];
    for (sums, start) in sums.iter_mut().zip(work.start) {
        *sums = [_mm256_set1_epi32(*start); 2 * VECTORS];
    }
    let mut small = [[0_i32; CHUNK]; R];
    let quads = work.depth / QUAD;
    let mut ahead = Ahead::new(work, quads.div_ceil(CHUNK) * 2 * VECTORS);
    for first in (0..quads).step_by(CHUNK) {
        let count = CHUNK.min(quads - first);
        let mut large = [0_u64; R];
        for (row, (small, large)) in small.iter_mut().zip(&mut large).enumerate() {
            for quad in (0..count).step_by(HALF) {
                // SAFETY: `depth` is a multiple of 32, so eight quads from here are in the row, which `assert` has compared
                // with the slice's length, and `CHUNK` is a multiple of eight.
                unsafe {
                    let bytes = work.rows.as_ptr().add(row * work.stride + (first + quad) * QUAD);
                    let bytes = _mm256_loadu_si256(bytes.cast());
                    let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
                    let is_large = _mm256_cmpgt_epi16(_mm256_abs_epi16(pairs), _mm256_set1_epi16(PAIR));
                    let is_small = _mm256_cmpeq_epi32(is_large, _mm256_setzero_si256());
                    let fit = _mm256_blendv_epi8(halves(bytes), bytes, is_small);
                    _mm256_storeu_si256(small.as_mut_ptr().add(quad).cast(), fit);
                    let is_small = _mm256_movemask_ps(_mm256_castsi256_ps(is_small));
                    *large |= u64::from(!is_small.cast_unsigned() & 0xff) << quad;
                }
            }
        }
        for group in 0..2 * VECTORS {
            ahead.request();
            let mut own = [_mm256_setzero_si256(); R];
            for (own, sums) in own.iter_mut().zip(&sums) {
                *own = sums[group];
            }
            for quad in 0..count {
                // SAFETY: `first + quad < depth / 4`, and there are 64 columns in eight groups.
                let weights = unsafe { weights(work, first + quad, group) };
                for (own, small) in own.iter_mut().zip(&small) {
                    *own = plus(*own, weights, _mm256_set1_epi32(small[quad]));
                }
            }
            for (own, sums) in own.into_iter().zip(&mut sums) {
                sums[group] = own;
            }
        }
        for (row, ((sums, small), mut large)) in sums.iter_mut().zip(&small).zip(large).enumerate() {
            while large != 0 {
                let quad = large.trailing_zeros() as usize;
                large &= large - 1;
                // SAFETY: as above.
                let four = unsafe {
                    let four = work.rows.as_ptr().add(row * work.stride + (first + quad) * QUAD);
                    four.cast::<i32>().read_unaligned()
                };
                let missing = _mm256_sub_epi8(_mm256_set1_epi32(four), _mm256_set1_epi32(small[quad]));
                for (group, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: as above.
                    *sum = plus(*sum, unsafe { weights(work, first + quad, group) }, missing);
                }
            }
        }
    }
    for (to, sums) in to.iter_mut().zip(sums) {
        for (vector, to) in to.iter_mut().enumerate() {
            *to = [_mm256_cvtepi32_ps(sums[2 * vector]), _mm256_cvtepi32_ps(sums[2 * vector + 1])];
        }
    }
}

/// Of signed bytes, rounded up.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn halves(bytes: __m256i) -> __m256i {
    // There are averages of unsigned bytes only: this one is of `byte + 128` and 128.
    let offset = _mm256_set1_epi8(i8::MIN);
    _mm256_xor_si256(_mm256_avg_epu8(_mm256_xor_si256(bytes, offset), offset), offset)
}

/// Adds the products of four inputs, for eight columns. No two neighbours among the activations are beyond [`PAIR`].
#[inline]
#[target_feature(enable = "avx2,fma")]
fn plus(sums: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(weights, activations);
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// Eight columns of four inputs.
///
/// # Safety
///
/// Detected, `work.assert` holds, `quad` is below a quarter of the depth, and `group` below eight.
#[inline(always)]
unsafe fn weights(work: &Dot<'_>, quad: usize, group: usize) -> __m256i {
    // SAFETY: the panel has 64 * 4 bytes for each four inputs, which `assert` has compared with its length.
    unsafe { _mm256_loadu_si256(work.panel.as_ptr().add(quad * PANEL * QUAD + group * GROUP).cast()) }
}
