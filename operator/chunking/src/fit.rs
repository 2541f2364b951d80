//! No text is stored in more than 512 pieces: neighbours join, and their sparse vectors keep each token's highest weight. PURE.

use std::collections::HashMap;

use lexiscale_wire::SparseEmbedding;

/// Most chunks that are stored for one text.
pub const MOST_STORED: usize = 512;

/// A chunk with its vector, whatever kind that is.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddedChunk<E> {
    pub start: usize,
    pub end: usize,
    pub is_truncated: bool,
    pub embedding: E,
}

/// At most [`MOST_STORED`] chunks. Of n chunks, number i goes to slot i * 512 / n, so neighbours share a slot; it reaches from the
/// start of its first chunk to the end of its last, and is truncated if one of them is. `join` makes one vector of
/// those of a slot with more than one chunk ([`strongest`] for sparse ones).
pub fn fit<E>(chunks: Vec<EmbeddedChunk<E>>, join: impl Fn(Vec<E>) -> E) -> Vec<EmbeddedChunk<E>> {
    let total = chunks.len();
    if total <= MOST_STORED {
        return chunks;
    }
    let mut chunks = chunks.into_iter().enumerate().peekable();
    let mut slots = Vec::with_capacity(MOST_STORED);
    while let Some((first, EmbeddedChunk { start, mut end, mut is_truncated, embedding })) = chunks.next() {
        let slot_of = |index: usize| index * MOST_STORED / total;
        let mut embeddings = vec![embedding];
        while let Some((_, next)) = chunks.next_if(|(index, _)| slot_of(*index) == slot_of(first)) {
            end = next.end;
            is_truncated |= next.is_truncated;
            embeddings.push(next.embedding);
        }
        let embedding = if embeddings.len() == 1 { embeddings.pop() } else { None }
            .unwrap_or_else(|| join(std::mem::take(&mut embeddings)));
        slots.push(EmbeddedChunk { start, end, is_truncated, embedding });
    }
    slots
}

/// Each token with its highest weight, heaviest first; of equal weights, the token that was seen first.
pub fn strongest(embeddings: impl IntoIterator<Item = SparseEmbedding>) -> SparseEmbedding {
    let mut weights: HashMap<String, (u32, f32)> = HashMap::new();
    for embedding in embeddings {
        for entry in embedding.entries() {
            let seen = u32::try_from(weights.len()).unwrap_or(u32::MAX);
            match weights.get_mut(&entry.token) {
                Some((_, weight)) => *weight = weight.max(entry.weight),
                None => {
                    weights.insert(entry.token.clone(), (seen, entry.weight));
                }
            }
        }
    }
    SparseEmbedding::from_weights(
        weights.iter().map(|(token, (order, weight))| (*order, token.as_str(), *weight)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(index: usize) -> EmbeddedChunk<Vec<usize>> {
        EmbeddedChunk {
            start: index * 10,
            end: index * 10 + 12,
            is_truncated: index == 700,
            embedding: vec![index],
        }
    }

    #[test]
    fn as_many_as_are_stored_stay_as_they_are() {
        for total in [0, 1, MOST_STORED] {
            let chunks: Vec<_> = (0..total).map(chunk).collect();
            assert_eq!(fit(chunks.clone(), |parts| parts.concat()), chunks);
        }
    }

    #[test]
    fn each_chunk_goes_to_the_slot_of_its_share() {
        for total in [513, 1000, 1024, 5000] {
            let slots = fit((0..total).map(chunk).collect(), |parts| parts.concat());
            assert_eq!(slots.len(), MOST_STORED, "{total}");
            for (slot, stored) in slots.iter().enumerate() {
                let members = &stored.embedding;
                assert!(
                    members.iter().all(|index| index * MOST_STORED / total == slot),
                    "{total}: {members:?}"
                );
                assert_eq!(stored.start, members[0] * 10);
                assert_eq!(stored.end, members[members.len() - 1] * 10 + 12);
                assert_eq!(stored.is_truncated, members.contains(&700));
            }
            assert_eq!(slots.iter().map(|slot| slot.embedding.len()).sum::<usize>(), total);
        }
    }

    #[test]
    fn the_highest_weight_of_each_token_stays() {
        let left = SparseEmbedding::from_weights([(1, "one", 2.0), (2, "two", 0.5), (3, "three", 0.25)]);
        let right = SparseEmbedding::from_weights([(2, "two", 3.0), (1, "one", 1.0), (4, "four", 0.25)]);
        let joined = strongest([left, right]);
        assert_eq!(
            serde_json::to_string(&joined).unwrap(),
            r#"{"two":3.0,"one":2.0,"three":0.25,"four":0.25}"#
        );
        assert!(strongest([]).is_empty());
    }
}
