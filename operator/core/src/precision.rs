//! Which arithmetic an endpoint's workers use. PURE.
//!
//! Decided here and told to every worker, not by each worker for itself: two nodes with different CPUs would else serve different
//! vectors from one endpoint.

use lexiscale_crds::{PrecisionSetting, ServedPrecision};

use crate::desired::ReadyCache;

/// What was asked for cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deployment.precision int8 is not possible: {reason}; set it to fp32 or auto")]
pub struct Unavailable {
    pub reason: String,
}

/// What is said of a cache that an older version made.
const OLDER: &str = "its ModelCache was made by an older version; delete that to have it made anew";

/// The cache as workers of this precision use it.
pub fn serve(asked: PrecisionSetting, cache: ReadyCache) -> Result<ReadyCache, Unavailable> {
    let int8 = cache.int8.as_ref();
    let precision = match asked {
        PrecisionSetting::Int8 => match int8 {
            Some(int8) if int8.available => ServedPrecision::Int8,
            Some(int8) => return Err(Unavailable { reason: int8.message.clone() }),
            None => return Err(Unavailable { reason: OLDER.to_owned() }),
        },
        PrecisionSetting::Auto if int8.is_some_and(|int8| int8.available && int8.automatic) => {
            ServedPrecision::Int8
        }
        PrecisionSetting::Auto | PrecisionSetting::Fp32 => ServedPrecision::Fp32,
    };
    let int8_memory = int8.and_then(|int8| u64::try_from(int8.memory_bytes?).ok());
    let memory_bytes = match precision {
        ServedPrecision::Fp32 => cache.memory_bytes,
        ServedPrecision::Int8 => int8_memory.or(cache.memory_bytes),
    };
    Ok(ReadyCache { precision, memory_bytes, ..cache })
}

#[cfg(test)]
mod tests {
    use lexiscale_crds::Int8Status;

    use super::*;
    use crate::settings::AccessMode;

    fn cache(int8: Option<(bool, bool)>) -> ReadyCache {
        ReadyCache {
            name: "cache".to_owned(),
            claim: "claim".to_owned(),
            access_mode: AccessMode::default(),
            digest: "sha256:0".to_owned(),
            memory_bytes: Some(400),
            precision: ServedPrecision::Fp32,
            int8: int8.map(|(available, automatic)| Int8Status {
                available,
                automatic,
                message: "because".to_owned(),
                memory_bytes: Some(150),
            }),
        }
    }

    #[test]
    fn auto_takes_int8_only_where_the_cache_says_that_it_may() {
        use {PrecisionSetting::*, ServedPrecision as Served};
        for (asked, int8, expected) in [
            (Auto, Some((true, true)), (Served::Int8, 150)),
            (Auto, Some((true, false)), (Served::Fp32, 400)),
            (Auto, Some((false, true)), (Served::Fp32, 400)),
            (Auto, None, (Served::Fp32, 400)),
            (Int8, Some((true, false)), (Served::Int8, 150)),
            (Fp32, Some((true, true)), (Served::Fp32, 400)),
        ] {
            let served = serve(asked, cache(int8)).unwrap();
            assert_eq!(
                (served.precision, served.memory_bytes),
                (expected.0, Some(expected.1)),
                "{asked:?} {int8:?}"
            );
        }
    }

    /// Served in fp32 instead, the vectors would be others than those that were asked for, and nobody would know.
    #[test]
    fn int8_is_refused_with_the_reason_where_there_is_none() {
        for (int8, reason) in [(Some((false, false)), "because"), (None, "older version")] {
            let error = serve(PrecisionSetting::Int8, cache(int8)).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
