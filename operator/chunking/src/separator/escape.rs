//! What follows a backslash, in Java's sense. PURE.

use super::java::{Reader, Unreadable, literal};

/// What a word is made of to `\w` and `\b`.
const WORD: &str = "0-9A-Za-z_";
const BLANK: &str = r"\t\n\x0B\x0C\r\x20";
const HORIZONTAL: &str = r"\x20\t\x{A0}\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}";
const VERTICAL: &str = r"\n\x0B\x0C\r\x{85}\x{2028}\x{2029}";

/// One member of a class, or an escape that stands for one character.
pub(super) enum Member {
    Character(char),
    /// A class of its own, brackets included.
    Set(String),
}

/// What follows a backslash outside of brackets.
pub(super) fn outside_class(reader: &mut Reader) -> Result<String, Unreadable> {
    let word = if reader.flags.unicode { r"\w" } else { WORD };
    if reader.take("b") {
        Ok(format!("(?:(?<=[{word}])(?![{word}])|(?<![{word}])(?=[{word}]))"))
    } else if reader.take("B") {
        Ok(format!("(?:(?<=[{word}])(?=[{word}])|(?<![{word}])(?![{word}]))"))
    } else if let Some(anchor) = ["A", "z", "G"].into_iter().find(|anchor| reader.take(anchor)) {
        Ok(format!(r"\{anchor}"))
    } else if reader.take("Z") {
        Ok(reader.flags.end_of_text())
    } else if reader.take("R") {
        // Java tries CR alone only where the line end is not repeated.
        let kind = if matches!(reader.peek(), Some('*' | '+' | '?' | '{')) { ">" } else { ":" };
        Ok(format!(r"(?{kind}\r\n|[{VERTICAL}])"))
    } else if reader.take("Q") {
        Ok(quoted(reader))
    } else if reader.take("k<") {
        Ok(format!(r"\k<{}>", reader.group_name()?))
    } else if let Some(digit @ '1'..='9') = reader.peek() {
        Ok(reference(reader, digit))
    } else {
        Ok(match member(reader)? {
            Member::Character(character) => literal(character),
            Member::Set(set) => set,
        })
    }
}

/// All up to `\E`, or to the end, stands for itself.
fn quoted(reader: &mut Reader) -> String {
    let mut out = String::new();
    while !reader.take("\\E") {
        let Some(character) = reader.next() else { break };
        out.push_str(&literal(character));
    }
    out
}

/// One digit, and as many more as there are groups for.
fn reference(reader: &mut Reader, first: char) -> String {
    reader.take(first.encode_utf8(&mut [0; 4]));
    let mut number = first.to_digit(10).unwrap_or_default();
    while let Some(digit) = reader.peek().and_then(|next| next.to_digit(10)) {
        let longer = number * 10 + digit;
        if usize::try_from(longer).is_ok_and(|longer| longer > reader.captures) {
            break;
        }
        number = longer;
        reader.next();
    }
    format!(r"(?:\{number})")
}

/// What follows a backslash in a class, and all that means the same outside.
pub(super) fn member(reader: &mut Reader) -> Result<Member, Unreadable> {
    let Some(character) = reader.next() else { return Err(reader.unreadable("nothing after the last [\\]")) };
    let not = if character.is_ascii_uppercase() { "^" } else { "" };
    let set = |members: &str| Ok(Member::Set(format!("[{not}{members}]")));
    Ok(Member::Character(match character {
        'd' | 'D' | 's' | 'S' | 'w' | 'W' if reader.flags.unicode => {
            return set(&format!(r"\{}", character.to_ascii_lowercase()));
        }
        'd' | 'D' => return set("0-9"),
        's' | 'S' => return set(BLANK),
        'w' | 'W' => return set(WORD),
        'h' | 'H' => return set(HORIZONTAL),
        'v' | 'V' => return set(VERTICAL),
        'p' | 'P' => return set(&property(reader)?),
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        'f' => '\x0C',
        'a' => '\x07',
        'e' => '\x1B',
        '0' => octal(reader)?,
        'x' => hexadecimal(reader)?,
        'u' => utf16(reader)?,
        'c' => control(reader)?,
        other if other.is_ascii_alphanumeric() => {
            return Err(reader.unreadable(format!("[\\{other}] is not offered")));
        }
        other => other,
    }))
}

