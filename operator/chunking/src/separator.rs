//! A separator: a regular expression as Java reads it, and where it cuts a text. PURE.
//!
//! Work is bounded without a clock. A match is looked for in a window, so one search costs no more than the window and a
//! fixed number of steps back; between searches the caller is asked whether to go on.

mod class;
mod escape;
mod flags;
mod java;

use fancy_regex::{Regex, RegexBuilder, RegexInput};

use crate::chunker::ChunkingFailed;
use java::Unreadable;

/// A match begins at least this many bytes before its window ends, so it can be that long.
const REACH: usize = 4096;
/// The window behind a match, which adversaries can make as many as there are characters, and those further on, where each search
/// is paid for by the text that it leaves behind.
const FIRST_WINDOW: usize = 2 * REACH;
const NEXT_WINDOW: usize = 4 * REACH;
/// Steps back in one search. Ordinary patterns need a few for each byte of a window.
const MOST_STEPS: usize = 250_000;
/// Bytes of a compiled pattern; the Unicode classes of a long one fit.
const MOST_BYTES: usize = 1 << 20;

/// A separator that is no regular expression, or none that can be offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value [{pattern}] in [separators]: {reason}")]
pub struct InvalidSeparator {
    pattern: String,
    reason: String,
}

/// A compiled separator.
#[derive(Clone, Debug)]
pub struct Separator {
    pattern: String,
    regex: Regex,
}

impl Separator {
    /// Reads `pattern` as Java does: without flags, so `^` and `$` are the ends of the text and `.` stops at line ends, and with
    /// classes like `\s` in ASCII.
    pub fn compile(pattern: &str) -> Result<Self, InvalidSeparator> {
        let invalid = |reason: String| InvalidSeparator { pattern: pattern.to_owned(), reason };
        let translated = java::translate(pattern).map_err(|error: Unreadable| invalid(error.to_string()))?;
        let regex = RegexBuilder::new(&translated)
            .backtrack_limit(MOST_STEPS)
            .delegate_size_limit(MOST_BYTES)
            .delegate_dfa_size_limit(MOST_BYTES)
            // A window's end is not the text's: see `next_match`.
            .allow_input_assertion_overrides(true)
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        Ok(Self { pattern: pattern.to_owned(), regex })
    }

    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Bytes of `text` at which pieces begin, the first piece excepted.
    pub fn starts(&self, text: &str) -> Result<Vec<usize>, ChunkingFailed> {
        self.cuts(text, &|| true)
    }

    /// Where pieces begin, the first of them excepted: at the start of each match, in order. A search goes on behind the match before,
    /// and at least one character further.
    pub(crate) fn cuts(&self, text: &str, go_on: &dyn Fn() -> bool) -> Result<Vec<usize>, ChunkingFailed> {
        let mut cuts = Vec::new();
        let mut from = 0;
        let mut after = After::Match;
        while let Some((start, end)) = self.next_match(text, from, after, go_on)? {
            if start > cuts.last().copied().unwrap_or_default() && start < text.len() {
                cuts.push(start);
            }
            (from, after) = if end > start {
                (end, After::Match)
            } else {
                (after_character(text, end), After::Character)
            };
            if from > text.len() {
                break;
            }
        }
        Ok(cuts)
    }

    fn next_match(
        &self,
        text: &str,
        from: usize,
        after: After,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<(usize, usize)>, ChunkingFailed> {
        let mut window = from;
        loop {
            if !go_on() {
                return Err(ChunkingFailed::Stopped);
            }
            let length = if window == from { FIRST_WINDOW } else { NEXT_WINDOW };
            let end = text.floor_char_boundary(window.saturating_add(length));
            let is_last = end == text.len();
            // Cut at the front it is not: what stands before the window may decide.
            let input = RegexInput::new(&text[..end])
                .from_pos(window)
                .end_text(is_last)
                .continue_from_previous_match_end(window == from && after == After::Match);
            // Two limits can end a search, that of steps and that of the stack, and the same patterns meet both.
            let found = self
                .regex
                .find_input(input)
                .map_err(|_| ChunkingFailed::TooManySteps(self.pattern.clone()))?;
            let next_window = text.floor_char_boundary(end.saturating_sub(REACH));
            match found {
                Some(found) if is_last || found.start() < next_window => {
                    return Ok(Some((found.start(), found.end())));
                }
                None if is_last => return Ok(None),
                Some(_) | None => window = next_window,
            }
        }
    }
}

/// What a search begins behind: where the match before ended (or the text begins), which `\G` stands for, or one character further.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Match,
    Character,
}

/// Where the character after `position` ends; one more than the length at the end of the text.
fn after_character(text: &str, position: usize) -> usize {
    position + text[position..].chars().next().map_or(1, char::len_utf8)
}
