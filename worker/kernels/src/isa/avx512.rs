//! AVX-512 with VNNI: Intel since Ice Lake, AMD since Zen 4.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_GT_OQ, _MM_HINT_T1, _mm_prefetch, _mm_storeu_si128, _mm512_abs_ps,
    _mm512_add_epi32, _mm512_add_ps, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask,
    _mm512_cvtepi32_epi8, _mm512_cvtepi32_ps, _mm512_cvtps_epi32, _mm512_div_ps, _mm512_dpbusd_epi32,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_ps,
    _mm512_sub_ps,
};

use super::{Dot, LANES, PANEL, Product, QUAD, Simd, VECTORS, Work};

/// Exists only where the instructions do: [`Avx512::detect`] is the one constructor, and every safety reason below that
/// says "detected" means that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("fma");
        found.then_some(Self(()))
    }

    pub(super) fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: detected.
        unsafe { enter(self, work) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,fma")]
fn enter<W: Work>(simd: Avx512, work: W) -> W::Output {
    work.work(simd)
}

impl Simd for Avx512 {
    type Vector = __m512;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: detected.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m512 {
        // SAFETY: detected; the array has the sixteen numbers that are read.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, value: __m512, to: &mut [f32; LANES]) {
        // SAFETY: detected; the array has room for the sixteen numbers.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn add(self, left: __m512, right: __m512) -> __m512 {
        // SAFETY: detected.
        unsafe { _mm512_add_ps(left, right) }
    }

    #[inline(always)]
    fn subtract(self, left: __m512, right: __m512) -> __m512 {
        // SAFETY: detected.
        unsafe { _mm512_sub_ps(left, right) }
    }

    #[inline(always)]
    fn multiply(self, left: __m512, right: __m512) -> __m512 {
        // SAFETY: detected.
        unsafe { _mm512_mul_ps(left, right) }
    }

    #[inline(always)]
    fn divide(self, left: __m512, right: __m512) -> __m512 {
        // SAFETY: detected.
        unsafe { _mm512_div_ps(left, right) }
    }

    #[inline(always)]
    fn fused(self, left: __m512, right: __m512, plus: __m512) -> __m512 {
        // SAFETY: detected.
        unsafe { _mm512_fmadd_ps(left, right, plus) }
    }

    #[inline(always)]
    fn larger(self, left: __m512, right: __m512) -> __m512 {
        // SAFETY: detected.
        unsafe { _mm512_max_ps(left, right) }
    }

    #[inline(always)]
    fn smaller(self, left: __m512, right: __m512) -> __m512 {
        // SAFETY: detected.
        unsafe { _mm512_min_ps(left, right) }
    }

    #[inline(always)]
    fn absolute(self, value: __m512) -> __m512 {
        // SAFETY: detected.
        unsafe { _mm512_abs_ps(value) }
    }

    #[inline(always)]
    fn above(self, left: __m512, right: __m512) -> u16 {
        // SAFETY: detected.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(left, right) }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_wrap, reason = "bits of 1.0")]
    fn power_of_two(self, rounded: __m512) -> __m512 {
        // SAFETY: detected.
        unsafe {
            let bits = _mm512_slli_epi32::<23>(_mm512_castps_si512(rounded));
            _mm512_castsi512_ps(_mm512_add_epi32(bits, _mm512_set1_epi32(1.0_f32.to_bits() as i32)))
        }
    }

    #[inline(always)]
    fn store_bytes(self, value: __m512, to: &mut [i8; LANES]) {
        // SAFETY: detected; the array has room for the sixteen bytes.
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(value));
            _mm_storeu_si128(to.as_mut_ptr().cast(), bytes);
        }
    }

    #[inline(always)]
    fn request(self, numbers: &[f32]) {
        for line in numbers.chunks(LANES) {
            // SAFETY: detected; never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
        }
    }

    #[inline(always)]
    fn dot<const R: usize>(self, work: &Dot<'_>, to: &mut [[__m512; VECTORS]; R]) {
        work.assert::<R>();
        // SAFETY: detected, and the slices were checked.
        unsafe { dot(work, to) }
    }

    #[inline(always)]
    fn product<const R: usize, const C: usize>(self, work: &Product<'_>, to: &mut [[__m512; C]; R]) {
        work.assert::<R, C>();
        // SAFETY: detected, and the slices were checked.
        unsafe { product(work, to) }
    }
}

/// Inputs between two requests to bring what is ahead nearer.
const STEP: usize = 16;
const LINE: usize = 64;

/// # Safety
///
/// `work.assert::<R>()` holds.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,fma")]
unsafe fn dot<const R: usize>(work: &Dot<'_>, to: &mut [[__m512; VECTORS]; R]) {
    let mut sums: [[__m512i; VECTORS]; R] = [[_mm512_setzero_si512(); VECTORS]; R];
    for (sums, start) in sums.iter_mut().zip(work.start) {
        *sums = [_mm512_set1_epi32(*start); VECTORS];
    }
    let (rows, stride) = (work.rows.as_ptr(), work.stride);
    let mut panel = work.panel.as_ptr();
    let steps = work.depth / STEP;
    let lines = (work.ahead.len() / LINE).div_ceil(steps);
    let mut ahead = work.ahead.as_ptr();
    for step in 0..steps {
        for _ in 0..lines {
            // Never faults, wherever it points.
            _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
            ahead = ahead.wrapping_add(LINE);
        }
        for quad in 0..STEP / QUAD {
            let input = step * STEP + quad * QUAD;
            // SAFETY: `input + 4 <= depth`; the panel has 64 * 4 bytes for each four inputs, and row `row` has `depth`
            // bytes from `row * stride`, which `assert` has compared with the slices' lengths.
            unsafe {
                let mut weights = [_mm512_setzero_si512(); VECTORS];
                for (vector, weights) in weights.iter_mut().enumerate() {
                    *weights = _mm512_loadu_si512(panel.add(vector * LINE).cast());
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let four = rows.add(row * stride + input).cast::<i32>().read_unaligned();
                    let four = _mm512_set1_epi32(four);
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = _mm512_dpbusd_epi32(*sum, weights, four);
                    }
                }
                panel = panel.add(PANEL * QUAD);
            }
        }
    }
    for (to, sums) in to.iter_mut().zip(sums) {
        for (to, sum) in to.iter_mut().zip(sums) {
            *to = _mm512_cvtepi32_ps(sum);
        }
    }
}

/// # Safety
///
/// `work.assert::<R, C>()` holds.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,fma")]
unsafe fn product<const R: usize, const C: usize>(work: &Product<'_>, to: &mut [[__m512; C]; R]) {
    let mut sums = *to;
    let (rows, stride) = (work.rows.as_ptr(), work.stride);
    let mut table = work.table.as_ptr();
    let lines = (work.ahead.len() / LANES).div_ceil(work.depth.div_ceil(STEP));
    let mut ahead = work.ahead.as_ptr();
    for step in (0..work.depth).step_by(STEP) {
        for _ in 0..lines {
            // Never faults, wherever it points.
            _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
            ahead = ahead.wrapping_add(LANES);
        }
        for index in step..work.depth.min(step + STEP) {
            // SAFETY: `assert` has compared the last row's last number, and the table's last row, with the slices' lengths;
            // past its last row the table's pointer is not read, and only added to by wrapping.
            unsafe {
                let columns: [__m512; C] =
                    std::array::from_fn(|vector| _mm512_loadu_ps(table.add(vector * LANES)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*rows.add(row * stride + index));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_fmadd_ps(value, column, *sum);
                    }
                }
            }
            table = table.wrapping_add(work.table_stride);
        }
    }
    *to = sums;
}
