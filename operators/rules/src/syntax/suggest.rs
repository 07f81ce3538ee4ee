//! "Did you mean": the nearest of a set of known words.

/// Words of about the right length that are looked at.
const CANDIDATES_MAX: usize = 1000;

/// Letters from which on a word may be the beginning of what was meant.
const PREFIX_MIN: usize = 3;

/// The word that is nearest to `word` by edits, if it is near enough to be what was meant; else one that begins with it.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A long word is no typo of anything, and the cost is quadratic.
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let limit = (word.len() / 3).clamp(1, 3);
    let begins = |candidate: &str| {
        let start = candidate.as_bytes().get(..word.len());
        word.len() >= PREFIX_MIN && start.is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    let edits = |candidate: &&str| match distance(word.as_bytes(), candidate.as_bytes(), limit) {
        None => begins(candidate).then_some(usize::MAX),
        near => near,
    };
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= limit || begins(candidate))
        .take(CANDIDATES_MAX)
        .filter_map(|candidate| Some((edits(&candidate)?, candidate)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// A sentence that suggests the nearest word.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|candidate| format!("did you mean {candidate}?"))
}

/// Edits between two words: insert, delete, replace, swap neighbors; none where more than `limit` are needed.
fn distance(a: &[u8], b: &[u8], limit: usize) -> Option<usize> {
    let width = b.len() + 1;
    let mut before: Vec<usize> = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; width];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(!x.eq_ignore_ascii_case(y));
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        // Edits never become fewer from two rows to the next: known words are many, and most end here.
        if row.iter().chain(&last).all(|edits| *edits > limit) {
            return None;
        }
        before = std::mem::replace(&mut last, row);
    }
    Some(last[b.len()]).filter(|edits| *edits <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_word_or_none() {
        let known = ["proc.name", "proc.pname", "proc.aname", "fd.name"];
        assert_eq!(nearest("proc.nmae", known), Some("proc.name"));
        assert_eq!(nearest("proc.pnam", known), Some("proc.pname"));
        assert_eq!(nearest("container.image", known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
        assert_eq!(nearest("WARN", ["Notice", "Warning"]), Some("Warning"));
        assert_eq!((nearest("No", ["Notice"]), nearest("Warning of", ["Warning"])), (None, Some("Warning")));
        assert_eq!(did_you_mean("contian", ["contains"]).unwrap(), "did you mean contains?");
    }
}
