//! Which arithmetic a worker uses: what was asked for, what the published model holds, and what this CPU is good at. PURE.

use clap::ValueEnum;
use lexiscale_wire::Precision;

use crate::model::manifest::{FP32_FILE, Golden, INT8_FILE, MODEL_FILE, Manifest, WEIGHTS_FILE};

/// What `auto` asks of the int8 vectors of the golden set. A random text among a few hundred may be worse than the mean, and a tail
/// below the hundredth term hardly ever decides a ranking.
const LEAST_MEAN_COSINE: f64 = 0.999;
const LEAST_TOP100_KEPT: f64 = 0.975;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PrecisionSetting {
    /// Single precision, as the model was trained.
    Fp32,
    /// 8-bit integers where they are several times faster, single precision elsewhere.
    Int8,
    /// `int8` where the model's vectors keep what matters and this CPU multiplies integers fast, else `fp32`.
    #[default]
    Auto,
}

/// Whether our kernels have instructions for this CPU, or only their portable path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelSpeed {
    Fast,
    Slow,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrecisionError {
    #[error("precision int8 is not possible for this model: {reason}; set precision fp32 or auto")]
    NoInt8 { reason: String },
}

/// Which arithmetic it is and why, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub precision: Precision,
    pub reason: String,
}

pub fn choose(
    setting: PrecisionSetting,
    manifest: &Manifest,
    speed: KernelSpeed,
) -> Result<Choice, PrecisionError> {
    let choice = |precision, reason: &str| Ok(Choice { precision, reason: reason.to_owned() });
    match setting {
        PrecisionSetting::Fp32 => choice(Precision::Fp32, "asked for"),
        PrecisionSetting::Int8 if manifest.has_int8() => choice(Precision::Int8, "asked for"),
        PrecisionSetting::Int8 => Err(PrecisionError::NoInt8 { reason: refusal(manifest) }),
        PrecisionSetting::Auto => Ok(match automatic(manifest, speed) {
            Ok(reason) => Choice { precision: Precision::Int8, reason },
            Err(reason) => Choice { precision: Precision::Fp32, reason },
        }),
    }
}

/// Whether `auto` takes int8 for this model on a CPU of this kind, and why or why not.
pub fn automatic(manifest: &Manifest, speed: KernelSpeed) -> Result<String, String> {
    if !manifest.has_int8() {
        return Err(refusal(manifest));
    }
    let Some(golden) = manifest.golden else {
        return Err("its int8 vectors were not compared with those of fp32".to_owned());
    };
    let Golden { mean_cosine, worst_cosine: _, top100_kept } = golden;
    let kept = top100_kept * 100.0;
    let said = format!("int8 keeps a mean cosine of {mean_cosine:.5} and {kept:.1} % of the top 100");
    let is_faithful = mean_cosine >= LEAST_MEAN_COSINE && top100_kept >= LEAST_TOP100_KEPT;
    match (is_faithful, speed) {
        (true, KernelSpeed::Fast) => Ok(said),
        (true, KernelSpeed::Slow) => {
            Err(format!("{said}, but this CPU has no instructions for 8-bit products"))
        }
        (false, _) => Err(said),
    }
}

/// What computes, each from files of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Our kernels.
    Kernels(Precision),
    /// ONNX Runtime, in fp32: ONNX files that a repository ships, and CPUs that the kernels have no instructions for.
    Onnx,
}

impl Arithmetic {
    pub fn of(precision: Precision, manifest: &Manifest, speed: KernelSpeed) -> Self {
        match (precision, speed) {
            (Precision::Int8, _) => Self::Kernels(Precision::Int8),
            (Precision::Fp32, KernelSpeed::Fast) if manifest.file_bytes(FP32_FILE).is_some() => {
                Self::Kernels(Precision::Fp32)
            }
            (Precision::Fp32, _) => Self::Onnx,
        }
    }

    /// The weights of the other ones.
    pub fn unused_files(self) -> &'static [&'static str] {
        match self {
            Self::Kernels(Precision::Int8) => &[MODEL_FILE, WEIGHTS_FILE, FP32_FILE],
            Self::Kernels(Precision::Fp32) => &[MODEL_FILE, WEIGHTS_FILE, INT8_FILE],
            Self::Onnx => &[INT8_FILE, FP32_FILE],
        }
    }
}

/// Why there is no int8.
pub fn refusal(manifest: &Manifest) -> String {
    manifest.int8_refused.clone().unwrap_or_else(|| {
        format!("its cache has no {INT8_FILE}, as an older version made it; fetch it anew")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::tests::manifest_with;

    const FAITHFUL: Golden = Golden { mean_cosine: 0.9993, worst_cosine: 0.9985, top100_kept: 0.981 };

    fn chosen(setting: PrecisionSetting, manifest: &Manifest, speed: KernelSpeed) -> Precision {
        choose(setting, manifest, speed).unwrap().precision
    }

    #[test]
    fn auto_takes_int8_where_it_is_there_and_faithful_and_fast() {
        let with = |int8, golden| Manifest { golden, ..manifest_with(int8) };
        let auto = PrecisionSetting::Auto;
        let unfaithful = Golden { mean_cosine: 0.9989, ..FAITHFUL };
        let forgetful = Golden { top100_kept: 0.974, ..FAITHFUL };
        for (manifest, speed, expected) in [
            (with(true, Some(FAITHFUL)), KernelSpeed::Fast, Precision::Int8),
            (with(true, Some(FAITHFUL)), KernelSpeed::Slow, Precision::Fp32),
            (with(true, Some(unfaithful)), KernelSpeed::Fast, Precision::Fp32),
            (with(true, Some(forgetful)), KernelSpeed::Fast, Precision::Fp32),
            (with(true, None), KernelSpeed::Fast, Precision::Fp32),
            (with(false, Some(FAITHFUL)), KernelSpeed::Fast, Precision::Fp32),
        ] {
            assert_eq!(chosen(auto, &manifest, speed), expected, "{manifest:?} {speed:?}");
        }
    }

    /// Whoever asks for one of them has reasons, and a silent exchange would change vectors under an index.
    #[test]
    fn what_is_asked_for_is_given_or_refused_by_name() {
        let manifest = manifest_with(true);
        assert_eq!(chosen(PrecisionSetting::Int8, &manifest, KernelSpeed::Slow), Precision::Int8);
        assert_eq!(chosen(PrecisionSetting::Fp32, &manifest, KernelSpeed::Fast), Precision::Fp32);
        let refused = "the repository ships an ONNX file".to_owned();
        let manifest = Manifest { int8_refused: Some(refused), ..manifest_with(false) };
        let error = choose(PrecisionSetting::Int8, &manifest, KernelSpeed::Fast).unwrap_err();
        assert_eq!(
            error.to_string(),
            "precision int8 is not possible for this model: the repository ships an ONNX file; set precision fp32 or auto"
        );
        let older = choose(PrecisionSetting::Int8, &manifest_with(false), KernelSpeed::Fast).unwrap_err();
        assert!(older.to_string().contains("has no model.int8, as an older version made it"), "{older}");
    }
}
