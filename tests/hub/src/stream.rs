//! Sends a file from an offset, as slowly and as badly as asked.

use std::io::{Error, SeekFrom};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use futures::stream;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::faults::Fault;
use crate::repository::RepoFile;

const CHUNK: usize = 64 * 1024;

pub(crate) struct Delivery {
    pub(crate) start: u64,
    pub(crate) bytes_per_second: Option<u64>,
    /// Zeros at the end.
    pub(crate) more: u64,
    pub(crate) fault: Option<Fault>,
}

/// The offset of `Range: bytes=N-` where `If-Range` allows it and the file is longer than that.
pub(crate) fn requested_range(headers: &HeaderMap, tag: &str, size: u64) -> Option<u64> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_RANGE).is_some_and(|expected| expected != tag) {
        return None;
    }
    let start: u64 = text(header::RANGE)?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()?;
    (start < size).then_some(start)
}

pub(crate) async fn body(file: &RepoFile, delivery: Delivery) -> Result<Body, Error> {
    let mut content = File::open(&file.path).await?;
    content.seek(SeekFrom::Start(delivery.start)).await?;
    let state = Sending { content, sent: 0, delivery };
    Ok(Body::from_stream(stream::unfold(Some(state), |state| async { state?.next().await })))
}

struct Sending {
    content: File,
    sent: u64,
    delivery: Delivery,
}

impl Sending {
    async fn next(mut self) -> Option<(Result<Bytes, Error>, Option<Self>)> {
        let limit = match self.delivery.fault {
            Some(Fault::CutAfter(limit) | Fault::StallAfter(limit)) => limit.saturating_sub(self.sent),
            _ => u64::MAX,
        };
        match (&self.delivery.fault, limit) {
            (Some(Fault::CutAfter(_)), 0) => return Some((Err(Error::other("cut on purpose")), None)),
            (Some(Fault::StallAfter(_)), 0) => std::future::pending().await,
            _ => {}
        }
        let chunk = self.delivery.bytes_per_second.map_or(CHUNK, |speed| {
            // Ten steps a second, so that a slow download still moves smoothly.
            usize::try_from(speed / 10).unwrap_or(CHUNK).clamp(1, CHUNK)
        });
        let mut buffer = vec![0; usize::try_from(limit).unwrap_or(usize::MAX).min(chunk)];
        let count = match self.content.read(&mut buffer).await {
            Ok(0) if self.delivery.more > 0 => {
                let more = usize::try_from(std::mem::take(&mut self.delivery.more)).unwrap_or(usize::MAX);
                return Some((Ok(Bytes::from(vec![0; more])), Some(self)));
            }
            Ok(0) => return None,
            Ok(count) => count,
            Err(error) => return Some((Err(error), None)),
        };
        buffer.truncate(count);
        if self.delivery.fault == Some(Fault::FlippedByte) && self.sent == 0 {
            buffer[count / 2] ^= 0x20;
        }
        self.sent += u64::try_from(count).unwrap_or(u64::MAX);
        if let Some(speed) = self.delivery.bytes_per_second.filter(|speed| *speed > 0) {
            tokio::time::sleep(Duration::from_secs_f64(count as f64 / speed as f64)).await;
        }
        Some((Ok(Bytes::from(buffer)), Some(self)))
    }
}
