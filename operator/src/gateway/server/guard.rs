//! A connection as hyper sees it: only whole, well-formed heads come through, a head that has begun must end
//! soon, and an answer must be read. hyper's own timer cannot tell a head from the pause before it.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::head::{BadHead, Requests};

const READ_SIZE: usize = 8 << 10;
/// So long what a refused client still sends is thrown away before the connection closes: closing earlier
/// would reset it, and the client might lose the answer that says why.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) head: Duration,
    pub(crate) write: Duration,
}

pub(crate) struct Guarded<T> {
    io: T,
    requests: Requests,
    /// What was checked and not yet read by hyper.
    checked: BytesMut,
    refused: Arc<OnceLock<BadHead>>,
    patience: Patience,
    head_timer: Timer,
    write_timer: Timer,
    linger: Timer,
}

impl<T> Guarded<T> {
    /// `refused` is set when a head does not come through.
    pub(crate) fn new(io: T, patience: Patience, refused: Arc<OnceLock<BadHead>>) -> Self {
        Self {
            io,
            requests: Requests::default(),
            checked: BytesMut::new(),
            refused,
            patience,
            head_timer: Timer::default(),
            write_timer: Timer::default(),
            linger: Timer::default(),
        }
    }
}

/// A time that runs from when it is first asked for.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn stop(&mut self) {
        self.0 = None;
    }

    fn is_over(&mut self, after: Duration, context: &mut Context<'_>) -> bool {
        self.0.get_or_insert_with(|| Box::pin(sleep(after))).as_mut().poll(context).is_ready()
    }

    /// What is pending for too long is an error.
    fn bound<V>(
        &mut self,
        polled: Poll<io::Result<V>>,
        after: Duration,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<V>> {
        if polled.is_ready() {
            self.stop();
        } else if self.is_over(after, context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.checked.is_empty() {
                let length = this.checked.len().min(buffer.remaining());
                buffer.put_slice(&this.checked[..length]);
                this.checked.advance(length);
                if this.checked.is_empty() {
                    // A connection may wait for long before it needs this again.
                    this.checked = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            // Filling it with zeros first would take longer than reading what an ordinary request has.
            let mut bytes = [MaybeUninit::uninit(); READ_SIZE];
            let mut read = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut this.io).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {
                    if let Err(refusal) = this.requests.feed(read.filled(), &mut this.checked) {
                        // Set once: only the first is refused, the rest is not looked at.
                        let _ = this.refused.set(refusal);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if !this.requests.is_in_head() => {
                    this.head_timer.stop();
                    return Poll::Pending;
                }
                Poll::Pending => return this.head_timer.bound(Poll::Pending, this.patience.head, context),
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write(context, bytes);
        this.write_timer.bound(polled, this.patience.write, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write_vectored(context, slices);
        this.write_timer.bound(polled, this.patience.write, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_flush(context);
        this.write_timer.bound(polled, this.patience.write, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_shutdown(context);
        ready!(this.write_timer.bound(polled, this.patience.write, context))?;
        while this.requests.is_refused() {
            let mut bytes = [MaybeUninit::uninit(); READ_SIZE];
            let mut read = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut this.io).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() && !this.linger.is_over(LINGER, context) => {
                }
                Poll::Ready(_) => break,
                Poll::Pending if this.linger.is_over(LINGER, context) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Patience = Patience { head: Duration::from_secs(10), write: Duration::from_secs(30) };

    #[tokio::test(start_paused = true)]
    async fn time_runs_from_a_heads_first_byte_and_not_before() {
        let (mut client, server) = duplex(1024);
        let mut server = Guarded::new(server, PATIENCE, Arc::default());
        let began = Instant::now();
        let reading = tokio::spawn(async move { server.read_u8().await });
        tokio::time::sleep(Duration::from_secs(50)).await;
        client.write_all(b"G").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        client.write_all(b"E").await.unwrap();
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_is_given_up() {
        let (_client, server) = duplex(10);
        let mut server = Guarded::new(server, PATIENCE, Arc::default());
        let began = Instant::now();
        let error = server.write_all(&[0; 11]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_read_slowly_is_not() {
        let (mut client, server) = duplex(10);
        let mut server = Guarded::new(server, PATIENCE, Arc::default());
        let writing = tokio::spawn(async move { server.write_all(&[0; 100]).await });
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(29)).await;
            client.read_exact(&mut [0; 10]).await.unwrap();
        }
        writing.await.unwrap().unwrap();
    }
}
