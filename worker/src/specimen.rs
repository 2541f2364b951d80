//! Texts of a wanted length, to measure with. PURE.

/// Ordinary words, so that tokens are those of ordinary texts.
const WORDS: &str = "a search engine reads every document once and remembers which words it holds and how much each of them says about it \
a question is read in the same way so that both can be compared by the words that they share while a model adds those that neither of \
them holds but that mean the same thing to a reader such as ship for vessel or doctor for physician";

/// The longest text of such words that takes no more than `tokens`; `count` tells what one takes. `variant` makes other texts of
/// the same length.
pub fn text(tokens: usize, variant: usize, count: impl Fn(&str) -> usize) -> String {
    let words: Vec<&str> = WORDS.split(' ').collect();
    let of = |number: usize| {
        let chosen = words.iter().cycle().skip(variant % words.len()).take(number);
        chosen.copied().collect::<Vec<_>>().join(" ")
    };
    // A word is at least one token, so the answer lies below.
    let (mut fits, mut too_many) = (0, tokens + 1);
    while too_many - fits > 1 {
        let middle = fits.midpoint(too_many);
        if count(&of(middle)) <= tokens {
            fits = middle;
        } else {
            too_many = middle;
        }
    }
    of(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_as_many_tokens_as_there_is_room_for() {
        // Two special tokens, and one more for each word with an `o` in it.
        let count = |text: &str| {
            let words = text.split(' ').filter(|word| !word.is_empty());
            2 + words.map(|word| 1 + usize::from(word.contains('o'))).sum::<usize>()
        };
        for tokens in [3, 16, 128, 500] {
            let found = count(&text(tokens, 0, count));
            assert!(found == tokens || found + 1 == tokens, "{found} of {tokens}");
        }
        assert_eq!(text(1, 0, count), "");
        assert_ne!(text(16, 0, count), text(16, 5, count));
    }
}
