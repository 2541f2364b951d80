//! Patterns as Java reads them, and the bounds on what they may cost.

use std::cell::Cell;

use lexiscale_chunking::{Chunker, ChunkingFailed, Separator};
use lexiscale_crds::SeparatorGroup;

use crate::texts::{P, group, offsets, pieces, recursive};

#[test]
fn what_can_match_nothing_cuts_and_goes_on() {
    assert_eq!(found("a😀b", "x*"), ["a", "😀", "b"]);
    for pattern in ["", "x*", "(?=a)", r"\b", "$", "^", r"\z", "(?:)", "|a", "😀?"] {
        let text = "aa bb 😀 cc";
        assert_eq!(pieces(text, &recursive(1, &[pattern])).concat(), text, "{pattern}");
    }
}

#[test]
fn a_bad_separator_is_named() {
    let bad = [
        "(",
        ")",
        "[",
        "[]",
        "a{",
        "a{,3}",
        "a{3,2}",
        "*a",
        r"\",
        r"\y",
        r"\p{Foo}",
        r"\p{InGreek}",
        "(?<n",
        "(?<=a+)b",
        "(?<!a{2,})b",
        r"\x{110000}",
        r"\uD800",
        "[b-a]",
        r"[a-\d]",
        "(?P<n>a)",
        "(?z)",
        r"(\w{1000}){1000}",
        r"\k<n>",
    ];
    for pattern in bad {
        let error = Separator::compile(pattern).unwrap_err().to_string();
        assert!(error.starts_with(&format!("invalid value [{pattern}] in [separators]: ")), "{error}");
        let of_settings = Chunker::new(&recursive(10, &["\n", pattern])).unwrap_err();
        assert_eq!(of_settings.to_string(), error);
    }
    let nested = "[".repeat(10_000);
    assert!(Separator::compile(&nested).is_err());
    assert!(Separator::compile(&"(".repeat(10_000)).is_err());
    assert!(Separator::compile(&("(".repeat(10_000) + &")".repeat(10_000))).is_err());
}

#[test]
fn classes_are_ascii_as_in_java() {
    let table = [
        (r"\s", "one two\u{a0}two", vec!["one", " two\u{a0}two"]),
        (r"\d", "one1two٣two", vec!["one", "1two٣two"]),
        (r"\W+", "one é", vec!["one", " é"]),
        (r"(?U)\s", "one two\u{a0}two", vec!["one", " two", "\u{a0}two"]),
        (r"\h", "one\u{a0}two", vec!["one", "\u{a0}two"]),
        (r"\v", "one\u{2028}two", vec!["one", "\u{2028}two"]),
        (r"\p{Punct}\p{Lower}", "one!two?Two", vec!["one", "!two?Two"]),
        (r"\p{IsGreek}+", "one αβγ two", vec!["one ", "αβγ two"]),
    ];
    for (pattern, text, expected) in table {
        assert_eq!(found(text, pattern), expected, "{pattern}");
    }
}

/// The pieces of `text` at `pattern`, before any is joined or cut again.
fn found(text: &str, pattern: &str) -> Vec<String> {
    let cuts = Separator::compile(pattern).unwrap().starts(text).unwrap();
    let mut pieces = Vec::new();
    let mut start = 0;
    for end in cuts.into_iter().chain([text.len()]) {
        pieces.push(text[start..end].to_owned());
        start = end;
    }
    pieces
}

#[test]
fn the_dot_stops_at_every_line_end_of_java() {
    assert_eq!(found("ax\nax\rax\u{85}ax\u{2028}axb", "x."), ["ax\nax\rax\u{85}ax\u{2028}a", "xb"]);
    assert_eq!(found("ax\nb", "(?s)x."), ["a", "x\nb"]);
    assert_eq!(found("ax\rbx\nc", "(?d)x."), ["a", "x\rbx\nc"]);
}

#[test]
fn anchors_are_the_ends_of_the_text_unless_asked_otherwise() {
    assert_eq!(found("a\na\na", "a$"), ["a\na\n", "a"]);
    assert_eq!(found("b\na\n", "a$"), ["b\n", "a\n"]);
    assert_eq!(found("b\na\r\n", "a$"), ["b\n", "a\r\n"]);
    assert_eq!(found("b\na\n\n", "a$"), ["b\na\n\n"]);
    assert_eq!(found("b\na\n", r"a\z"), ["b\na\n"]);
    assert_eq!(found("b\na\n", r"a\Z"), ["b\n", "a\n"]);
    assert_eq!(found("b\na\na", "^a"), ["b\na\na"]);
    assert_eq!(found("b\na\r\na", "(?m)^a"), ["b\n", "a\r\n", "a"]);
    assert_eq!(found("ba\r\na\nab", "(?m)a$"), ["b", "a\r\n", "a\nab"]);
}

