//! AVX2 with FMA, with and without the 256-bit VNNI instructions. Without them bytes are multiplied by `maddubs` where its sums
//! of 16 bits cannot saturate, and in 16 bits where they could.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_GT_OQ, _MM_HINT_T1, _mm_prefetch, _mm256_abs_epi8, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_ps, _mm256_and_si256, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps,
    _mm256_cmpeq_epi32, _mm256_cmpgt_epi16, _mm256_cvtepi32_ps, _mm256_cvtps_epi32, _mm256_div_ps,
    _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_max_ps, _mm256_min_ps, _mm256_movemask_ps, _mm256_mul_ps, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256, _mm256_slli_epi16,
    _mm256_slli_epi32, _mm256_srai_epi16, _mm256_srli_epi16, _mm256_storeu_ps, _mm256_storeu_si256,
    _mm256_sub_ps,
};
use std::marker::PhantomData;

use super::{Dot, LANES, PANEL, Product, QUAD, Simd, VECTORS, Work};

/// How bytes are multiplied.
pub(super) trait Bytes: Copy + Send + Sync + 'static {
    fn detect() -> bool;

    /// # Safety
    ///
    /// Detected, and `work.assert::<R>()` holds.
    unsafe fn dot<const R: usize>(work: &Dot<'_>, to: &mut [[Vector; VECTORS]; R]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vnni;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Widen;

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

impl Bytes for Widen {
    fn detect() -> bool {
        true
    }

    #[inline(always)]
    unsafe fn dot<const R: usize>(work: &Dot<'_>, to: &mut [[Vector; VECTORS]; R]) {
        // SAFETY: says the caller.
        unsafe { dot_widen(work, to) }
    }
}

/// Exists only where the instructions do: [`Avx2::detect`] is the one constructor, and every safety reason below that says
/// "detected" means that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2<B>(PhantomData<B>);

impl<B: Bytes> Avx2<B> {
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && B::detect();
        found.then_some(Self(PhantomData))
    }
}

impl Avx2<Vnni> {
    pub(super) fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: detected.
        unsafe { enter_vnni(self, work) }
    }
}

impl Avx2<Widen> {
    pub(super) fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: detected.
        unsafe { enter_widen(self, work) }
    }
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn enter_vnni<W: Work>(simd: Avx2<Vnni>, work: W) -> W::Output {
    work.work(simd)
}

#[target_feature(enable = "avx2,fma")]
fn enter_widen<W: Work>(simd: Avx2<Widen>, work: W) -> W::Output {
    work.work(simd)
}

const HALF: usize = LANES / 2;
type Vector = [__m256; 2];

impl<B: Bytes> Simd for Avx2<B> {
    type Vector = Vector;

