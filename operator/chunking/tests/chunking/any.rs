//! Any settings and any text, as bytes.

use lexiscale_chunking::Chunker;
use lexiscale_crds::ChunkingSettings;
use lexiscale_fuzz::{Inputs, fuzz};

/// Settings as JSON on the first line, the text below it.
#[test]
fn any_text_under_any_settings_gets_a_verdict() {
    let seeds = [
        "{\"strategy\":\"sentence\",\"maxChunkSize\":20,\"sentenceOverlap\":1}\nOne sentence. Another one! 漢字かな。カタカナ 3.14, e.g. this?",
        "{\"strategy\":\"word\",\"maxChunkSize\":10,\"overlap\":5}\nภาษาไทยสวัสดี 😀👩‍👩‍👧 a\u{301}b don't",
        "{\"strategy\":\"recursive\",\"maxChunkSize\":5,\"separatorGroup\":\"markdown\"}\n# One\n\ntext of it\n## Two\n- a\n",
        "{\"strategy\":\"recursive\",\"maxChunkSize\":5,\"separators\":[\"(?<!\\\\n)\\\\n\",\"[a-c&&[^b]]\",\"\\\\Qx\\\\E\"]}\na\nb x c",
    ];
    let words = [
        "\"maxChunkSize\":",
        "-1",
        "2147483647",
        "\"(a+)+$\"",
        "\\\\p{L}",
        "(?i)",
        "\\\\b",
        "\u{2029}",
        "\r\n",
        "...",
        "\"\"",
        "\u{200d}",
    ];
    fuzz(&Inputs::of_texts("chunker", &seeds, &words), |input| {
        let input = String::from_utf8_lossy(input);
        let (settings, text) = input.split_once('\n').unwrap_or((&input, ""));
        let Ok(settings) = serde_json::from_str::<ChunkingSettings>(settings) else { return };
        let Ok(chunker) = Chunker::new(&settings) else { return };
        let Ok(chunks) = chunker.chunks(text) else { return };
        assert_eq!(chunks[0].start, 0);
        let units: Vec<u16> = text.encode_utf16().collect();
        for chunk in &chunks {
            let by_units = String::from_utf16(&units[chunk.start..chunk.end]).unwrap();
            assert_eq!(by_units, chunk.of(text));
        }
        for pair in chunks.windows(2) {
            assert!(pair[0].start <= pair[1].start && pair[0].end <= pair[1].end, "{pair:?}");
        }
    });
}
