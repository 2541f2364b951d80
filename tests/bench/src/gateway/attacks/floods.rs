//! Requests that have to be refused, one after the other at a rate that one client can keep up.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::wire::{Wire, request};

const PAUSE: Duration = Duration::from_millis(4);
/// Far above the 16 KiB of a head that are taken.
const LARGE: usize = 64 << 10;
/// Far above the 64 levels that are taken.
const DEEP: usize = 10_000;

#[derive(Clone, Copy)]
pub(super) struct Flood {
    pub(super) name: &'static str,
    /// In turns.
    requests: fn(SocketAddr) -> Vec<Bytes>,
    /// How each is answered.
    status: &'static str,
    /// Whether the connection ends with the answer.
    closes: bool,
}

pub(super) const FLOODS: [Flood; 3] = [
    Flood { name: "large_heads", requests: large_head, status: "HTTP/1.1 431 ", closes: true },
    Flood { name: "deep_json", requests: deep_json, status: "HTTP/1.1 400 ", closes: false },
    Flood { name: "smuggling", requests: smuggling, status: "HTTP/1.1 400 ", closes: true },
];

/// Heads that two programs could read differently, each with a request behind it that must never be carried out.
const AMBIGUOUS: [&str; 8] = [
    "POST /_inference/busy HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /_inference/busy HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "POST /_inference/busy HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "POST /_inference/busy HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "POST /_inference/busy HTTP/1.1\r\nhost: a\r\ncontent-length : 2\r\n\r\n{}",
    "GET / HTTP/1.1\nhost: a\n\n",
    "GET / HTTP/1.1\r\nhost: a\r\nx: b\r\n c\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
];

fn large_head(_: SocketAddr) -> Vec<Bytes> {
    vec![Bytes::from(format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(LARGE)))]
}

fn deep_json(address: SocketAddr) -> Vec<Bytes> {
    vec![request(address, "/_inference/busy", &format!(r#"{{"task_settings":{}1"#, r#"{"a":"#.repeat(DEEP)))]
}

fn smuggling(_: SocketAddr) -> Vec<Bytes> {
    let smuggled = "DELETE /_inference/busy HTTP/1.1\r\nhost: a\r\n\r\n";
    AMBIGUOUS.map(|ambiguous| Bytes::from(format!("{ambiguous}{smuggled}"))).to_vec()
}

impl Flood {
    /// Goes on until it is dropped, and fails as soon as one is not refused as it has to be.
    pub(super) async fn run<T>(self, address: SocketAddr, refused: &Cell<u32>) -> Result<T> {
        let requests = (self.requests)(address);
        let mut due = Instant::now();
        // They end with this.
        let mut asked = JoinSet::new();
        for request in requests.iter().cycle() {
            due += PAUSE;
            sleep_until(due).await;
            asked.spawn(self.ask(address, request.clone()));
            while let Some(done) = asked.try_join_next() {
                done??;
                refused.set(refused.get() + 1);
            }
        }
        bail!("{} ended", self.name)
    }

    async fn ask(self, address: SocketAddr, request: Bytes) -> Result<()> {
        let mut wire = Wire::connect(address).await?;
        // A head that is too large may be refused before all of it is sent.
        let sent = wire.send(&request).await;
        ensure!(sent.is_ok() || self.closes, "{}: the connection broke", self.name);
        match wire.message().await? {
            Some(answer) if answer.first_line().starts_with(self.status) => {}
            Some(answer) => bail!("{}: answered {}", self.name, answer.first_line()),
            None => bail!("{}: closed without an answer", self.name),
        }
        if self.closes
            && let Some(second) = wire.message().await?
        {
            bail!("{}: went on with {}", self.name, second.first_line());
        }
        Ok(())
    }
}
