//! BLEU as sacrebleu 2.6.0 computes it, with its default tokeniser `13a`.
//!
//! The same formula as in `bleu.rs` on other tokens and with other smoothing,
//! scaled to 0..100 (Post 2018, <https://aclanthology.org/W18-6319>).

use std::borrow::Cow;

use rlhf_text::{brevity_penalty, strip_end};

use crate::bleu::Counts;

/// What happens to an order without a single match. Names are sacrebleu's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Smoothing {
    /// Precision 0, and so is the score.
    None,
    /// 0.1 matches.
    Floor,
    /// One more match and one more n-gram, for every order but the first.
    AddK,
    /// `1 / (2^k · total)` for the k-th such order, as `mteval-v13a.pl` does.
    #[default]
    Exp,
}

/// sacrebleu's default value for `floor`.
const FLOOR_MATCHES: f64 = 0.1;

/// sacrebleu's `my_log(0)`: low enough that `exp` of it is 0.
const LOG_OF_ZERO: f64 = -9_999_999_999.0;

/// Response and references compared by their `13a` tokens. `None` without references.
#[must_use]
pub fn counts<R: AsRef<str>>(response: &str, references: &[R], order_max: usize) -> Option<Counts> {
    let references: Vec<String> = references
        .iter()
        .map(|reference| tokenize_13a(reference.as_ref()))
        .collect();
    Counts::new(&tokenize_13a(response), &references, order_max)
}

/// BP, 1 for a response at least as long as its reference.
#[must_use]
pub fn penalty(counts: &Counts) -> f64 {
    // Differs from nltk's for two empty texts only.
    if counts.response >= counts.reference {
        1.0
    } else {
        brevity_penalty(counts.reference, counts.response)
    }
}

/// `100 · p_n`, smoothed, and how many orders have n-grams at all.
///
/// Everything is 0 without a single match.
#[must_use]
pub fn precisions(counts: &Counts, smoothing: Smoothing) -> (Vec<f64>, usize) {
    let mut precisions = vec![0.0; counts.matches.len()];
    let mut orders = 0;
    if counts.matches.iter().all(|&matches| matches == 0.0) {
        return (precisions, orders);
    }
    let mut unmatched = 0;
    for (i, precision) in precisions.iter_mut().enumerate() {
        let added = if smoothing == Smoothing::AddK && i > 0 {
            1.0
        } else {
            0.0
        };
        let matches = counts.matches[i] + added;
        let total = counts.totals[i] + added;
        if total == 0.0 {
            break;
        }
        orders = i + 1;
        *precision = if matches > 0.0 {
            100.0 * matches / total
        } else {
            match smoothing {
                Smoothing::Exp => {
                    unmatched += 1;
                    100.0 / (2f64.powi(unmatched) * total)
                }
                Smoothing::Floor => 100.0 * FLOOR_MATCHES / total,
                Smoothing::None | Smoothing::AddK => 0.0,
            }
        };
    }
    (precisions, orders)
}

/// The score, 0..100.
///
/// With `effective_order` the mean goes over the orders that have n-grams, as
/// `sentence_bleu` has it, and otherwise over all, as `corpus_bleu` has it.
#[must_use]
pub fn score(counts: &Counts, smoothing: Smoothing, effective_order: bool) -> f64 {
    let (precisions, orders) = precisions(counts, smoothing);
    if orders == 0 {
        return 0.0;
    }
    let orders = if effective_order {
        orders
    } else {
        precisions.len()
    };
    // A plain sum from left to right, as Python's `sum` up to 3.11.
    let logarithms: f64 = precisions[..orders]
        .iter()
        .map(|&precision| {
            if precision == 0.0 {
                LOG_OF_ZERO
            } else {
                precision.ln()
            }
        })
        .sum();
    let score = penalty(counts) * (logarithms / orders as f64).exp();
    // A perfect response has exp(ln 100) = 100.00000000000004, beyond the range.
    score.min(100.0)
}

