//! Waiting for a condition, with a deadline and a message that says what was last seen.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Asks again until `look` returns `Ok(Ok(value))`; `Ok(Err(seen))` means not yet. Fails after `limit` with what was last seen.
pub async fn until<T, S: Debug>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Result<T, S>>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        match look().await? {
            Ok(value) => return Ok(value),
            Err(seen) if begun.elapsed() > limit => {
                bail!("{what}: not within {limit:?}; last seen: {seen:#?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}

/// `until` for a yes or no.
pub async fn eventually(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    until(what, limit, async || Ok(if look().await? { Ok(()) } else { Err("not yet") })).await
}
