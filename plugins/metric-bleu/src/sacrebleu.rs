//! BLEU as sacrebleu 2.6.0 computes it, with its default tokeniser `13a`.
//!
//! The same formula as in `bleu.rs` on other tokens and with other smoothing,
//! scaled to 0..100 (Post 2018, <https://aclanthology.org/W18-6319>).

use std::borrow::Cow;

use memchr::memchr_iter;
use rlhf_text::{
    brevity_penalty, for_each_within, is_ascii_whitespace, split_at_others, strip_end,
};

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
    let references: Vec<_> = references
        .iter()
        .map(|one| prepared(one.as_ref()))
        .collect();
    let references: Vec<_> = references.iter().map(|one| tokens_13a(one)).collect();
    Counts::of_tokens(&tokens_13a(&prepared(response)), &references, order_max)
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

/// `100 · p_n`, smoothed.
#[derive(Clone, Debug)]
pub struct Precisions {
    /// One for each order; all 0 without a single match.
    pub values: Vec<f64>,
    /// How many orders have n-grams at all; none without a single match.
    orders: usize,
}

/// The precisions of counts.
#[must_use]
pub fn precisions(counts: &Counts, smoothing: Smoothing) -> Precisions {
    let mut values = vec![0.0; counts.matches.len()];
    let mut orders = 0;
    if counts.matches.iter().all(|&matches| matches == 0.0) {
        return Precisions { values, orders };
    }
    let mut unmatched = 0;
    for (i, precision) in values.iter_mut().enumerate() {
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
    Precisions { values, orders }
}

/// The score, 0..100.
///
/// With `effective_order` the mean goes over the orders that have n-grams, as
/// `sentence_bleu` has it, and otherwise over all, as `corpus_bleu` has it.
#[must_use]
pub fn score(counts: &Counts, precisions: &Precisions, effective_order: bool) -> f64 {
    let Precisions { values, orders } = precisions;
    let values = match (orders, effective_order) {
        (0, _) => return 0.0,
        (_, true) => &values[..*orders],
        (_, false) => &values[..],
    };
    // A plain sum from left to right, as Python's `sum` up to 3.11.
    let logarithms: f64 = values
        .iter()
        .map(|&precision| {
            if precision == 0.0 {
                LOG_OF_ZERO
            } else {
                precision.ln()
            }
        })
        .sum();
    let score = penalty(counts) * (logarithms / values.len() as f64).exp();
    // A perfect response has exp(ln 100) = 100.00000000000004, beyond the range.
    score.min(100.0)
}

/// A text as `mteval-v13a.pl` has it before it looks for tokens.
#[must_use]
pub fn prepared(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(strip_end(text));
    // What most texts have none of.
    if has(&text, b'<', &["<skipped>"]) {
        text = text.replace("<skipped>", "").into();
    }
    if has(&text, b'-', &["-\n"]) {
        text = text.replace("-\n", "").into();
    }
    if has(&text, b'&', &ENTITIES.map(|(entity, _)| entity)) {
        for (entity, character) in ENTITIES {
            text = text.replace(entity, character).into();
        }
    }
    text
}

/// Whether a text has one of some parts, which all begin with `first`.
fn has(text: &str, first: u8, parts: &[&str]) -> bool {
    let bytes = text.as_bytes();
    let begins = |at: usize| {
        parts
            .iter()
            .any(|part| bytes[at..].starts_with(part.as_bytes()))
    };
    memchr_iter(first, bytes).any(begins)
}

/// The tokens of a [`prepared`] text.
///
/// The script puts blanks into the text, by four regular expressions one after another:
/// `[\{-\~\[-\` -\&\(-\+\:-\@\/]` → ` \1 `, `([^0-9])([\.,])` → `\1 \2 `,
/// `([\.,])([^0-9])` → ` \1 \2`, `([0-9])(-)` → `\1 \2 `. Here each byte is seen once; that it
/// comes to the same is tested.
#[must_use]
pub fn tokens_13a(text: &str) -> Vec<&str> {
    // What lies between two marks may have whitespace in it that is not ASCII.
    split_at_others(text, between_blanks_and_marks(text))
}

fn between_blanks_and_marks(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    // Room for all: whether a list must grow would be asked for each token. A token has a byte at
    // least, and one that is none is written behind the last of them.
    let mut tokens = vec![""; bytes.len() + 1];
    let mut count = 0;
    // Where the next token begins, and up to where everything has been looked at.
    let (mut start, mut done) = (0, 0);
    for_each_within(bytes, OTHER_THAN_PARTS, |at| {
        if at < done {
            return;
        }
        let class = CLASSES[usize::from(bytes[at])];
        // Blanks stand before a token, which count as no digits.
        let behind_digit = at > start && is_digit(&bytes[at - 1]);
        let end = match class {
            Class::Point => at + points(&bytes[at..]),
            _ => at + 1,
        };
        done = end;
        let before_digit = bytes.get(end).is_some_and(is_digit);
        let is_part = match class {
            Class::Hyphen => !behind_digit,
            Class::Point => end == at + 1 && behind_digit && before_digit,
            _ => false,
        };
        if is_part {
            return;
        }
        tokens[count] = &text[start..at];
        count += usize::from(start < at);
        start = end;
        // Pairs don't overlap: of points in a row every other one was the second of its pair. The
        // last one is a token of its own if it was, or if what follows it makes it the first.
        if class == Class::Point && before_digit && behind_digit == ((end - at) % 2 == 1) {
            start -= 1;
        }
        if class != Class::Blank {
            for at in at..start {
                tokens[count] = &text[at..=at];
                count += 1;
            }
        }
    });
    tokens[count] = &text[start..];
    count += usize::from(start < text.len());
    tokens.truncate(count);
    tokens
}

/// How many points and commas a text begins with.
fn points(bytes: &[u8]) -> usize {
    let is_point = |byte: &&u8| CLASSES[usize::from(**byte)] == Class::Point;
    bytes.iter().take_while(is_point).count()
}

/// What a byte means for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// It goes on with the token.
    Part,
    /// Whitespace.
    Blank,
    /// A token of its own wherever it stands.
    Mark,
    /// A token of its own unless there is a digit on either side.
    Point,
    /// A token of its own behind a digit.
    Hyphen,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Part; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            byte if is_ascii_whitespace(byte) => Class::Blank,
            b'{'..=b'~' | b'['..=b'`' | b'!'..=b'&' | b'('..=b'+' | b':'..=b'@' | b'/' => {
                Class::Mark
            }
            b'.' | b',' => Class::Point,
            b'-' => Class::Hyphen,
            _ => Class::Part,
        };
        byte += 1;
    }
    classes
};

