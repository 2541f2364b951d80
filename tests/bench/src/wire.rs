//! As much of HTTP/1.1 as load and stubs need: messages of announced length, one after the other. A whole client would take
//! more of the core that load and stubs share than what they measure takes of the other.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEAD_END: &[u8] = b"\r\n\r\n";

pub(crate) struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

pub(crate) struct Message<B = Bytes> {
    head: B,
    pub(crate) body: B,
}

impl<B: AsRef<[u8]>> Message<B> {
    /// Of an answer.
    pub(crate) fn is_ok(&self) -> bool {
        self.head.as_ref().starts_with(b"HTTP/1.1 200 ")
    }

    /// Whether the sender ends the connection with it.
    pub(crate) fn closes(&self) -> bool {
        const CLOSE: &[u8] = b"connection: close";
        self.head.as_ref().windows(CLOSE.len()).any(|window| window.eq_ignore_ascii_case(CLOSE))
    }

    pub(crate) fn first_line(&self) -> String {
        let line = self.head.as_ref().split(|byte| *byte == b'\r').next().unwrap_or_default();
        String::from_utf8_lossy(line).into_owned()
    }
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("failed to connect to {address}"))?;
        Self::new(stream)
    }

    pub(crate) fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::new() })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// The answer to a request, which has to be 200.
    pub(crate) async fn answer(&mut self) -> Result<()> {
        match self.message().await? {
            Some(message) if message.is_ok() => Ok(()),
            Some(message) => bail!("answered {}", message.first_line()),
            None => bail!("the connection was closed before the answer"),
        }
    }

    /// None at the end of the connection.
    pub(crate) async fn message(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(message) = self.whole()? {
                return Ok(Some(message));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn whole(&mut self) -> Result<Option<Message>> {
        let Some((Message { head, body: _ }, end)) = message(&self.buffer)? else { return Ok(None) };
        let (head, body) = (head.len(), head.len() + HEAD_END.len());
        let whole = self.buffer.split_to(end).freeze();
        Ok(Some(Message { head: whole.slice(..head), body: whole.slice(body..) }))
    }
}

/// A message where it was received, and where it ends.
type Received<'a> = (Message<&'a [u8]>, usize);

/// The first message; none as long as it is not whole.
pub(crate) fn message(buffer: &[u8]) -> Result<Option<Received<'_>>> {
    let Some(end) = buffer.windows(HEAD_END.len()).position(|window| window == HEAD_END) else {
        return Ok(None);
    };
    let (head, rest) = (&buffer[..end], &buffer[end + HEAD_END.len()..]);
    let body = rest.get(..body_length(head)?);
    Ok(body.map(|body| (Message { head, body }, end + HEAD_END.len() + body.len())))
}

fn body_length(head: &[u8]) -> Result<usize> {
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        if line[..colon].eq_ignore_ascii_case(b"content-length") {
            return Ok(std::str::from_utf8(&line[colon + 1..])?.trim().parse()?);
        }
        if line[..colon].eq_ignore_ascii_case(b"transfer-encoding") {
            bail!("an answer of unknown length");
        }
    }
    Ok(0)
}

/// A request as it goes over the wire; GET without a body, POST with one.
pub(crate) fn request(address: SocketAddr, path: &str, body: &str) -> Bytes {
    let head = if body.is_empty() {
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n")
    } else {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    Bytes::from(head + body)
}
