//! Clients that hold on to their connections and send next to nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::figures::Figures;

const IDLE: usize = 10_000;
const STALLED: usize = 2_000;
const TRICKLING: u32 = 1_000;
/// After so many bytes there is a pause: a timer for each byte would be the load's own work.
const GROUP: u32 = TRICKLING / 100;
/// Of each kind, whose end is waited for.
const WATCHED: usize = 20;
const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_mins(1);

const HEAD: &[u8] = b"POST /_inference/busy HTTP/1.1\r\nHost: bench\r\nX-";
const BODY: &[u8] =
    b"POST /_inference/busy HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{";

pub(super) async fn idle(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let mut open = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        open.push(begun(address, b"").await?);
    }
    Ok(open)
}

/// Half of them never finish a head, half never finish a body.
pub(super) async fn stalled(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let mut open = Vec::with_capacity(STALLED);
    for number in 0..STALLED {
        open.push(begun(address, if number % 2 == 0 { HEAD } else { BODY }).await?);
    }
    Ok(open)
}

/// To be carried on by [`trickle`].
pub(super) async fn trickling(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let mut open = Vec::new();
    for _ in 0..TRICKLING {
        open.push(begun(address, BODY).await?);
    }
    Ok(open)
}

/// A byte a second on each, until this is dropped.
pub(super) async fn trickle<T>(open: &mut [TcpStream]) -> Result<T> {
    let pause = SECOND / u32::try_from(open.len())?;
    loop {
        let round = Instant::now();
        for (number, stream) in (1..).zip(&mut *open) {
            stream.write_all(b" ").await?;
            if number % GROUP == 0 {
                sleep((pause * number).saturating_sub(round.elapsed())).await;
            }
        }
    }
}

async fn begun(address: SocketAddr, beginning: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await.context("failed to open a connection")?;
    stream.write_all(beginning).await?;
    Ok(stream)
}

/// How long such clients are borne: heads that do not end are closed without a word, bodies are answered 408.
pub(super) async fn until_cut(address: SocketAddr, figures: &mut Figures) -> Result<()> {
    let heads = try_join_all((0..WATCHED).map(|_| cut(address, HEAD, "")));
    let stalled = try_join_all((0..WATCHED).map(|_| cut(address, BODY, "HTTP/1.1 408 ")));
    let trickled = try_join_all((0..WATCHED).map(|_| cut_while_trickling(address)));
    let (heads, stalled, trickled) = tokio::try_join!(heads, stalled, trickled)?;
    for (name, times) in [("stalled_head", heads), ("stalled_body", stalled), ("trickling_body", trickled)] {
        let last = times.into_iter().max().unwrap_or_default();
        figures.add(format!("{name}_cut_after_s"), last.as_secs_f64());
    }
    Ok(())
}

async fn cut(address: SocketAddr, beginning: &[u8], answer: &str) -> Result<Duration> {
    let began = Instant::now();
    let mut stream = begun(address, beginning).await?;
    ended(&mut stream, answer).await?;
    Ok(began.elapsed())
}

async fn cut_while_trickling(address: SocketAddr) -> Result<Duration> {
    let began = Instant::now();
    let (mut from, mut to) = begun(address, BODY).await?.into_split();
    let trickles = async {
        // Ends when the other side does.
        while to.write_all(b" ").await.is_ok() {
            sleep(SECOND).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = ended(&mut from, "HTTP/1.1 408 ") => ended?,
        () = trickles => {}
    }
    Ok(began.elapsed())
}

/// Until the other side closes, which it does after this answer.
async fn ended(stream: &mut (impl AsyncReadExt + Unpin), answer: &str) -> Result<()> {
    let mut received = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut received)).await.context("it is never cut")?;
    ensure!(read.is_ok() || !received.is_empty() || answer.is_empty(), "it is cut without an answer");
    let received = String::from_utf8_lossy(&received);
    let fits = if answer.is_empty() { received.is_empty() } else { received.starts_with(answer) };
    ensure!(fits, "it is cut with {received}");
    Ok(())
}
