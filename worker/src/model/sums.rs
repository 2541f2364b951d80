//! `SHA256SUMS`, as `sha256sum` writes it: the file list of a place that has no listing of its own, and the hashes of one that has
//! no hashes. PURE.

use crate::model::source::is_sha256;

pub const SUMS_FILE: &str = "SHA256SUMS";
pub const MAX_SUMS_BYTES: u64 = 1024 * 1024;

/// Name and sha256 of each file; an error says which line is none.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut files = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = line.split_once(' ').and_then(|(sum, name)| {
            let name = name.strip_prefix([' ', '*']).unwrap_or(name).trim_end();
            let name = name.strip_prefix("./").unwrap_or(name);
            (is_sha256(sum) && !name.is_empty()).then(|| (name.to_owned(), sum.to_owned()))
        });
        files.push(entry.ok_or_else(|| format!("line {} is no sha256 and name", number + 1))?);
    }
    if files.is_empty() {
        return Err("it names no file".to_owned());
    }
    Ok(files)
}

/// The text that `sha256sum --check` reads.
pub fn format<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    files.into_iter().flat_map(|(name, sha256)| [sha256, "  ", name, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sha256sum_writes_is_read_and_a_login_page_is_not() {
        let sum = "0b".repeat(32);
        let text = format!("{sum}  config.json\n{sum} *onnx/model.onnx\n# a comment\n\n{sum}  ./a b\n");
        let names: Vec<_> = parse(&text).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["config.json", "onnx/model.onnx", "a b"]);
        for text in ["", "<html>", "abc  config.json", &sum, &format!("{sum}  \n")] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
