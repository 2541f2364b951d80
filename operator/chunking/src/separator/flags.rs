//! What a pattern switches for a part of itself, and what that makes of `.`, `^` and `$`. PURE.

/// Line ends of one character, but for the line feed.
const OTHER_LINE_ENDS: &str = r"\r\x{85}\x{2028}\x{2029}";

/// What a pattern can switch for a part of itself: `i`, `x`, `s`, `m`, `U` and `d`.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a letter of its own in the pattern")]
pub(super) struct Flags {
    pub(super) case_insensitive: bool,
    pub(super) comments: bool,
    pub(super) dot_all: bool,
    pub(super) multi_line: bool,
    pub(super) unicode: bool,
    pub(super) unix_lines: bool,
}

impl Flags {
    pub(super) fn any_character(self) -> String {
        if self.dot_all {
            "(?s:.)".to_owned()
        } else if self.unix_lines {
            r"[^\n]".to_owned()
        } else {
            format!(r"[^\n{OTHER_LINE_ENDS}]")
        }
    }

    /// `^`: of the text, or of a line that has something in it.
    pub(super) fn start(self) -> String {
        match (self.multi_line, self.unix_lines) {
            (false, _) => r"\A".to_owned(),
            (true, true) => r"(?:\A|(?<=\n)(?!\z))".to_owned(),
            (true, false) => {
                format!(r"(?:\A|(?!\z)(?:(?<=[\n{OTHER_LINE_ENDS}])(?<!\r)|(?<=\r)(?!\n)))")
            }
        }
    }

    /// `$`.
    pub(super) fn end(self) -> String {
        if self.multi_line { self.end_of_line() } else { self.end_of_text() }
    }

    fn end_of_line(self) -> String {
        if self.unix_lines {
            r"(?=\n|\z)".to_owned()
        } else {
            format!(r"(?=(?<!\r)\n|[{OTHER_LINE_ENDS}]|\z)")
        }
    }

    /// The end, or before a line end that is the last thing; never inside CR LF.
    pub(super) fn end_of_text(self) -> String {
        if self.unix_lines {
            r"(?=\n?\z)".to_owned()
        } else {
            format!(r"(?=(?:\r\n|(?<!\r)\n|[{OTHER_LINE_ENDS}])?\z)")
        }
    }
}
