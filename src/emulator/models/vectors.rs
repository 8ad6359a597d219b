//! Vectors for texts: the same text has the same one, and texts that share words have similar
//! ones.

use sha2::{Digest, Sha256};

/// The vector of a text, of length one.
pub(in crate::emulator) fn of(text: &str, dimensions: usize) -> Vec<f64> {
    let lower = text.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_alphanumeric());
    let mut vector = vec![0.0; dimensions];
    let mut count = 0;
    for word in words.filter(|word| !word.is_empty()) {
        add(&mut vector, word);
        count += 1;
    }
    if count == 0 {
        add(&mut vector, text);
    }
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    vector.iter().map(|value| (value / length * 1e6).round() / 1e6).collect()
}

/// Adds the direction of a word.
fn add(vector: &mut [f64], word: &str) {
    let digest = Sha256::digest(word);
    let mut state = digest.iter().take(8).fold(1, |state: u64, byte| state << 8 | u64::from(*byte));
    for value in vector {
        // The generator of Marsaglia with the shifts 13, 7 and 17.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *value += f64::from((state >> 32) as u32) / f64::from(u32::MAX) - 0.5;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likeness(one: &str, other: &str) -> f64 {
        of(one, 256).iter().zip(of(other, 256)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_that_share_words_are_alike() {
        assert!(likeness("a home loan", "home loan rates") > 0.4);
        assert!(likeness("a home loan", "weather in Paris").abs() < 0.3);
        assert!((likeness("same", "Same!") - 1.0).abs() < 1e-3);
        assert!((likeness("…", "…") - 1.0).abs() < 1e-3);
    }
}
