//! Groups, with and without a name, those that look around, and those that switch flags. PURE.

use super::{Reader, Unreadable};
use crate::separator::flags::Flags;

/// What holds outside of a group again where it ends.
pub(super) struct Outer {
    pub(super) flags: Flags,
    pub(super) bounded: bool,
    /// Where the group begins if it looks around.
    pub(super) assertion: Option<usize>,
}

impl Reader {
    pub(super) fn open(&mut self) -> Result<String, Unreadable> {
        let start = self.out.len();
        let mut outer = Outer { flags: self.flags, bounded: self.bounded, assertion: None };
        let opening = if !self.take("?") {
            self.captures += 1;
            "(".to_owned()
        } else if let Some(kind) = [":", ">"].into_iter().find(|kind| self.take(kind)) {
            format!("(?{kind}")
        } else if let Some(kind) = ["=", "!"].into_iter().find(|kind| self.take(kind)) {
            outer.assertion = Some(start);
            format!("(?{kind}")
        } else if let Some(kind) = ["<=", "<!"].into_iter().find(|kind| self.take(kind)) {
            self.bounded = true;
            outer.assertion = Some(start);
            format!("(?{kind}")
        } else if self.take("<") {
            self.captures += 1;
            format!("(?<{}>", self.group_name()?)
        } else {
            return self.switch(outer);
        };
        self.groups.push(outer);
        Ok(opening)
    }

    pub(in crate::separator) fn group_name(&mut self) -> Result<String, Unreadable> {
        self.take_until('>')
            .filter(|name| name.starts_with(|first: char| first.is_ascii_alphabetic()))
            .filter(|name| name.chars().all(|character| character.is_ascii_alphanumeric()))
            .ok_or_else(|| {
                self.unreadable("a group's name is letters and digits, and [>] ends it; expected one")
            })
    }

    /// `(?i)` to the end of the enclosing group, or `(?i: )`.
    fn switch(&mut self, outer: Outer) -> Result<String, Unreadable> {
        let mut on = true;
        loop {
            match self.next() {
                Some('-') if on => on = false,
                Some('i') => self.flags.case_insensitive = on,
                Some('x') => self.flags.comments = on,
                Some('s') => self.flags.dot_all = on,
                Some('m') => self.flags.multi_line = on,
                Some('d') => self.flags.unix_lines = on,
                Some('U') => self.flags.unicode = on,
                // Case is folded for all of Unicode, asked or not.
                Some('u') => {}
                Some(end @ (')' | ':')) => {
                    if end == ':' {
                        self.groups.push(outer);
                    }
                    let case = if self.flags.case_insensitive { "i" } else { "-i" };
                    return Ok(format!("(?{case}{end}"));
                }
                Some(_) | None => return Err(self.unreadable("unknown kind of group")),
            }
        }
    }
}
