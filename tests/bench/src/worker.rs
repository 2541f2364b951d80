//! Stub workers on 127.0.0.1, so that what is measured is what stands before them.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Result;

use crate::engine::Engine;

#[derive(Clone, Copy)]
pub(crate) enum Service {
    /// Every request takes this long, any number side by side.
    Fixed(Duration),
    /// One request after the other, each for as long as its text says ([`lasting`]).
    InTurn,
}

/// Ends when it is dropped.
pub(crate) struct Worker {
    pub(crate) address: SocketAddr,
    stub: u64,
    engine: Engine,
}

impl Worker {
    pub(crate) fn start(engine: &Engine, service: Service) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        Ok(Self { address, stub: engine.listen(listener, service)?, engine: engine.clone() })
    }

    pub(crate) fn several(count: usize, engine: &Engine, service: Service) -> Result<Vec<Self>> {
        (0..count).map(|_| Self::start(engine, service)).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.engine.end(self.stub);
    }
}

/// How a text begins that says how long it takes.
pub(crate) const LASTING: &str = "it takes ";

/// The body of a request that keeps a worker busy for this long.
pub(crate) fn lasting(time: Duration) -> String {
    format!(r#"{{"input":"{LASTING}{} microseconds","input_type":"search"}}"#, time.as_micros())
}
