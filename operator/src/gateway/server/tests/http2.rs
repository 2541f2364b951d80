//! HTTP/2 is not spoken: a connection that begins with it is refused once and ended, whatever frames follow. So there is nothing for rapid
//! resets, floods of CONTINUATION frames or header bombs to work on.

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Far above what a server of HTTP/2 may be asked at once.
const MANY: u32 = 2000;

const DATA_END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

#[derive(Clone, Copy)]
enum Frame {
    Headers = 1,
    ResetStream = 3,
    Settings = 4,
    Continuation = 9,
}

fn frame(kind: Frame, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind as u8, flags], &stream.to_be_bytes(), payload].concat()
}

/// `:method: GET`, `:scheme: http`, `:path: /` out of the static table.
const HEADERS: &[u8] = &[0x82, 0x86, 0x84];

fn rapid_resets() -> Vec<u8> {
    let cancelled = |stream| {
        let asked = frame(Frame::Headers, DATA_END_STREAM | END_HEADERS, stream, HEADERS);
        [asked, frame(Frame::ResetStream, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    (0..MANY).flat_map(|number| cancelled(2 * number + 1)).collect()
}

fn continuation_flood() -> Vec<u8> {
    let field = [&[0x00, 0x01, b'x', 0x01, b'y'][..]; 20].concat();
    let more = (0..MANY).flat_map(|_| frame(Frame::Continuation, 0, 1, &field));
    frame(Frame::Headers, DATA_END_STREAM, 1, HEADERS).into_iter().chain(more).collect()
}

/// A field of 4,000 bytes goes into the dynamic table, and each byte after it stands for all of them.
fn header_bomb() -> Vec<u8> {
    // `x: yyy...` with indexing; the length by seven bits and the rest in two more bytes.
    let field = [&[0x40, 0x01, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4000]].concat();
    let block = [HEADERS, &field, &[0xbe; 10_000]].concat();
    frame(Frame::Headers, DATA_END_STREAM | END_HEADERS, 1, &block)
}

#[tokio::test]
async fn attacks_by_http2_meet_nobody_who_speaks_it() {
    let site = Site::start(&[]).await;
    for (name, attack) in [
        ("rapid resets", rapid_resets()),
        ("CONTINUATION flood", continuation_flood()),
        ("header bomb", header_bomb()),
    ] {
        let attack = [PREFACE, &frame(Frame::Settings, 0, 0, &[]), &attack].concat();
        let answer = site.say(&attack).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{name}: {answer}");
        assert_eq!(answer.matches("x-elastic-product").count(), 1, "{name}: {answer}");
        assert!(is_served(&mut site.connect().await).await, "{name}");
    }
}

/// The other way into HTTP/2 without TLS.
#[tokio::test]
async fn a_wish_to_change_to_http2_is_passed_over() {
    let site = Site::start(&[]).await;
    let head = "GET /_inference/articles HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let answer = site.say(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(answer.matches("x-elastic-product").count(), 1, "{answer}");
}
