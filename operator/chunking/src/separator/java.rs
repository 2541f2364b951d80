//! From Java's regular expressions to those of the engine: what both write alike but mean differently is written out. PURE.
//!
//! Java's classes are ASCII, `.` stops at five line ends and not at one, `$` also stands before a last line end, and a bare brace
//! is an error. What the engine knows and Java does not is refused by not being passed on.

mod group;

use self::group::Outer;
use super::flags::Flags;
use super::{class, escape};

/// A pattern that Java would refuse, or that says something that is not offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at character {at}")]
pub(super) struct Unreadable {
    what: String,
    at: usize,
}

pub(super) struct Reader {
    pattern: Vec<char>,
    position: usize,
    pub(super) flags: Flags,
    /// Inside a look-behind: what repeats without end is refused, as in Java.
    bounded: bool,
    /// Right behind a repetition, where Java and the engine read another one differently.
    repeated: bool,
    /// Where in `out` the element before begins, if it takes no characters.
    assertion: Option<usize>,
    groups: Vec<Outer>,
    /// Groups so far that capture; decides how many digits a reference has.
    pub(super) captures: usize,
    out: String,
}

pub(super) fn translate(pattern: &str) -> Result<String, Unreadable> {
    let mut reader = Reader {
        pattern: pattern.chars().collect(),
        position: 0,
        flags: Flags::default(),
        bounded: false,
        repeated: false,
        assertion: None,
        groups: Vec::new(),
        captures: 0,
        out: String::new(),
    };
    while let Some(character) = reader.next() {
        reader.element(character)?;
    }
    if reader.groups.is_empty() { Ok(reader.out) } else { Err(reader.unreadable("unclosed group")) }
}

/// A character that stands for itself, in a class or outside.
pub(super) fn literal(character: char) -> String {
    if character.is_ascii_alphanumeric() || !character.is_ascii() {
        character.to_string()
    } else {
        format!(r"\x{{{:X}}}", u32::from(character))
    }
}

/// Moving over the pattern.
impl Reader {
    pub(super) fn peek(&self) -> Option<char> {
        self.pattern.get(self.position).copied()
    }

    pub(super) fn peek_second(&self) -> Option<char> {
        self.pattern.get(self.position + 1).copied()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.position += 1;
        Some(character)
    }

    /// Takes `text` if it is what comes next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let length = text.chars().count();
        let found = self.pattern[self.position..].iter().copied().take(length).eq(text.chars());
        if found {
            self.position += length;
        }
        found
    }

    /// The characters before `end`, which is taken too.
    pub(super) fn take_until(&mut self, end: char) -> Option<String> {
        let rest = &self.pattern[self.position..];
        let length = rest.iter().position(|character| *character == end)?;
        let taken = rest[..length].iter().collect();
        self.position += length + 1;
        Some(taken)
    }

    pub(super) fn unreadable(&self, what: impl Into<String>) -> Unreadable {
        Unreadable { what: what.into(), at: self.position }
    }

    /// Whether `character` is a blank or starts a comment, where those do not count; a comment is passed over.
    pub(super) fn is_comment(&mut self, character: char) -> bool {
        if !self.flags.comments {
            return false;
        }
        if character == '#' {
            while self.next().is_some_and(|next| next != '\n') {}
        }
        character == '#' || character.is_ascii_whitespace() || character == '\x0B'
    }
}

/// Writing out.
impl Reader {
    fn element(&mut self, character: char) -> Result<(), Unreadable> {
        if self.is_comment(character) {
            return Ok(());
        }
        let repeats = matches!(character, '*' | '+' | '?' | '{');
        if repeats && self.repeated {
            return Err(self.unreadable("a repetition of a repetition; put the first in a group"));
        }
        self.repeated = repeats;
        let start = self.out.len();
        let assertion = self.assertion.take();
        let translated = match character {
            '\\' => {
                let is_assertion = matches!(self.peek(), Some('b' | 'B' | 'A' | 'z' | 'Z' | 'G'));
                self.assertion = is_assertion.then_some(start);
                escape::outside_class(self)?
            }
            '[' => class::read(self)?,
            '.' => self.flags.any_character(),
            '^' => {
                self.assertion = Some(start);
                self.flags.start()
            }
            '$' => {
                self.assertion = Some(start);
                self.flags.end()
            }
            '(' => self.open()?,
            ')' => {
                let outer = self.groups.pop().ok_or_else(|| self.unreadable("unmatched [)]"))?;
                (self.flags, self.bounded, self.assertion) = (outer.flags, outer.bounded, outer.assertion);
                ")".to_owned()
            }
            '|' => "|".to_owned(),
            '*' | '+' | '?' | '{' => self.repetition(character, assertion)?,
            other => literal(other),
        };
        self.out.push_str(&translated);
        Ok(())
    }

    fn repetition(&mut self, sign: char, assertion: Option<usize>) -> Result<String, Unreadable> {
        let (least, counts) = match sign {
            '*' | '+' if self.bounded => return Err(self.endless()),
            '{' => self.counted()?,
            '+' => (1, sign.to_string()),
            other => (0, other.to_string()),
        };
        let mode = self.mode();
        // The engine repeats no assertion. Once is as good as often, and none the same as either way.
        match assertion {
            Some(start) if least == 0 => {
                self.out.insert_str(start, "(?:");
                Ok("|)".to_owned())
            }
            Some(_) => Ok(String::new()),
            None => Ok(counts + mode),
        }
    }

    fn endless(&self) -> Unreadable {
        self.unreadable("a look-behind without a greatest length")
    }

    /// `{n}`, `{n,}` or `{n,m}`. The numbers are read and written anew, so nothing else gets through.
    fn counted(&mut self) -> Result<(u32, String), Unreadable> {
        let counts = self.take_until('}').ok_or_else(|| self.unreadable("unclosed counted repetition"))?;
        let number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok());
        let wrong = || format!("[{{{counts}}}] is no counted repetition");
        let (least, most) = counts.split_once(',').unwrap_or((&counts, &counts));
        let least = number(least).flatten().ok_or_else(|| self.unreadable(wrong()))?;
        if most.is_empty() {
            if self.bounded {
                return Err(self.endless());
            }
            return Ok((least, format!("{{{least},}}")));
        }
        let most = number(most).flatten().filter(|most| *most >= least);
        let most = most.ok_or_else(|| self.unreadable(wrong()))?;
        Ok((least, format!("{{{least},{most}}}")))
    }

    /// Reluctant or possessive.
    fn mode(&mut self) -> &'static str {
        if self.take("?") {
            "?"
        } else if self.take("+") {
            "+"
        } else {
            ""
        }
    }
}
