//! Where requests begin and end on a connection, read more strictly than hyper does. Two programs that
//! disagree about that can be made to see different requests (request smuggling), so everything that a
//! standard leaves open is refused here before hyper sees it: bare line feeds, folded lines, lengths given
//! twice, a length beside a transfer coding. PURE: bytes in, bytes out.

use bytes::{BufMut, BytesMut};

use super::chunks::Chunks;

/// Of a whole head. Elasticsearch allows as much for the fields.
pub(super) const LARGEST_HEAD: usize = 16 << 10;
const MOST_FIELDS: usize = 100;

/// Why a head is not passed on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum BadHead {
    #[error("the head of the request is malformed: {why}")]
    Malformed { why: &'static str },
    #[error("the head of the request is larger than [{LARGEST_HEAD}] bytes, the most that is accepted")]
    TooLarge,
    #[error("the request has more than [{MOST_FIELDS}] header fields, the most that is accepted")]
    TooManyFields,
}

pub(super) const fn malformed(why: &'static str) -> BadHead {
    BadHead::Malformed { why }
}

/// What takes the place of a head that is refused, so that hyper asks for an answer and then closes. In the
/// place of a chunk's size it is a bad one, which hyper refuses by itself.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// The stream of a connection, cut into requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    state: State,
}

#[derive(Debug)]
enum State {
    /// Of the next request; empty between requests.
    Head(BytesMut),
    /// So many bytes are left.
    Body(u64),
    Chunks(Chunks),
    /// What follows is not looked at.
    Refused,
}

impl Default for State {
    fn default() -> Self {
        Self::Head(BytesMut::new())
    }
}

impl Requests {
    /// Whether a head has begun and not ended.
    pub(crate) fn is_in_head(&self) -> bool {
        matches!(&self.state, State::Head(head) if !head.is_empty())
    }

    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.state, State::Refused)
    }

    /// Moves what may be passed on from `input` to `output`; heads only once they are whole.
    pub(crate) fn feed(&mut self, mut input: &[u8], output: &mut BytesMut) -> Result<(), BadHead> {
        while !input.is_empty() {
            let taken = match self.step(input, output) {
                Ok(taken) => taken,
                Err(refusal) => {
                    self.state = State::Refused;
                    output.put_slice(STAND_IN);
                    return Err(refusal);
                }
            };
            input = &input[taken..];
        }
        Ok(())
    }

    /// How many bytes were taken: at least one.
    fn step(&mut self, input: &[u8], output: &mut BytesMut) -> Result<usize, BadHead> {
        match &mut self.state {
            State::Refused => Ok(input.len()),
            State::Body(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                output.put_slice(&input[..taken]);
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::default();
                }
                Ok(taken)
            }
            State::Head(head) => {
                let (taken, is_whole) = take_head(head, input)?;
                if is_whole {
                    let body = framing(head)?;
                    output.put_slice(head);
                    self.state = body;
                }
                Ok(taken)
            }
            State::Chunks(chunks) => {
                let (taken, is_over) = chunks.step(input)?;
                output.put_slice(&input[..taken]);
                if is_over {
                    self.state = State::default();
                }
                Ok(taken)
            }
        }
    }
}

/// Moves bytes of a head; says how many, and whether it is whole.
fn take_head(head: &mut BytesMut, input: &[u8]) -> Result<(usize, bool), BadHead> {
    head.reserve(input.len().min(LARGEST_HEAD - head.len()));
    let mut taken = 0;
    loop {
        taken += take_within_line(head, &input[taken..]);
        if head.len() >= LARGEST_HEAD {
            return Err(BadHead::TooLarge);
        }
        let Some(&byte) = input.get(taken) else { return Ok((taken, false)) };
        if (byte == b'\n') != (head.last() == Some(&b'\r')) {
            return Err(malformed("a line must end with carriage return and line feed, and hold neither"));
        }
        head.put_u8(byte);
        taken += 1;
        if byte == b'\n' {
            if head.as_ref() == b"\r\n" {
                // An empty line before a request is older clients' habit.
                head.clear();
            } else if head.ends_with(b"\r\n\r\n") {
                return Ok((taken, true));
            }
        }
    }
}

/// Moves what comes before the next line end, but no more than a head may have; says how many bytes. All at once: looked at one by one, the
/// heads of an attacker would take a core.
fn take_within_line(head: &mut BytesMut, input: &[u8]) -> usize {
    if head.last() == Some(&b'\r') {
        return 0;
    }
    let input = &input[..input.len().min(LARGEST_HEAD - head.len())];
    let within = input.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(input.len());
    head.put_slice(&input[..within]);
    within
}

/// What follows a head.
fn framing(head: &[u8]) -> Result<State, BadHead> {
    let lines = head[..head.len() - 4].split(|&byte| byte == b'\n');
    let mut lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    request_line(lines.next().unwrap_or_default())?;
    let (mut length, mut is_chunked, mut hosts, mut fields) = (None, false, 0, 0);
    for line in lines {
        fields += 1;
        if fields > MOST_FIELDS {
            return Err(BadHead::TooManyFields);
        }
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(number(value)?).is_some() {
                return Err(malformed("Content-Length is given twice"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(malformed("Transfer-Encoding must be chunked, once"));
            }
            is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
            if hosts > 1 {
                return Err(malformed("Host is given twice"));
            }
        }
    }
    match (length, is_chunked) {
        (Some(_), true) => Err(malformed("Content-Length and Transfer-Encoding exclude each other")),
        (None, true) => Ok(State::Chunks(Chunks::default())),
        (Some(0) | None, false) => Ok(State::default()),
        (Some(length), false) => Ok(State::Body(length)),
    }
}

fn request_line(line: &[u8]) -> Result<(), BadHead> {
    let parts: Vec<_> = line.split(|&byte| byte == b' ').collect();
    let [method, target, version] = parts.as_slice() else {
        return Err(malformed("the first line must be method, target and version, with single spaces"));
    };
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(malformed("the method is no token"));
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(malformed("the target must be printable ASCII"));
    }
    if !matches!(*version, b"HTTP/1.1" | b"HTTP/1.0") {
        return Err(malformed("the version must be HTTP/1.1 or HTTP/1.0"));
    }
    Ok(())
}

pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), BadHead> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(malformed("a header field must not be folded over lines"));
    }
    let colon = line.iter().position(|&byte| byte == b':').ok_or(malformed("a header field has no colon"))?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(malformed("a header field's name is no token, or has a space before its colon"));
    }
    if value.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
        return Err(malformed("a header field's value holds control characters"));
    }
    Ok((name, value))
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

fn number(value: &[u8]) -> Result<u64, BadHead> {
    let digits =
        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or(malformed("Content-Length is no number"))
}

#[cfg(test)]
mod tests;
