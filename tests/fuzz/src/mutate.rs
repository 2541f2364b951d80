//! Makes a new input of known ones.

use fastrand::Rng;

/// Inputs do not grow beyond this.
const LARGEST: usize = 256 * 1024;

pub(crate) fn mutated(seeds: &[Vec<u8>], words: &[&str], random: &mut Rng) -> Vec<u8> {
    let mut input = seeds[random.usize(..seeds.len())].clone();
    for _ in 0..=random.usize(..8) {
        change(&mut input, seeds, words, random);
    }
    input.truncate(LARGEST);
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&str], random: &mut Rng) {
    let place = random.usize(..=input.len());
    // Heads decide more than data.
    let place = if random.bool() { place } else { place.min(random.usize(..512)) };
    let length = random.usize(..64).min(input.len() - place);
    match random.u8(..9) {
        0 if place < input.len() => input[place] ^= 1 << random.u8(..8),
        1 if place < input.len() => {
            input[place] = [0, 1, 0x7F, 0x80, 0xFF, b'"', b'{', b'['][random.usize(..8)];
        }
        2 => input.truncate(place),
        3 => drop(input.drain(place..place + length)),
        4 => {
            let copy = input[place..place + length].to_vec();
            input.splice(place..place, copy);
        }
        5 => {
            let other = &seeds[random.usize(..seeds.len())];
            let start = random.usize(..=other.len());
            let end = (start + random.usize(..256)).min(other.len());
            input.splice(place..place, other[start..end].iter().copied());
        }
        6 if !words.is_empty() => {
            let word = words[random.usize(..words.len())];
            input.splice(place..place + length.min(word.len()), word.bytes());
        }
        7 => {
            let number = [0, 1, u64::MAX, 1 << 31, 1 << 40, 1 << 63][random.usize(..6)];
            input.splice(place..place + length.min(8), number.to_le_bytes());
        }
        // A digit more or less moves a size by ten.
        _ => {
            if let Some(digit) = input.iter().skip(place).position(u8::is_ascii_digit) {
                input[place + digit] = b'0' + random.u8(..10);
            }
        }
    }
}
