//! chrF and chrF++ as sacrebleu 2.6.0 computes them (`sacrebleu.metrics.CHRF`).
//!
//! `F_β = (1 + β²) P R / (β² P + R)` of the precision and the recall of
//! n-grams of characters (Popović 2015, <https://aclanthology.org/W15-3049>)
//! and, for chrF++, of words (Popović 2017, <https://aclanthology.org/W17-4770>).

use std::borrow::Cow;

use rlhf_text::{CharNumbers, is_whitespace, split};
use rustc_hash::FxHashMap;

use crate::ngrams::{Counts, Ngrams};
use crate::options::Settings;

/// sacrebleu's `eps`.
const EPSILON: f64 = 1e-16;

/// N-grams of the response, of the reference, and matches, for each order of
/// characters and then of words; they add over samples. The response's are 0
/// in an order in which the reference has none.
///
/// Of several references the one with the largest score is taken, the first of
/// equal ones. `None` without references.
#[must_use]
pub fn statistics<R: AsRef<str>>(
    response: &str,
    references: &[R],
    settings: &Settings,
) -> Option<Vec<f64>> {
    let mut texts = vec![cased(response, settings)];
    texts.extend(references.iter().map(|text| cased(text.as_ref(), settings)));
    let ngrams = all_ngrams(&texts, settings);
    let (response, references) = ngrams.split_first()?;
    let mut best: Option<(f64, Vec<f64>)> = None;
    for reference in references {
        let counts = response.iter().zip(reference);
        let counts = counts.flat_map(|(response, reference)| response.compare(reference));
        let statistics: Vec<f64> = counts.flat_map(numbers).collect();
        let score = score(&statistics, settings).value;
        if best.as_ref().is_none_or(|(best, _)| score > *best) {
            best = Some((score, statistics));
        }
    }
    best.map(|(_, statistics)| statistics)
}

fn numbers(counts: Counts) -> [f64; 3] {
    let response = match counts.reference {
        0 => 0,
        _ => counts.response,
    };
    [response, counts.reference, counts.matches].map(|count| count as f64)
}

fn cased<'a>(text: &'a str, settings: &Settings) -> Cow<'a, str> {
    if settings.lowercase {
        text.to_lowercase().into()
    } else {
        text.into()
    }
}

/// N-grams of characters and of words of each text.
fn all_ngrams(texts: &[Cow<'_, str>], settings: &Settings) -> Vec<[Ngrams; 2]> {
    let mut numbers = CharNumbers::new(1, |c| settings.whitespace || !is_whitespace(c));
    let characters: Vec<Vec<u32>> = texts.iter().map(|text| numbers.of(text)).collect();
    let mut vocabulary = FxHashMap::default();
    let words: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| {
            if settings.word_order == 0 {
                return Vec::new();
            }
            let words = split(text).flat_map(without_punctuation);
            words
                .map(|word| {
                    let next = vocabulary.len() as u32 + 1;
                    *vocabulary.entry(word).or_insert(next)
                })
                .collect()
        })
        .collect();
    let words_end = vocabulary.len() as u32 + 1;
    let texts = characters.iter().zip(&words);
    texts
        .map(|(characters, words)| {
            [
                Ngrams::new(characters, settings.char_order, numbers.end()),
                Ngrams::new(words, settings.word_order, words_end),
            ]
        })
        .collect()
}

/// A word with the punctuation mark at its end, or else at its start, as a
/// word of its own; one mark at most (`(hi)` is `(hi` and `)`).
fn without_punctuation(word: &str) -> impl Iterator<Item = &str> {
    let mark = |c: char| c.is_ascii_punctuation();
    let middle = if word.len() > 1 && word.ends_with(mark) {
        word.len() - 1
    } else if word.len() > 1 && word.starts_with(mark) {
        1
    } else {
        word.len()
    };
    let (start, end) = word.split_at(middle);
    [start, end].into_iter().filter(|part| !part.is_empty())
}

/// A score and the means it is made of, each 0..100.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// chrF.
    pub value: f64,
    /// Mean precision of the orders that both sides have.
    pub precision: f64,
    /// Mean recall of those orders.
    pub recall: f64,
}

/// The score of a sample's [`statistics`] or of their sum.
#[must_use]
pub fn score(statistics: &[f64], settings: &Settings) -> Score {
    let factor = f64::from(settings.beta).powi(2);
    let (mut smoothed, mut precisions, mut recalls, mut effective) = (0.0, 0.0, 0.0, 0.0);
    let orders = statistics.chunks_exact(3);
    let count = orders.len() as f64;
    for order in orders {
        let (response, reference, matches) = (order[0], order[1], order[2]);
        let of = |total: f64| {
            if total > 0.0 {
                matches / total
            } else {
                EPSILON
            }
        };
        let (precision, recall) = (of(response), of(reference));
        let divisor = factor * precision + recall;
        smoothed += if divisor > 0.0 {
            (1.0 + factor) * precision * recall / divisor
        } else {
            EPSILON
        };
        if response > 0.0 && reference > 0.0 {
            precisions += precision;
            recalls += recall;
            effective += 1.0;
        }
    }
    let mean = |sum: f64| {
        if effective > 0.0 {
            sum / effective
        } else {
            0.0
        }
    };
    let (precision, recall) = (mean(precisions), mean(recalls));
    let value = if settings.eps_smoothing {
        100.0 * smoothed / count
    } else if precision + recall > 0.0 {
        100.0 * ((1.0 + factor) * precision * recall / (factor * precision + recall))
    } else {
        0.0
    };
    Score {
        // Rounding must not lead beyond the range.
        value: value.min(100.0),
        precision: 100.0 * precision.min(1.0),
        recall: 100.0 * recall.min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn check(options: &str, response: &str, references: &[&str], expected: f64) {
        let options: Options = serde_json::from_str(options).expect("options");
        let settings = options.settings().expect("options");
        let statistics = statistics(response, references, &settings).expect("references");
        let found = score(&statistics, &settings).value;
        assert!(
            (found - expected).abs() < 1e-12,
            "{response:?}: {found}, expected {expected}"
        );
    }

    /// Would catch an order that an empty or short text divides by.
    #[test]
    fn empty_texts_score_nothing() {
        for options in ["{}", r#"{"word_order": 2}"#] {
            check(options, "", &[""], 0.0);
            check(options, "a", &[" \n"], 0.0);
            check(options, "", &["a"], 0.0);
            check(options, "a", &["a"], 100.0);
            check(options, "(hi) there.", &["x", "(hi) there."], 100.0);
        }
        let smoothed = r#"{"eps_smoothing": true}"#;
        check(smoothed, "", &[""], 1e-14);
        check(smoothed, "a", &["a"], 100.0 / 6.0);
        assert_eq!(
            statistics::<&str>("a", &[], &Options::default().settings().unwrap()),
            None
        );
    }

    /// Would catch a mark that stays, or two that go.
    #[test]
    fn one_mark_is_taken_off_a_word() {
        let check = |word: &str, expected: &[&str]| {
            let found: Vec<_> = without_punctuation(word).collect();
            assert_eq!(found, expected);
        };
        check("(hi)", &["(hi", ")"]);
        check("(hi", &["(", "hi"]);
        check("hi", &["hi"]);
        check(".", &["."]);
        check("..", &[".", "."]);
        check("é", &["é"]);
        check("é!", &["é", "!"]);
        check("hi…", &["hi…"]);
    }
}
