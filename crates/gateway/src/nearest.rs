//! "Did you mean": the known word most like the one that was given.

/// How unlike a word may be: one edit in three letters, at most three.
fn tolerance(word: &str) -> usize {
    (word.chars().count() / 3).clamp(1, 3)
}

/// The known word most like `word`, if one is like it at all.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // A long stranger cannot be near a short known word; its distance need not be computed.
    let longest = known.iter().map(|k| k.len()).max()?;
    if word.len() > longest * 2 {
        return None;
    }
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&word.to_ascii_lowercase(), k), *k))
        .min()
        .filter(|(distance, _)| *distance <= tolerance(word))
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_a_stranger_none() {
        let known = ["input", "priority", "metadata"];
        assert_eq!(nearest("prioritty", &known), Some("priority"));
        assert_eq!(nearest("Input", &known), Some("input"));
        assert_eq!(nearest("inptu", &known), Some("input"));
        assert_eq!(nearest("meta_data", &known), Some("metadata"));
        assert_eq!(nearest("eta", &known), None);
        assert_eq!(nearest("callback_url", &known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), &known), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
