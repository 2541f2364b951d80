//! A class in brackets, in Java's sense: nested classes are united, `&&` intersects, and a bracket or hyphen that can only be
//! a character is one. PURE.

use super::escape::{Member, member};
use super::java::{Reader, Unreadable, literal};

/// Classes within classes; nobody writes more, and reading them takes stack.
const DEEPEST: usize = 16;

/// What follows the opening bracket, with both brackets.
pub(super) fn read(reader: &mut Reader) -> Result<String, Unreadable> {
    nested(reader, DEEPEST)
}

fn nested(reader: &mut Reader, deeper: usize) -> Result<String, Unreadable> {
    let Some(deeper) = deeper.checked_sub(1) else {
        return Err(reader.unreadable(format!("classes nested more than {DEEPEST} deep")));
    };
    let mut out = String::from(if reader.take("^") { "[^" } else { "[" });
    let opening = out.len();
    loop {
        let Some(character) = reader.next() else { return Err(reader.unreadable("unclosed class")) };
        if reader.is_comment(character) {
            continue;
        }
        match character {
            ']' if out.len() > opening => {
                out.push(']');
                return Ok(out);
            }
            '[' => out.push_str(&nested(reader, deeper)?),
            // With nothing before it, Java reads over it.
            '&' if reader.take("&") => out.push_str(if out.len() > opening { "&&" } else { "" }),
            '\\' if reader.take("Q") => {
                while !reader.take("\\E") {
                    let quoted = reader.next().ok_or_else(|| reader.unreadable("unclosed class"))?;
                    out.push_str(&literal(quoted));
                }
            }
            '\\' => match member(reader)? {
                Member::Character(first) => range(reader, first, &mut out)?,
                Member::Set(set) => out.push_str(&set),
            },
            first => range(reader, first, &mut out)?,
        }
    }
}

/// One character, or the range that begins with it.
fn range(reader: &mut Reader, first: char, out: &mut String) -> Result<(), Unreadable> {
    out.push_str(&literal(first));
    if reader.peek() != Some('-') || matches!(reader.peek_second(), None | Some('[' | ']')) {
        return Ok(());
    }
    reader.next();
    let last = match reader.next() {
        Some('\\') => match member(reader)? {
            Member::Character(last) => Some(last),
            Member::Set(_) => None,
        },
        other => other,
    };
    match last.filter(|last| *last >= first) {
        Some(last) => {
            out.push('-');
            out.push_str(&literal(last));
            Ok(())
        }
        None => Err(reader.unreadable("a range that ends before it begins")),
    }
}
