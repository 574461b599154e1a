//! The formula, in plain Rust: tested without a host.
//!
//! `value = max over references of 1 - d(response, reference) / max(|response|, |reference|)`
//!
//! `d` is the Levenshtein distance, lengths count Unicode code points, and two
//! empty texts are equal.

/// The metric's options, by the names that users write.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Similarity {
    /// Whether `A` and `a` differ. Default: they do.
    pub case_sensitive: bool,
}

impl Default for Similarity {
    fn default() -> Self {
        Self {
            case_sensitive: true,
        }
    }
}

impl Similarity {
    /// Options that change the numbers, in the manner of sacrebleu.
    pub fn signature(&self) -> &'static str {
        if self.case_sensitive {
            "case:mixed"
        } else {
            "case:lc"
        }
    }

    /// Similarity to the nearest reference; `None` if there are no references.
    pub fn to_nearest(&self, response: &str, references: &[String]) -> Option<f64> {
        references
            .iter()
            .map(|reference| self.between(response, reference))
            .reduce(f64::max)
    }

    /// From 0, nothing in common, to 1, equal.
    pub fn between(&self, a: &str, b: &str) -> f64 {
        let (a, b) = (self.units(a), self.units(b));
        match a.len().max(b.len()) {
            0 => 1.0,
            longer => 1.0 - edit_distance(&a, &b) as f64 / longer as f64,
        }
    }

    /// What is compared and counted: code points.
    fn units(&self, text: &str) -> Vec<char> {
        if self.case_sensitive {
            text.chars().collect()
        } else {
            text.to_lowercase().chars().collect()
        }
    }
}

/// Levenshtein distance: the fewest insertions, deletions and replacements that
/// make `b` of `a`. One row of the table is kept (Wagner and Fischer 1974).
fn edit_distance<T: PartialEq>(mut a: &[T], mut b: &[T]) -> usize {
    // What both begin and end with costs nothing. It is most of two similar
    // programs, and the table takes time by the product of the lengths.
    let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    (a, b) = (&a[common..], &b[common..]);
    let backwards = a.iter().rev().zip(b.iter().rev());
    let common = backwards.take_while(|(x, y)| x == y).count();
    (a, b) = (&a[..a.len() - common], &b[..b.len() - common]);
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, expected: f64) {
        let similarity = Similarity::default();
        assert_eq!(similarity.between(a, b), expected, "{a:?} and {b:?}");
        assert_eq!(similarity.between(b, a), expected, "{b:?} and {a:?}");
    }

    // Catches a wrong norm, a distance that isn't symmetric, and lengths in bytes.
    #[test]
    fn values() {
        check("", "", 1.0);
        check("", "ab", 0.0);
        check("abc", "ABC", 0.0);
        check("kitten", "sitting", 1.0 - 3.0 / 7.0);
        check("return a + b", "return b + a", 1.0 - 2.0 / 12.0);
        check("naïve 🙂", "naive 🙂", 1.0 - 1.0 / 7.0);
        check("abab", "ab", 0.5);
        check("aabaa", "aaa", 1.0 - 2.0 / 5.0);
    }

    // Catches a mean, or the first reference, in place of the nearest.
    #[test]
    fn the_nearest_reference_counts() {
        let nearest = |references: &[&str]| {
            let references: Vec<String> = references.iter().map(ToString::to_string).collect();
            Similarity::default().to_nearest("kitten", &references)
        };
        assert_eq!(nearest(&["sitting", "mitten"]), Some(1.0 - 1.0 / 6.0));
        assert_eq!(nearest(&["mitten", "sitting"]), Some(1.0 - 1.0 / 6.0));
        assert_eq!(nearest(&[]), None);
    }

    // Catches an option that is read and not obeyed.
    #[test]
    fn case_can_be_ignored() {
        let similarity = Similarity {
            case_sensitive: false,
        };
        assert_eq!(similarity.between("ÄBC", "äbc"), 1.0);
        assert_ne!(similarity.signature(), Similarity::default().signature());
    }
}
