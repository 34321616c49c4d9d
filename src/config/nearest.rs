//! The valid word that a misspelt one was probably meant to be.

/// Longest word that is compared, in bytes: far beyond every key there is, and what is compared takes its square.
const MAX_WORD: usize = 64;

/// Returns the candidate fewest edits away from `word`, if it is near enough to be worth a suggestion.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_WORD {
        return None;
    }
    // A third of the letters may differ: `adresses` is near `addresses`, `name` is near nothing.
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits between two words: a letter put in, left out, changed, or two neighbours swapped (optimal string
/// alignment). `-` and `_` are one character here: that is the commonest slip.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.to_lowercase().replace('-', "_").chars().collect::<Vec<char>>();
    let (a, b) = (letters(a), letters(b));
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut edits = substituted.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                edits = edits.min(rows[i - 2][j - 2] + 1);
            }
            row.push(edits);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_word_and_a_strange_word_none() {
        let keys = ["addresses", "listen_port", "mtu", "probe", "protocol"];
        assert_eq!(nearest("adresses", keys), Some("addresses"));
        assert_eq!(nearest("mut", keys), Some("mtu"));
        assert_eq!(nearest("listen-port", keys), Some("listen_port"));
        assert_eq!(nearest("probes", keys), Some("probe"));
        assert_eq!(nearest("colour", keys), None);
    }
}
