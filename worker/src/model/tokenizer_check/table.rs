//! The table of replacements that SentencePiece compiles, a trie in two arrays. The library allocates whatever size it announces
//! and follows its jumps without looking. PURE.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::parts::PartsError;

/// The largest one in use has some 240 KiB.
const MAX_ENCODED_BYTES: usize = 4 * 1024 * 1024;

pub(super) fn check(encoded: &str) -> Result<(), PartsError> {
    let corrupt = |reason| PartsError::Table { reason };
    if encoded.len() > MAX_ENCODED_BYTES {
        return Err(corrupt("it is too large"));
    }
    let bytes = STANDARD.decode(encoded).map_err(|_| corrupt("it is not base64"))?;
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| corrupt("it is too short"))?;
    let trie_bytes = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
    if !trie_bytes.is_multiple_of(4) || trie_bytes == 0 || trie_bytes > rest.len() {
        return Err(corrupt("its trie is not of the size that it announces"));
    }
    let (trie, replacements) = rest.split_at(trie_bytes);
    let replacements =
        std::str::from_utf8(replacements).map_err(|_| corrupt("its replacements are not text"))?;
    let (words, _) = trie.as_chunks::<4>();
    let units: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    walk(&units, replacements).map_err(corrupt)
}

/// Goes through every node that a text can lead to.
fn walk(units: &[u32], replacements: &str) -> Result<(), &'static str> {
    let place = |base: u32, label: u32| usize::try_from(base ^ label).unwrap_or(usize::MAX);
    let mut seen = vec![false; units.len()];
    let mut open = vec![jump(units[0])];
    while let Some(base) = open.pop() {
        for label in 0..256_u32 {
            let place = place(base, label);
            let Some(unit) = units.get(place).copied() else {
                return Err("its trie leads outside of itself");
            };
            if label == 0 || unit & 0x8000_00FF != label || std::mem::replace(&mut seen[place], true) {
                continue;
            }
            let next = base ^ label ^ jump(unit);
            if unit >> 8 & 1 == 1 {
                let leaf = units.get(usize::try_from(next).unwrap_or(usize::MAX));
                let leaf = leaf.ok_or("its trie leads outside of itself")? & 0x7FFF_FFFF;
                let start = usize::try_from(leaf).unwrap_or(usize::MAX);
                if !replacements.is_char_boundary(start) {
                    return Err("its trie names a replacement that is not there");
                }
            }
            open.push(next);
        }
    }
    Ok(())
}

/// How far a unit jumps.
fn jump(unit: u32) -> u32 {
    (unit >> 10) << ((unit & (1 << 9)) >> 6)
}

#[cfg(test)]
mod temporary {
    #[test]
    fn real_table() {
        let json: serde_json::Value =
            serde_json::from_str(&fs_err::read_to_string("/tmp/models-helper/big_tokenizer.json").unwrap())
                .unwrap();
        super::check(json["normalizer"]["normalizers"][0]["precompiled_charsmap"].as_str().unwrap()).unwrap();
    }
}
