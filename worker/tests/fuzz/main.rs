//! Readers of strangers' files and texts, given ever new ones (see the crate `lexiscale-fuzz`). Readers that only their module knows have
//! their test there.
#![expect(clippy::unwrap_used, reason = "clippy's switch for tests does not reach helpers of test crates")]

mod files;
mod packed;
mod texts;
