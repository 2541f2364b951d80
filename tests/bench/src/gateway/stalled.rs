//! Clients that hold on to their connections and send next to nothing.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Opens `count` connections: half of them never finish a head, half never finish a body.
pub(crate) async fn connections(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let mut open = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream =
            TcpStream::connect(address).await.context("failed to open a connection that stalls")?;
        let beginning: &[u8] = if number % 2 == 0 {
            b"POST /_inference/busy HTTP/1.1\r\nHost: bench\r\nX-"
        } else {
            b"POST /_inference/busy HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{"
        };
        stream.write_all(beginning).await?;
        open.push(stream);
    }
    Ok(open)
}
