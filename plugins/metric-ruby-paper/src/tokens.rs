//! String similarity of two texts, STS: the last resort, which is always there.

use rlhf_text::levenshtein;

use crate::numbers::Numbers;

/// The tokens of a text in any language: runs of letters, digits, `_` and characters beyond ASCII,
/// every other visible character by itself.
pub fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| c.is_ascii() && !c.is_ascii_graphic());
        let first = rest.chars().next()?;
        let end = if word(first) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}

/// `1 − SED / max(length, length)`: SED the fewest insertions, deletions and substitutions of
/// tokens, lengths in tokens. 1 for two texts without a token.
#[must_use]
pub fn similarity(a: &str, b: &str) -> f64 {
    let mut numbers = Numbers::default();
    let mut of = |text| -> Vec<u32> { tokens(text).map(|token| numbers.of(token)).collect() };
    let (a, b) = (of(a), of(b));
    let longest = a.len().max(b.len());
    if longest == 0 {
        return 1.0;
    }
    1.0 - levenshtein(&a, &b) as f64 / longest as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a token cut or joined other than by the rule.
    #[test]
    fn texts_become_tokens() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(tokens(text).collect::<Vec<_>>(), expected, "{text:?}");
        };
        check("", &[]);
        check(" \t\r\n\0\u{7f}", &[]);
        check("a_1+=b", &["a_1", "+", "=", "b"]);
        check("é數x 'y'", &["é數x", "'", "y", "'"]);
        check("a\u{a0}b\0c", &["a\u{a0}b", "c"]);
    }
}
