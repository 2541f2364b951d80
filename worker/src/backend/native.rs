//! The engine of our own behind the [`Backend`] trait.

use super::{Backend, BackendError, Lane};
use crate::model::verify::VerifiedModel;
use crate::precision::IntegerSpeed;

#[derive(Debug, thiserror::Error)]
#[error("failed to load the int8 model: {reason}")]
pub struct NativeError {
    reason: String,
}

pub fn integer_speed() -> IntegerSpeed {
    IntegerSpeed::Slow
}

pub struct NativeBackend {}

impl NativeBackend {
    pub fn load(_: &VerifiedModel, _: usize) -> Result<Self, NativeError> {
        Err(NativeError { reason: "not yet".to_owned() })
    }
}

impl Backend for NativeBackend {
    fn lane(&self) -> Result<Box<dyn Lane>, BackendError> {
        Err(BackendError { reason: "not yet".to_owned() })
    }
}