/// The tokens of `mteval-v13a.pl`, with whitespace between them.
///
/// All characters that matter are ASCII, so the work is done on bytes.
#[must_use]
pub fn tokenize_13a(text: &str) -> String {
    let mut text = Cow::Borrowed(strip_end(text));
    if text.contains('<') {
        text = text.replace("<skipped>", "").into();
    }
    if text.contains('&') {
        // What two lines make together may be an entity.
        text = text.replace("-\n", "").replace('\n', " ").into();
        for (entity, character) in ENTITIES {
            text = text.replace(entity, character).into();
        }
    }

    // Four regular expressions, each over the whole text.
    // `[\{-\~\[-\` -\&\(-\+\:-\@\/]` → ` \1 `
    let bytes = text.as_bytes();
    let mut marked = Vec::with_capacity(2 * bytes.len() + 2);
    marked.push(b' ');
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'-' if bytes.get(at) == Some(&b'\n') => at += 1,
            // One for three: tokens are told apart by any number of them.
            b' ' | b'\n' => marked.push(b' '),
            _ if is_marked(byte) => marked.extend([b' ', byte, b' ']),
            _ => marked.push(byte),
        }
    }
    marked.push(b' ');
    let point = |byte: u8| byte == b'.' || byte == b',';
    let digit = |byte: u8| byte.is_ascii_digit();
    // `([^0-9])([\.,])` → `\1 \2 `
    let text = replace_pairs(
        &marked,
        |a, b| !digit(a) && point(b),
        |a, b| [a, b' ', b, b' '],
    );
    // `([\.,])([^0-9])` → ` \1 \2`
    let text = replace_pairs(
        &text,
        |a, b| point(a) && !digit(b),
        |a, b| [b' ', a, b' ', b],
    );
    // `([0-9])(-)` → `\1 \2 `
    let text = replace_pairs(
        &text,
        |a, b| digit(a) && b == b'-',
        |a, b| [a, b' ', b, b' '],
    );
    String::from_utf8(text).expect("what was put in is ASCII, and not inside of a character")
}

/// What HTML writes for characters, in the order in which they are replaced.
const ENTITIES: [(&str, &str); 4] = [
    ("&quot;", "\""),
    ("&amp;", "&"),
    ("&lt;", "<"),
    ("&gt;", ">"),
];

/// Whether a character is a token of its own wherever it stands.
fn is_marked(byte: u8) -> bool {
    matches!(byte, b'{'..=b'~' | b'['..=b'`' | b' '..=b'&' | b'('..=b'+' | b':'..=b'@' | b'/')
}

/// `re.sub` for a pattern of two characters: from left to right, without overlap. Bytes of a
/// character that has several match where all that is not ASCII does: they stay together, since
/// the first of the pair may be only its last byte, and the second only its first.
fn replace_pairs(
    text: &[u8],
    matches: impl Fn(u8, u8) -> bool,
    replacement: impl Fn(u8, u8) -> [u8; 4],
) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len() + text.len() / 4);
    let mut at = 0;
    while let Some(&a) = text.get(at) {
        match text.get(at + 1) {
            Some(&b) if matches(a, b) => {
                result.extend(replacement(a, b));
                at += 2;
            }
            _ => {
                result.push(a);
                at += 1;
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch passes that overlap or come in another order; expected from sacrebleu 2.6.0.
    #[test]
    fn tokens_are_13a() {
        let check = |text: &str, expected: &str| {
            let tokens: Vec<_> = tokenize_13a(text)
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            assert_eq!(tokens.join(" "), expected, "{text:?}");
        };
        check(
            "a..b 1.5,3 x-1 3-4 it's (a+b)/c \"q\" &amp; -\nz &lt;é.é",
            "a . . b 1.5,3 x-1 3 - 4 it's ( a + b ) / c \" q \" & z < é . é",
        );
        check(
            "a,,b...c 1,2,.3 -5- 6-",
            "a , , b . . . c 1,2 , . 3 -5 - 6 -",
        );
        check("x<skipped>y\t_a_ {b} [c]~`^", "xy _ a _ { b } [ c ] ~ ` ^");
        check(
            "x--\n\ny a-\nb &am-\np;lt; é.,é.5é,",
            "x- y ab < é . , é . 5é ,",
        );
    }

    /// Would catch an order that is smoothed or counted differently; expected from sacrebleu 2.6.0.
    #[test]
    fn smoothing_is_sacrebleus() {
        let check = |smoothing, expected: f64| {
            let references = ["the cat is on the mat", "a mat"];
            let counts = counts("the cat sat on a mat", &references, 4).unwrap();
            let score = score(&counts, smoothing, true);
            assert!((score - expected).abs() < 1e-13, "{smoothing:?}: {score}");
        };
        check(Smoothing::Exp, 24.274_588_585_366_175);
        check(Smoothing::Floor, 12.909_944_487_358_057);
        check(Smoothing::AddK, 37.991_784_282_579_63);
        check(Smoothing::None, 0.0);
        let perfect = counts("a b c d", &["a b c d"], 4).unwrap();
        assert_eq!(score(&perfect, Smoothing::Exp, false), 100.0);
        let empty = counts("", &[""], 4).unwrap();
        assert_eq!(score(&empty, Smoothing::Exp, false), 0.0);
    }
}
