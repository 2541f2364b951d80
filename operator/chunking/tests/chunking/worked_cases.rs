//! Offsets of the original, case by case.

use lexiscale_crds::{ChunkingSettings, SeparatorGroup};

use crate::texts::{
    P, asked, four, group, none, numbers, offsets, pieces, recursive, sentence, started, word, x,
};

type Row = (String, ChunkingSettings, Vec<(usize, usize)>);

fn assert_table(table: Vec<Row>) {
    for (text, settings, expected) in table {
        assert_eq!(offsets(&text, &settings), expected, "{settings:?} of {text:?}");
    }
}

#[test]
fn words() {
    assert_table(vec![
        (" ".to_owned(), word(10, 5), vec![(0, 1)]),
        ("Won't you chunk".to_owned(), word(1, 0), vec![(0, 5), (5, 9), (9, 15)]),
        ("Won't you chunk".to_owned(), word(10, 0), vec![(0, 15)]),
        (numbers(11), word(10, 3), vec![(0, 19), (13, 23)]),
        (numbers(8), word(10, 5), vec![(0, 16)]),
        (numbers(22), word(10, 4), vec![(0, 19), (11, 37), (25, 55)]),
        (numbers(50), word(10, 2), vec![(0, 19), (15, 43), (37, 67), (61, 91), (85, 115), (109, 139)]),
        (numbers(30).trim_end().to_owned(), word(15, 3), vec![(0, 34), (25, 70), (61, 79)]),
        (
            "a-b c_d 3.14 1,000 user@example.com".to_owned(),
            word(1, 0),
            vec![(0, 1), (1, 3), (3, 7), (7, 12), (12, 18), (18, 23), (23, 35)],
        ),
    ]);
    assert_eq!(offsets(&numbers(73), &word(20, 4)).len(), 5);
    assert_eq!(offsets(&four(), &word(100, 0)).len(), 2);
}

#[test]
fn sentences() {
    assert_eq!(four().len(), 765);
    assert_table(vec![
        ("   ".to_owned(), sentence(100, 1), vec![(0, 3)]),
        (four(), sentence(100, 0), vec![(0, 332), (332, 765)]),
        (four(), sentence(200, 0), vec![(0, 765)]),
        (four(), sentence(70, 1), vec![(0, 332), (211, 622), (502, 765)]),
        (four(), sentence(120, 1), vec![(0, 684), (332, 765)]),
        (four(), sentence(500, 1), vec![(0, 765)]),
        (x(), sentence(40, 1), vec![(0, 42), (0, 112), (59, 129), (68, 186), (129, 203)]),
        (x(), sentence(40, 0), vec![(0, 42), (42, 129), (129, 203)]),
        (
            "alpha beta\ngamma delta\nepsilon zeta\neta theta".to_owned(),
            sentence(5, 0),
            vec![(0, 23), (23, 36), (36, 45)],
        ),
        (asked(1, 30, ". ") + &asked(2, 25, "."), sentence(40, 1), vec![(0, 172), (51, 282), (176, 313)]),
        ("Dr. Who met Mr. Smith. Fine.".to_owned(), sentence(3, 0), vec![(0, 4), (4, 16), (16, 28)]),
        (asked(1, 45, ". ") + "End.", sentence(20, 1), vec![(0, 110), (56, 176), (122, 242), (188, 266)]),
    ]);
}

#[test]
fn a_sentence_is_repeated_where_both_fit() {
    let text: String = (0..5).map(|index| started(index, 49)).collect();
    let pieces = pieces(&text, &sentence(100, 1));
    assert_eq!(pieces.len(), 4);
    for (index, piece) in pieces.into_iter().enumerate() {
        assert!(piece.starts_with(&format!("SStart{index} ")), "{piece}");
        assert!(piece.trim_end().ends_with('.'), "{piece}");
    }
}

#[test]
fn separators() {
    const SINGLE_FIRST: [&str; 2] = [r"(?<!\n)\n(?!\n)", r"(?<!\n)\n\n(?!\n)"];
    let plaintext = |size| group(size, SeparatorGroup::Plaintext);
    assert_table(vec![
        ("x".to_owned(), recursive(10, &["\t", "#"]), vec![(0, 1)]),
        (format!("{P}\t{P}\t{P}"), recursive(20, &["\t", "#"]), vec![(0, 107), (107, 161)]),
        (
            format!("{P}{P}\t{P}{P}"),
            recursive(10, &["\t", "#"]),
            vec![(0, 53), (53, 106), (106, 160), (160, 213)],
        ),
        (
            format!("{P}\n{P}\n{P}\n\n{P}"),
            recursive(10, &SINGLE_FIRST),
            vec![(0, 53), (53, 107), (107, 161), (161, 216)],
        ),
        (format!("{P}\n\n{P}\n{P}\n\n{P}"), plaintext(20), vec![(0, 53), (53, 162), (162, 217)]),
        (
            format!("{P}{P}\n\n{P}{P}"),
            recursive(10, &["\n\n", "\n"]),
            vec![(0, 53), (53, 106), (106, 107), (107, 161), (161, 214)],
        ),
        (format!("{P}\n\n\n{P}\n{P}"), plaintext(10), vec![(0, 56), (56, 109), (109, 163)]),
        (
            format!("# T\n{P}\n## A\n{P}\n## B\n{P}"),
            group(12, SeparatorGroup::Markdown),
            vec![(0, 57), (57, 116), (116, 175)],
        ),
    ]);
}

#[test]
fn no_chunking_is_one_chunk_of_all() {
    for text in ["", " ", "a", "a😀b"] {
        assert_eq!(offsets(text, &none()), [(0, text.encode_utf16().count())], "{text:?}");
    }
}

#[test]
fn an_empty_text_is_one_empty_chunk_under_every_strategy() {
    let plaintext = group(10, SeparatorGroup::Plaintext);
    for settings in [word(10, 5), sentence(20, 0), sentence(20, 1), plaintext, none()] {
        assert_eq!(offsets("", &settings), [(0, 0)], "{settings:?}");
    }
}

#[test]
fn offsets_count_utf_16_units_and_pieces_keep_characters_whole() {
    let text = "😀 one 👩‍👩‍👧 two é three";
    assert_eq!(pieces(text, &word(1, 0)), ["😀 one", " 👩‍👩‍👧 two", " é", " three"]);
    assert_eq!(offsets(text, &word(1, 0)), [(0, 6), (6, 19), (19, 21), (21, 27)]);
    assert_eq!(pieces("漢字かな、カナ。次の文。", &sentence(2, 0)).concat(), "漢字かな、カナ。次の文。");
    assert_eq!(pieces("สวัสดีครับ", &word(1, 0)), ["สวัสดี", "ครับ"]);
}

#[test]
fn a_line_end_of_two_characters_is_one() {
    let text = "one two\r\nthree four\r\nfive six";
    assert_eq!(pieces(text, &sentence(3, 0)), ["one two\r\n", "three four\r\n", "five six"]);
    assert_eq!(pieces(text, &word(2, 0)), ["one two", "\r\nthree four", "\r\nfive six"]);
    assert_eq!(pieces(text, &recursive(2, &[r"\R"])), ["one two", "\r\nthree four", "\r\nfive six"]);
}

#[test]
fn text_behind_the_last_full_chunk_is_in_none() {
    assert_eq!(pieces("one two three four!!", &word(2, 0)), ["one two", " three four"]);
    assert_eq!(pieces("one two three!!", &word(2, 0)), ["one two", " three!!"]);
}