/// The bytes whose class is not [`Class::Part`], as [`for_each_within`] takes them.
const OTHER_THAN_PARTS: [(u8, u8); 6] = [
    (b'\t', b'\r'),
    (0x1c, b'&'),
    (b'(', b'/'),
    (b':', b'@'),
    (b'[', b'`'),
    (b'{', b'~'),
];

/// What HTML writes for characters, in the order in which they are replaced.
const ENTITIES: [(&str, &str); 4] = [
    ("&quot;", "\""),
    ("&amp;", "&"),
    ("&lt;", "<"),
    ("&gt;", ">"),
];

#[cfg(test)]
mod tests {
    use rlhf_text::split;

    use super::*;

    /// Would catch passes that overlap or come in another order; expected from sacrebleu 2.6.0.
    #[test]
    fn tokens_are_13a() {
        let check = |text: &str, expected: &str| {
            assert_eq!(tokens_13a(&prepared(text)).join(" "), expected, "{text:?}");
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

    /// Would catch a byte of the table that is passed over.
    #[test]
    fn all_but_parts_are_looked_at() {
        let mut found = Vec::new();
        let bytes: Vec<u8> = (0..=255).collect();
        for_each_within(&bytes, OTHER_THAN_PARTS, |at| found.push(at));
        let expected = (0..256).filter(|&byte| CLASSES[byte] != Class::Part);
        assert_eq!(found, expected.collect::<Vec<_>>());
    }

    /// The script's four passes over the text, as they stand.
    fn by_passes(text: &str) -> Vec<String> {
        let (point, digit) = (|c| c == '.' || c == ',', |c: char| c.is_ascii_digit());
        let is_mark =
            |c| matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/');
        let mut marked = String::from(" ");
        for c in text.replace('\n', " ").chars() {
            match is_mark(c) {
                true => marked.extend([' ', c, ' ']),
                false => marked.push(c),
            }
        }
        marked.push(' ');
        let second = |a, b| (!digit(a) && point(b)).then(|| format!("{a} {b} "));
        let first = |a, b| (point(a) && !digit(b)).then(|| format!(" {a} {b}"));
        let hyphen = |a, b| (digit(a) && b == '-').then(|| format!("{a} {b} "));
        let text = replace_pairs(
            &replace_pairs(&replace_pairs(&marked, second), first),
            hyphen,
        );
        split(&text).map(ToOwned::to_owned).collect()
    }

    /// `re.sub` for a pattern of two characters: from left to right, without overlap.
    fn replace_pairs(text: &str, replaced: impl Fn(char, char) -> Option<String>) -> String {
        let mut result = String::new();
        let mut rest = text.chars();
        while let Some(a) = rest.next() {
            match rest.clone().next().and_then(|b| replaced(a, b)) {
                Some(pair) => {
                    rest.next();
                    result.push_str(&pair);
                }
                None => result.push(a),
            }
        }
        result
    }

    /// Would catch a text whose tokens are others in one pass than in four: all texts of up to
    /// six characters of each kind.
    #[test]
    fn one_pass_is_four() {
        const KINDS: [char; 7] = ['a', '1', '.', ',', '-', ' ', 'é'];
        let mut text = String::new();
        for length in 0..=6 {
            for number in 0..KINDS.len().pow(length) {
                text.clear();
                let digits = (0..length).map(|place| number / KINDS.len().pow(place) % KINDS.len());
                text.extend(digits.map(|kind| KINDS[kind]));
                assert_eq!(tokens_13a(&text), by_passes(&text), "{text:?}");
            }
        }
        let odd = "x\u{a0}y(\u{2003}.1\u{1c}-2\t,3\r.\u{85}'4'-\0.";
        assert_eq!(tokens_13a(odd), by_passes(odd));
    }

    /// Would catch an order that is smoothed or counted differently; expected from sacrebleu 2.6.0.
    #[test]
    fn smoothing_is_sacrebleus() {
        let check = |smoothing, expected: f64| {
            let references = ["the cat is on the mat", "a mat"];
            let counts = counts("the cat sat on a mat", &references, 4).unwrap();
            let score = score(&counts, &precisions(&counts, smoothing), true);
            assert!((score - expected).abs() < 1e-13, "{smoothing:?}: {score}");
        };
        check(Smoothing::Exp, 24.274_588_585_366_175);
        check(Smoothing::Floor, 12.909_944_487_358_057);
        check(Smoothing::AddK, 37.991_784_282_579_63);
        check(Smoothing::None, 0.0);
        let perfect = counts("a b c d", &["a b c d"], 4).unwrap();
        let exp = |counts| score(counts, &precisions(counts, Smoothing::Exp), false);
        assert_eq!(exp(&perfect), 100.0);
        let empty = counts("", &[""], 4).unwrap();
        assert_eq!(exp(&empty), 0.0);
    }
}
