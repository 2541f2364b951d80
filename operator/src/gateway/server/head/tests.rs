use lexiscale_fuzz::{Inputs, fuzz};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// What is passed on, and how it ended; fed by pieces of a size.
fn fed(text: &str, piece: usize) -> (String, Result<(), BadHead>, bool) {
    let mut requests = Requests::default();
    let mut output = BytesMut::new();
    let mut ended = Ok(());
    for piece in text.as_bytes().chunks(piece) {
        ended = ended.and(requests.feed(piece, &mut output));
    }
    (String::from_utf8(output.to_vec()).unwrap(), ended, requests.is_in_head())
}

#[test]
fn whole_requests_pass_unchanged_however_they_are_cut() {
    for text in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\na\nb\n\nGET /b HTTP/1.0\r\n\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
    ] {
        for piece in [1, 2, 7, 1000] {
            assert_eq!(fed(text, piece), (text.to_owned(), Ok(()), false), "{piece}");
        }
    }
}

#[test]
fn a_head_is_held_back_until_it_is_whole() {
    assert_eq!(fed("\r\nGET / HTTP/1.1\r\nhost: a\r\n", 100), (String::new(), Ok(()), true));
    assert_eq!(fed("\r\n", 1), (String::new(), Ok(()), false), "an empty line begins nothing");
}

#[test]
fn what_two_programs_could_read_differently_is_refused() {
    let table = [
        ("bare line feed", "GET / HTTP/1.1\nhost: a\n\n"),
        ("bare line feed in a field", "GET / HTTP/1.1\r\nx: a\nTransfer-Encoding: chunked\r\n\r\n"),
        ("bare carriage return", "GET / HTTP/1.1\r\nx: a\rb: c\r\n\r\n"),
        ("length and coding", "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("coding and length", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
        ("two lengths", "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"),
        ("a list of lengths", "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n"),
        ("a length with a sign", "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n"),
        ("no length", "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n"),
        ("two codings", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n"),
        (
            "coding twice",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("another coding", "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n"),
        ("space before a colon", "POST / HTTP/1.1\r\nContent-Length : 5\r\n\r\n"),
        ("folded field", "GET / HTTP/1.1\r\nx: a\r\n b\r\n\r\n"),
        ("field without colon", "GET / HTTP/1.1\r\nx\r\n\r\n"),
        ("NUL in a field", "GET / HTTP/1.1\r\nx: a\0b\r\n\r\n"),
        ("NUL in a target", "GET /\0 HTTP/1.1\r\n\r\n"),
        ("tab in the first line", "GET\t/ HTTP/1.1\r\n\r\n"),
        ("two spaces in the first line", "GET  / HTTP/1.1\r\n\r\n"),
        ("another version", "GET / HTTP/1.2\r\n\r\n"),
        ("no version", "GET /\r\n\r\n"),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n"),
        ("chunk extension", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n"),
        ("chunk of no size", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n"),
        ("chunk that ends bare", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n"),
        (
            "chunk of a huge size",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        ),
    ];
    for (name, text) in table {
        for piece in [1, 1000] {
            let (_, ended, _) = fed(text, piece);
            assert!(matches!(ended, Err(BadHead::Malformed { .. })), "{name}: {ended:?}");
        }
    }
}

#[test]
fn what_comes_behind_a_refused_head_is_not_read() {
    let (output, ended, _) = fed("GET / HTTP/1.1\nhost: a\n\nDELETE /_inference/a HTTP/1.1\r\n\r\n", 1);
    assert!(ended.is_err());
    assert_eq!(output.as_bytes(), STAND_IN);
}

#[test]
fn large_heads_and_many_fields_are_refused() {
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(LARGEST_HEAD));
    assert_eq!(fed(&large, 1000).1, Err(BadHead::TooLarge));
    let many = |fields| format!("GET / HTTP/1.1\r\n{}\r\n", "x: a\r\n".repeat(fields));
    assert_eq!(fed(&many(MOST_FIELDS), 1000).1, Ok(()));
    assert_eq!(fed(&many(MOST_FIELDS + 1), 1000).1, Err(BadHead::TooManyFields));
    let trailers = "x: a\r\n".repeat(LARGEST_HEAD);
    let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailers}");
    assert_eq!(fed(&text, 1000).1, Err(BadHead::TooLarge));
}

proptest! {
    /// Where the network cuts a stream is chance; an attacker chooses it.
    #[test]
    fn what_comes_through_does_not_depend_on_how_it_was_cut(
        parts in vec(select(PARTS), 0..24),
        piece in 1..20_usize,
    ) {
        let text = parts.concat();
        let (whole, whole_ended, whole_in_head) = fed(&text, text.len().max(1));
        let (cut, cut_ended, cut_in_head) = fed(&text, piece);
        prop_assert_eq!(&whole_ended, &cut_ended);
        if whole_ended.is_ok() {
            prop_assert_eq!((&whole, whole_in_head), (&cut, cut_in_head));
            prop_assert!(text.trim_start_matches("\r\n").starts_with(&whole) || text.contains("\r\n\r\n\r\n"));
        }
    }
}

/// What heads, bodies and attacks are made of.
const PARTS: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /a HTTP/1.1\r\n",
    "host: a\r\n",
    "Content-Length: 3\r\n",
    "content-length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r",
    "\n",
    " ",
    ":",
    "\0",
    "abc",
    "3\r\nabc\r\n",
    "0\r\n",
    "0\r\n\r\n",
    "x: y\r\n",
    "fffffffffffffff\r\n",
    ";",
];

/// Whatever comes over a connection, cut as it may be: it is refused for the same reason, or the same is passed on.
#[test]
fn any_head_gets_a_verdict() {
    let seeds = [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\na\nb\n\nGET /b HTTP/1.0\r\n\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\nA;x=y\r\n0123456789\r\n0\r\nx: y\r\n\r\n",
    ];
    let words = [
        "\r\n",
        "\n",
        "\r",
        "\0",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
        "ffffffffffffffff\r\n",
        ":",
        " ",
    ];
    fuzz(&Inputs::of_texts("head", &seeds, &words), |input| {
        let passed = |size: usize| {
            let (mut requests, mut output) = (Requests::default(), BytesMut::new());
            let ended: Vec<_> = input.chunks(size).map(|piece| requests.feed(piece, &mut output)).collect();
            (output, ended.into_iter().find(Result::is_err), requests.is_in_head())
        };
        let (whole, refused, is_in_head) = passed(input.len().max(1));
        for size in [1, 7] {
            let cut = passed(size);
            assert_eq!((&cut.1, cut.2), (&refused, is_in_head));
            // What is refused may have been passed on in part.
            assert!(refused.is_some() || cut.0 == whole, "{:?} and not {whole:?}", cut.0);
        }
    });
}