fn control(reader: &mut Reader) -> Result<char, Unreadable> {
    let key = reader.next().and_then(|key| u8::try_from(key).ok()).filter(u8::is_ascii);
    key.map(|key| char::from(key ^ 0x40)).ok_or_else(|| reader.unreadable("no control character"))
}

/// One to three digits, at most 377.
fn octal(reader: &mut Reader) -> Result<char, Unreadable> {
    let mut value = None;
    for _ in 0..3 {
        let Some(digit) = reader.peek().and_then(|next| next.to_digit(8)) else { break };
        let longer = value.unwrap_or(0) * 8 + digit;
        if longer > 0o377 {
            break;
        }
        value = Some(longer);
        reader.next();
    }
    value.and_then(char::from_u32).ok_or_else(|| reader.unreadable("no octal number"))
}

fn digits(reader: &mut Reader, count: usize) -> Option<u32> {
    (0..count).try_fold(0, |value, _| Some(value * 16 + reader.next()?.to_digit(16)?))
}

fn hexadecimal(reader: &mut Reader) -> Result<char, Unreadable> {
    let value = if reader.take("{") {
        reader.take_until('}').and_then(|code| u32::from_str_radix(&code, 16).ok())
    } else {
        digits(reader, 2)
    };
    value.and_then(char::from_u32).ok_or_else(|| reader.unreadable("no character with that number"))
}

/// One unit of UTF-16, or two that are one character.
fn utf16(reader: &mut Reader) -> Result<char, Unreadable> {
    let unit = |reader: &mut Reader| digits(reader, 4).and_then(|unit| u16::try_from(unit).ok());
    let first = unit(reader);
    let second = first.filter(|first| (0xD800..0xDC00).contains(first) && reader.take("\\u"));
    let second = second.and_then(|_| unit(reader));
    let mut decoded = char::decode_utf16(first.into_iter().chain(second));
    match (decoded.next(), decoded.next()) {
        (Some(Ok(character)), None) => Ok(character),
        _ => Err(reader.unreadable("no character with that number")),
    }
}

/// The members of a property's class; a lone letter needs no braces.
fn property(reader: &mut Reader) -> Result<String, Unreadable> {
    let name = if reader.take("{") { reader.take_until('}') } else { reader.next().map(String::from) };
    let name = name.ok_or_else(|| reader.unreadable("unclosed property"))?;
    Ok(match name.as_str() {
        "Lower" => "a-z".to_owned(),
        "Upper" => "A-Z".to_owned(),
        "ASCII" => r"\x00-\x7F".to_owned(),
        "Alpha" => "A-Za-z".to_owned(),
        "Digit" => "0-9".to_owned(),
        "Alnum" => "0-9A-Za-z".to_owned(),
        "Punct" => r"\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E".to_owned(),
        "Graph" => r"\x21-\x7E".to_owned(),
        "Print" => r"\x20-\x7E".to_owned(),
        "Blank" => r"\x20\t".to_owned(),
        "Cntrl" => r"\x00-\x1F\x7F".to_owned(),
        "XDigit" => "0-9A-Fa-f".to_owned(),
        "Space" => BLANK.to_owned(),
        "L1" => r"\x{0}-\x{FF}".to_owned(),
        "LD" => r"\p{L}\p{Nd}".to_owned(),
        "all" => r"\x{0}-\x{10FFFF}".to_owned(),
        other if other.chars().all(|next| next.is_ascii_alphanumeric() || "_=".contains(next)) => {
            format!(r"\p{{{}}}", other.strip_prefix("Is").unwrap_or(other))
        }
        other => return Err(reader.unreadable(format!("[{other}] is no property"))),
    })
}
