//! When a stub worker answers, and with what.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use lexiscale_wire::LOAD_HEADER;

use crate::worker::{LASTING, Service};

const ANSWER: &str =
    r#"{"sparse_embedding":[{"is_truncated":false,"embedding":{"kubernetes":1.2345679,"pod":0.1}}]}"#;

pub(super) struct Stub {
    service: Service,
    /// When the last of those in turn is done.
    free_at: Cell<Instant>,
    /// Who came and is not answered.
    requests: Cell<usize>,
    /// Of one that has nothing left.
    alone: Bytes,
}

impl Stub {
    pub(super) fn new(service: Service) -> Self {
        Self {
            service,
            free_at: Cell::new(Instant::now()),
            requests: Cell::new(0),
            alone: Bytes::from(answer(0)),
        }
    }

    /// When a request is done that comes now.
    pub(super) fn takes(&self, body: &[u8], now: Instant) -> Result<Instant> {
        match self.service {
            Service::Fixed(time) => Ok(now + time),
            Service::InTurn => {
                self.requests.set(self.requests.get() + 1);
                self.free_at.set(now.max(self.free_at.get()) + service_time(body)?);
                Ok(self.free_at.get())
            }
        }
    }

    /// With what is left, as a worker tells it.
    pub(super) fn answer(&self) -> Bytes {
        match self.service {
            Service::Fixed(_) => self.alone.clone(),
            Service::InTurn => {
                self.requests.set(self.requests.get() - 1);
                Bytes::from(answer(self.requests.get()))
            }
        }
    }
}

fn answer(left: usize) -> String {
    let length = ANSWER.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{LOAD_HEADER}: {left}\r\ncontent-length: {length}\r\n\r\n{ANSWER}"
    )
}

fn service_time(body: &[u8]) -> Result<Duration> {
    let text = std::str::from_utf8(body)?;
    let (_, rest) = text.split_once(LASTING).context("the text does not say how long it takes")?;
    let digits = rest.split(' ').next().unwrap_or_default();
    Ok(Duration::from_micros(digits.parse()?))
}