    #[inline(always)]
    fn splat(self, value: f32) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Vector {
        // SAFETY: detected; the array has the sixteen numbers that are read.
        unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(HALF))] }
    }

    #[inline(always)]
    fn store(self, value: Vector, to: &mut [f32; LANES]) {
        // SAFETY: detected; the array has room for the sixteen numbers.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), value[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(HALF), value[1]);
        }
    }

    #[inline(always)]
    fn add(self, left: Vector, right: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_add_ps(left[0], right[0]), _mm256_add_ps(left[1], right[1])] }
    }

    #[inline(always)]
    fn subtract(self, left: Vector, right: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_sub_ps(left[0], right[0]), _mm256_sub_ps(left[1], right[1])] }
    }

    #[inline(always)]
    fn multiply(self, left: Vector, right: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_mul_ps(left[0], right[0]), _mm256_mul_ps(left[1], right[1])] }
    }

    #[inline(always)]
    fn divide(self, left: Vector, right: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_div_ps(left[0], right[0]), _mm256_div_ps(left[1], right[1])] }
    }

    #[inline(always)]
    fn fused(self, left: Vector, right: Vector, plus: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_fmadd_ps(left[0], right[0], plus[0]), _mm256_fmadd_ps(left[1], right[1], plus[1])] }
    }

    #[inline(always)]
    fn larger(self, left: Vector, right: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_max_ps(left[0], right[0]), _mm256_max_ps(left[1], right[1])] }
    }

    #[inline(always)]
    fn smaller(self, left: Vector, right: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_min_ps(left[0], right[0]), _mm256_min_ps(left[1], right[1])] }
    }

    #[inline(always)]
    fn absolute(self, value: Vector) -> Vector {
        // SAFETY: detected.
        unsafe {
            let magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
            [_mm256_and_ps(value[0], magnitude), _mm256_and_ps(value[1], magnitude)]
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "eight bits each")]
    fn above(self, left: Vector, right: Vector) -> u16 {
        // SAFETY: detected.
        unsafe {
            let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(left[0], right[0]));
            let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(left[1], right[1]));
            (low | high << HALF) as u16
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_wrap, reason = "bits of 1.0")]
    fn power_of_two(self, rounded: Vector) -> Vector {
        // SAFETY: detected.
        unsafe {
            let one = _mm256_set1_epi32(1.0_f32.to_bits() as i32);
            let low = _mm256_slli_epi32::<23>(_mm256_castps_si256(rounded[0]));
            let high = _mm256_slli_epi32::<23>(_mm256_castps_si256(rounded[1]));
            [
                _mm256_castsi256_ps(_mm256_add_epi32(low, one)),
                _mm256_castsi256_ps(_mm256_add_epi32(high, one)),
            ]
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "within -127..=127")]
    fn store_bytes(self, value: Vector, to: &mut [i8; LANES]) {
        let mut wide = [0_i32; LANES];
        // SAFETY: detected; the array has room for the sixteen integers.
        unsafe {
            _mm256_storeu_si256(wide.as_mut_ptr().cast(), _mm256_cvtps_epi32(value[0]));
            _mm256_storeu_si256(wide.as_mut_ptr().add(HALF).cast(), _mm256_cvtps_epi32(value[1]));
        }
        *to = wide.map(|value| value as i8);
    }

    #[inline(always)]
    fn request(self, numbers: &[f32]) {
        for line in numbers.chunks(LANES) {
            // SAFETY: detected; never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
        }
    }

    #[inline(always)]
    fn dot<const R: usize>(self, work: &Dot<'_>, to: &mut [[Vector; VECTORS]; R]) {
        work.assert::<R>();
        // SAFETY: detected, and the slices were checked.
        unsafe { B::dot(work, to) }
    }

    #[inline(always)]
    fn product<const R: usize, const C: usize>(self, work: &Product<'_>, to: &mut [[Vector; C]; R]) {
        work.assert::<R, C>();
        // SAFETY: detected, and the slices were checked.
        unsafe { product(work, to) }
    }
}

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
    for vector in 0..VECTORS {
        let mut sums: [[__m256i; 2]; R] = [[_mm256_setzero_si256(); 2]; R];
        for (sums, start) in sums.iter_mut().zip(work.start) {
            *sums = [_mm256_set1_epi32(*start); 2];
        }
        for quad in 0..work.depth / QUAD {
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

/// Quads that are looked at together: a bit of 64 for each.
const CHUNK: usize = 64;
/// What the magnitudes of two neighbouring activations may add up to: 128 * 255 fits 16 bits.
const PAIR: i16 = 128;

/// Eight columns at a time, by `maddubs`, whose sums of two products saturate at 16 bits. So quads in which two neighbours are
/// too large for that are left out, and multiplied in 16 bits afterwards. They are rare, as the largest activation of a row
/// is 127 and most are far from it; with all quads in 16 bits everything would take a third longer.
///
/// # Safety
///
/// Detected, and `work.assert::<R>()` holds.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn dot_widen<const R: usize>(work: &Dot<'_>, to: &mut [[Vector; VECTORS]; R]) {
    let mut sums = [[_mm256_setzero_si256(); 2 * VECTORS]; R];
    for (sums, start) in sums.iter_mut().zip(work.start) {
        *sums = [_mm256_set1_epi32(*start); 2 * VECTORS];
    }
    let ones = _mm256_set1_epi16(1);
    let mut small = [[0_i32; CHUNK]; R];
    let quads = work.depth / QUAD;
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
                    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(bytes), _mm256_set1_epi8(1));
                    let is_large = _mm256_cmpgt_epi16(pairs, _mm256_set1_epi16(PAIR));
                    let is_small = _mm256_cmpeq_epi32(is_large, _mm256_setzero_si256());
                    let kept = _mm256_and_si256(bytes, is_small);
                    _mm256_storeu_si256(small.as_mut_ptr().add(quad).cast(), kept);
                    let is_small = _mm256_movemask_ps(_mm256_castsi256_ps(is_small));
                    *large |= u64::from(!is_small.cast_unsigned() & 0xff) << quad;
                }
            }
        }
        for group in 0..2 * VECTORS {
            let mut own = [_mm256_setzero_si256(); R];
            for (own, sums) in own.iter_mut().zip(&sums) {
                *own = sums[group];
            }
            for quad in 0..count {
                // SAFETY: `first + quad < depth / 4`, and there are 64 columns in eight groups.
                let weights = unsafe { weights(work, first + quad, group) };
                for (own, small) in own.iter_mut().zip(&small) {
                    let pairs = _mm256_maddubs_epi16(weights, _mm256_set1_epi32(small[quad]));
                    *own = _mm256_add_epi32(*own, _mm256_madd_epi16(pairs, ones));
                }
            }
            for (own, sums) in own.into_iter().zip(&mut sums) {
                sums[group] = own;
            }
        }
        for (row, (sums, mut large)) in sums.iter_mut().zip(large).enumerate() {
            while large != 0 {
                let quad = first + large.trailing_zeros() as usize;
                large &= large - 1;
                // SAFETY: as above.
                let four = unsafe {
                    work.rows.as_ptr().add(row * work.stride + quad * QUAD).cast::<i32>().read_unaligned()
                };
                let four = _mm256_set1_epi32(four);
                let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(four));
                let odd = _mm256_srai_epi16::<8>(four);
                for (group, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: as above.
                    let weights = unsafe { weights(work, quad, group) };
                    let even = _mm256_madd_epi16(_mm256_and_si256(weights, _mm256_set1_epi16(0xff)), even);
                    let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(weights), odd);
                    *sum = _mm256_add_epi32(*sum, _mm256_add_epi32(even, odd));
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

/// Eight columns of four inputs.
///
/// # Safety
///
/// `work.assert` holds, `quad` is below a quarter of the depth, and `group` below eight.
#[inline(always)]
unsafe fn weights(work: &Dot<'_>, quad: usize, group: usize) -> __m256i {
    // SAFETY: the panel has 64 * 4 bytes for each four inputs, which `assert` has compared with its length; AVX was detected.
    unsafe { _mm256_loadu_si256(work.panel.as_ptr().add(quad * PANEL * QUAD + group * GROUP).cast()) }
}

/// The table's vectors one after the other: twelve registers of sums for six rows, two of the table. What is ahead is
/// requested with the first.
///
/// # Safety
///
/// Detected, and `work.assert::<R, C>()` holds.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn product<const R: usize, const C: usize>(work: &Product<'_>, to: &mut [[Vector; C]; R]) {
    let (rows, stride) = (work.rows.as_ptr(), work.stride);
    let mut ahead = work.ahead.chunks(LANES.max(work.ahead.len() / work.depth));
    for vector in 0..C {
        let mut sums: [Vector; R] = std::array::from_fn(|row| to[row][vector]);
        for index in 0..work.depth {
            for line in ahead.next().unwrap_or_default().chunks(LANES) {
                _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
            }
            // SAFETY: `assert` has compared the last row's last number, and the table's last row, with the slices' lengths.
            unsafe {
                let table = work.table.as_ptr().add(index * work.table_stride + vector * LANES);
                let (low, high) = (_mm256_loadu_ps(table), _mm256_loadu_ps(table.add(HALF)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm256_set1_ps(*rows.add(row * stride + index));
                    *sums = [_mm256_fmadd_ps(value, low, sums[0]), _mm256_fmadd_ps(value, high, sums[1])];
                }
            }
        }
        for (to, sums) in to.iter_mut().zip(sums) {
            to[vector] = sums;
        }
    }
}