#[test]
fn what_is_written_as_in_java_is_read_as_in_java() {
    let table = [
        (r"\Q.*\E", "a.b.*c", vec!["a.b", ".*c"]),
        (r"\uD83D\uDE00", "a😀b", vec!["a", "😀b"]),
        (r"\x{1F600}", "a😀b", vec!["a", "😀b"]),
        (r"\x2D", "a-b", vec!["a", "-b"]),
        (r"\055", "a-b", vec!["a", "-b"]),
        ("[a-c&&[^b]]", "xbxcx", vec!["xbx", "cx"]),
        ("[x[yz]]", "ayb", vec!["a", "yb"]),
        ("[]-]", "a]b-c", vec!["a", "]b", "-c"]),
        ("[^-~]b", "~bab", vec!["~b", "ab"]),
        ("[#--]", "a,b", vec!["a", ",b"]),
        (r"(a|b)\1", "abbx", vec!["a", "bbx"]),
        (r"(?<n>a|b)\k<n>", "abbx", vec!["a", "bbx"]),
        ("(?i)X", "axb", vec!["a", "xb"]),
        ("(?i:X)X", "axxXxX", vec!["ax", "xX", "xX"]),
        ("(?x) a b # c", "xab", vec!["x", "ab"]),
        ("a++b", "caab", vec!["c", "aab"]),
        ("(?>a+)b", "caab", vec!["c", "aab"]),
        (r"(?<=a{1,3})b", "aabx", vec!["aa", "bx"]),
        ("\n={3,}\n", "a\n===\nb", vec!["a", "\n===\nb"]),
        ("}", "a}b", vec!["a", "}b"]),
        (r"\<b\>", "a<b>", vec!["a", "<b>"]),
    ];
    for (pattern, text, expected) in table {
        assert_eq!(found(text, pattern), expected, "{pattern}");
    }
}

/// Underlined headings never split in the original, so they do not here; a separator that finds them does.
#[test]
fn underlined_headings_split_by_a_separator_of_ones_own_only() {
    let text = format!("{P}\nHeading\n---\n{P}\nOther\n===\n{P}");
    let sentences_only = recursive(12, &["never"]);
    assert_eq!(offsets(&text, &group(12, SeparatorGroup::Markdown)), offsets(&text, &sentences_only));
    let own = pieces(&text, &recursive(12, &[r"\n(?=[^\n]+\n[-=]+\n)"]));
    assert_eq!(own.len(), 3);
    assert!(own[1].starts_with("\nHeading") && own[2].starts_with("\nOther"), "{own:?}");
}

#[test]
fn a_pattern_that_tries_too_much_is_an_error_that_names_it() {
    let text = format!("{} {P}", "a".repeat(3000));
    let pattern = r"(?:(a|a)+)+(?!\1)!";
    let error = Chunker::new(&recursive(1, &[pattern])).unwrap().chunks(&text).unwrap_err();
    assert_eq!(error, ChunkingFailed::TooManySteps(pattern.to_owned()));
    assert!(error.to_string().contains(pattern), "{error}");
}

#[test]
fn a_caller_can_stop_between_two_searches() {
    let chunker = Chunker::new(&recursive(1, &["\n"])).unwrap();
    let text = "a b\n".repeat(1000);
    let left = Cell::new(10);
    let stopped = chunker.chunks_while(&text, &|| {
        left.set(left.get() - 1);
        left.get() > 0
    });
    assert_eq!(stopped, Err(ChunkingFailed::Stopped));
    assert_eq!(left.get(), 0);
}

/// Searches look at a part of the text at a time; no match may be lost or made up where parts meet.
#[test]
fn matches_are_found_wherever_they_stand() {
    for shift in [0, 1, 4094, 4095, 4096, 4097, 8190, 8191, 8192, 8193, 20_000] {
        let text = format!("{}\n\n{}", "é".repeat(shift), "b".repeat(9000));
        for pattern in ["\n\n", r"(?<!\n)\n\n(?!\n)", r"\n+", r"(?<=é|\A)\n", r"\s{2}"] {
            let cuts = Separator::compile(pattern).unwrap().starts(&text).unwrap();
            let expected = if shift == 0 { vec![] } else { vec![shift * 2] };
            assert_eq!(cuts, expected, "{pattern} after {shift}");
        }
        for pattern in [r"b\z", "b$", r"(?!\n)b(?!.)"] {
            let cuts = Separator::compile(pattern).unwrap().starts(&text).unwrap();
            assert_eq!(cuts, [text.len() - 1], "{pattern} after {shift}");
        }
    }
}
