//! Strategy `recursive`: at the coarsest separator that makes pieces small enough, then at finer ones, then by sentences. PURE.

use std::ops::Range;

use crate::chunker::ChunkingFailed;
use crate::sentence::{self, Overlap, Sentences, shifted};
use crate::separator::Separator;
use crate::words::Words;

/// A piece that may still be too large, and the first separator to try on it.
struct Task {
    piece: Range<usize>,
    level: usize,
}

/// Done, or to be looked at again.
enum Step {
    Keep(Range<usize>),
    Cut(Task),
}

/// At least one piece. Looks at pieces from left to right with a stack of its own: what waits there never overlaps, so memory is
/// that of one text, however many separators there are.
pub(crate) fn cut(
    text: &str,
    max_words: usize,
    separators: &[Separator],
    go_on: &dyn Fn() -> bool,
) -> Result<Vec<Range<usize>>, ChunkingFailed> {
    let mut pieces = Vec::new();
    let mut steps = vec![Step::Cut(Task { piece: 0..text.len(), level: 0 })];
    while let Some(step) = steps.pop() {
        match step {
            Step::Keep(piece) => pieces.push(piece),
            Step::Cut(task) => {
                let first = steps.len();
                cut_once(text, task, max_words, separators, go_on, &mut steps)?;
                steps[first..].reverse();
            }
        }
    }
    Ok(pieces)
}

fn cut_once(
    text: &str,
    task: Task,
    max_words: usize,
    separators: &[Separator],
    go_on: &dyn Fn() -> bool,
    steps: &mut Vec<Step>,
) -> Result<(), ChunkingFailed> {
    let Task { piece, level } = task;
    let part = &text[piece.clone()];
    // Counted anew in the piece alone, where no word before its start is counted along.
    let words = Words::of(part);
    if words.count(0, part.len()) <= max_words {
        steps.push(Step::Keep(piece));
        return Ok(());
    }
    for (level, separator) in separators.iter().enumerate().skip(level) {
        let cuts = separator.cuts(part, go_on)?;
        if cuts.is_empty() {
            continue;
        }
        for merged in merge(&cuts, part.len(), &words, max_words) {
            let fits = words.count(merged.start, merged.end) <= max_words;
            let piece = shifted(&merged, piece.start);
            steps.push(if fits { Step::Keep(piece) } else { Step::Cut(Task { piece, level: level + 1 }) });
        }
        return Ok(());
    }
    let by_sentences = sentence::cut(part, &words, Sentences { max_words, overlap: Overlap::Nothing });
    steps.extend(by_sentences.iter().map(|found| Step::Keep(shifted(found, piece.start))));
    Ok(())
}

/// The pieces between `cuts`, each joined with those after it while they fit together.
fn merge(cuts: &[usize], end: usize, words: &Words, max_words: usize) -> Vec<Range<usize>> {
    let mut merged = Vec::new();
    let mut start = 0;
    for (index, &cut) in cuts.iter().enumerate() {
        let next_end = cuts.get(index + 1).copied().unwrap_or(end);
        if words.count(start, next_end) > max_words {
            merged.push(start..cut);
            start = cut;
        }
    }
    merged.push(start..end);
    merged
}
