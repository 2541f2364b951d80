//! Mode `elasticsearch` against its specification: the cases with numbers, each quirk by its name, a second implementation.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail by panic; clippy's own switch does not reach this directory"
)]

mod agreement;
mod cases;
mod chance;
mod properties;
mod quirks;
mod reference;
mod scaler;
