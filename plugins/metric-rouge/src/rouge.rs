//! ROUGE as rouge-score 0.1.2 computes it (`rouge_scorer.RougeScorer`).
//!
//! `P = matches / tokens of the response`, `R = matches / tokens of the
//! reference`, `F = 2PR / (P + R)` (Lin 2004, <https://aclanthology.org/W04-1013>).
//! Matches are n-grams, or the items of a longest common subsequence.

use rlhf_text::{LcsRows, Step, lcs_length};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::tokens::{Tokens, Vocabulary};

/// Words of memory for the rows of a table that are kept at a time: 8 MiB.
/// Tables beyond it are computed twice.
const ROW_WORDS_MAX: usize = 1 << 20;

/// Precision, recall and their harmonic mean, each 0..1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Matches over what the response has.
    pub precision: f64,
    /// Matches over what the reference has.
    pub recall: f64,
    /// `2PR / (P + R)`, 0 without a match.
    pub fmeasure: f64,
}

impl Score {
    fn new(matches: usize, response: usize, reference: usize) -> Self {
        let precision = matches as f64 / response.max(1) as f64;
        let recall = matches as f64 / reference.max(1) as f64;
        let fmeasure = if precision + recall > 0.0 {
            2.0 * precision * recall / (precision + recall)
        } else {
            0.0
        };
        Self {
            precision,
            recall,
            fmeasure,
        }
    }
}

/// What counts as a match. In the order of the components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Tokens.
    Rouge1,
    /// Pairs of tokens.
    Rouge2,
    /// Tokens of a longest common subsequence.
    RougeL,
    /// Tokens of the longest common subsequences of each line of the reference with each of the response.
    RougeLsum,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rouge1, Self::Rouge2, Self::RougeL, Self::RougeLsum];

    /// rouge-score's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rouge1 => "rouge1",
            Self::Rouge2 => "rouge2",
            Self::RougeL => "rougeL",
            Self::RougeLsum => "rougeLsum",
        }
    }
}

/// The scores of each variant, in the order of [`Variant::ALL`]; `None` without references.
///
/// Of several references each variant takes the one with the largest F, the
/// first of equal ones. `vocabulary`, an empty one, decides what tokens are.
#[must_use]
pub fn scores<R: AsRef<str>>(
    response: &str,
    references: &[R],
    mut vocabulary: Vocabulary,
) -> Option<[Score; 4]> {
    let response = vocabulary.tokens(response);
    let scores = references.iter().map(|reference| {
        let reference = vocabulary.tokens(reference.as_ref());
        let size = vocabulary.size();
        Variant::ALL.map(|variant| score(variant, &response, &reference, size))
    });
    scores.reduce(|best, scores| {
        let pairs = [0, 1, 2, 3].map(|i| (best[i], scores[i]));
        pairs.map(|(best, score)| {
            if score.fmeasure > best.fmeasure {
                score
            } else {
                best
            }
        })
    })
}

fn score(variant: Variant, response: &Tokens, reference: &Tokens, vocabulary: usize) -> Score {
    let (found, sought) = (response.all.len(), reference.all.len());
    match variant {
        Variant::Rouge1 => {
            let matches = token_matches(&response.all, &reference.all, vocabulary);
            Score::new(matches, found, sought)
        }
        Variant::Rouge2 => {
            let matches = pair_matches(&response.all, &reference.all);
            Score::new(matches, found.saturating_sub(1), sought.saturating_sub(1))
        }
        Variant::RougeL => {
            let matches = lcs_length(&reference.all, &response.all);
            Score::new(matches, found, sought)
        }
        Variant::RougeLsum => {
            let matches = line_matches(response, reference, vocabulary);
            Score::new(matches, found, sought)
        }
    }
}

/// `Σ min(occurrences in the response, in the reference)` over tokens.
fn token_matches(response: &[u32], reference: &[u32], vocabulary: usize) -> usize {
    let mut left = occurrences(reference, vocabulary);
    let taken = response.iter().filter(|&&token| {
        let left = &mut left[token as usize];
        let taken = *left > 0;
        *left -= u32::from(taken);
        taken
    });
    taken.count()
}

fn occurrences(tokens: &[u32], vocabulary: usize) -> Vec<u32> {
    let mut occurrences = vec![0; vocabulary];
    for &token in tokens {
        occurrences[token as usize] += 1;
    }
    occurrences
}

/// The same over pairs of neighbours.
fn pair_matches(response: &[u32], reference: &[u32]) -> usize {
    let sorted = |tokens: &[u32]| {
        let pairs = tokens.windows(2);
        let mut pairs: Vec<u64> = pairs
            .map(|pair| u64::from(pair[0]) << 32 | u64::from(pair[1]))
            .collect();
        pairs.sort_unstable();
        pairs
    };
    let (response, reference) = (sorted(response), sorted(reference));
    let mut left = reference.iter().copied().peekable();
    let taken = response.iter().filter(|&&pair| {
        while left.next_if(|&other| other < pair).is_some() {}
        left.next_if_eq(&pair).is_some()
    });
    taken.count()
}

/// Tokens in the union of the longest common subsequences of each line of the
/// reference with each line of the response, each token at most as often as
/// both texts have it.
fn line_matches(response: &Tokens, reference: &Tokens, vocabulary: usize) -> usize {
    // Equal lines have equal subsequences, and programs have many of them.
    let mut lines = response.lines();
    let mut seen = FxHashSet::default();
    lines.retain(|&line| seen.insert(line));
    let rows = LcsRows::new(&lines);
    let mut known = FxHashMap::default();
    let mut in_response = occurrences(&response.all, vocabulary);
    let mut in_reference = occurrences(&reference.all, vocabulary);
    let mut matches = 0;
    for line in reference.lines() {
        let common = known
            .entry(line)
            .or_insert_with(|| common_to_any(line, &lines, &rows, ROW_WORDS_MAX));
        for (&token, _) in line.iter().zip(common).filter(|(_, common)| **common) {
            let token = token as usize;
            if in_response[token] > 0 && in_reference[token] > 0 {
                matches += 1;
                in_response[token] -= 1;
                in_reference[token] -= 1;
            }
        }
    }
    matches
}

/// For each token of a line, whether it belongs to its longest common
/// subsequence with any of the others.
///
/// Of several such subsequences, rouge-score's: the table is read from its
/// end, a match is taken where there is one, and otherwise the cell above is
/// preferred to the one on the left unless that is larger. Its table has a
/// cell for each pair of tokens; here rows are bits, and only every so many
/// are kept, the others being computed again on the way back.
fn common_to_any(
    line: &[u32],
    others: &[&[u32]],
    rows: &LcsRows,
    row_words_max: usize,
) -> Vec<bool> {
    let mut common = vec![false; line.len()];
    let width = rows.first().len();
    if width == 0 {
        return common;
    }
    let block = (row_words_max / width).max(line.len().isqrt()).max(1);

    // `starts`: the row before each block of tokens.
    let mut starts = rows.first().to_vec();
    let blocks: Vec<&[u32]> = line.chunks(block).collect();
    let mut row = starts.clone();
    for tokens in blocks.iter().take(blocks.len().saturating_sub(1)) {
        for &token in *tokens {
            rows.advance(&mut row, token);
        }
        starts.extend_from_slice(&row);
    }

    // Lines that may still match, and the column up to which they are unread.
    let unread = others.iter().map(|other| other.len()).enumerate();
    let mut unread: Vec<(usize, usize)> = unread.filter(|&(_, column)| column > 0).collect();
    let mut table = Vec::new();
    for (b, (tokens, start)) in blocks.iter().zip(starts.chunks(width)).enumerate().rev() {
        table.clear();
        table.extend_from_slice(start);
        for (i, &token) in tokens.iter().enumerate() {
            table.extend_from_within(i * width..);
            rows.advance(&mut table[(i + 1) * width..], token);
        }
        for (i, &token) in tokens.iter().enumerate().rev() {
            let (above, row) = table[i * width..(i + 2) * width].split_at(width);
            unread.retain_mut(|(other, column)| {
                let other_line = others[*other];
                if other_line[*column - 1] != token {
                    match rows.step(row, above, *other, *column) {
                        Step::Equal => return true,
                        Step::Zero => return false,
                        // What makes a cell larger than the one above is a match in its
                        // row: all cells down to that are larger, too.
                        Step::Larger => {}
                    }
                    while other_line[*column - 1] != token {
                        *column -= 1;
                    }
                }
                common[b * block + i] = true;
                *column -= 1;
                *column > 0
            });
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(response: &str, references: &[&str], expected: [[f64; 3]; 4]) {
        let scores = scores(response, references, Vocabulary::default()).expect("references");
        for (variant, (score, expected)) in Variant::ALL.iter().zip(scores.iter().zip(expected)) {
            let found = [score.precision, score.recall, score.fmeasure];
            assert_eq!(found, expected, "{variant:?} {response:?}");
        }
    }

    /// Would catch a division by zero, and the wrong one of several references.
    /// Expected values from rouge-score 0.1.2.
    #[test]
    fn odd_texts_score_as_in_rouge_score() {
        let none = [[0.0; 3]; 4];
        check("", &[""], none);
        check("a", &["\n \n"], none);
        check("…", &["a"], none);
        let (all, no_pair) = ([1.0; 3], [0.0; 3]);
        check("a", &["A"], [all, no_pair, all, all]);
        // Each variant takes its own reference.
        let b_first = [0.5, 1.0, 2.0 / 3.0];
        check("b a", &["x", "b", "a b"], [all, no_pair, b_first, b_first]);
        assert_eq!(super::scores::<&str>("a", &[], Vocabulary::default()), None);
    }

    /// The table as rouge-score has it.
    fn by_table(line: &[u32], other: &[u32]) -> Vec<usize> {
        let mut table = vec![vec![0; other.len() + 1]; line.len() + 1];
        for i in 1..=line.len() {
            for j in 1..=other.len() {
                table[i][j] = if line[i - 1] == other[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        let (mut i, mut j) = (line.len(), other.len());
        let mut common = Vec::new();
        while i > 0 && j > 0 {
            if line[i - 1] == other[j - 1] {
                common.push(i - 1);
                i -= 1;
                j -= 1;
            } else if table[i][j - 1] > table[i - 1][j] {
                j -= 1;
            } else {
                i -= 1;
            }
        }
        common
    }

    /// Would catch another of several longest subsequences, and rows that come
    /// out differently when they are computed again.
    #[test]
    fn subsequences_are_those_of_the_table() {
        let mut state = 1u32;
        let mut next = |end: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % end
        };
        for items in [2, 3, 8, 40] {
            for lines in [0, 1, 2, 7] {
                let mut sequence =
                    |length: u32| -> Vec<u32> { (0..next(length)).map(|_| next(items)).collect() };
                let line = sequence(90);
                let others: Vec<Vec<u32>> = (0..lines).map(|_| sequence(150)).collect();
                let mut expected = vec![false; line.len()];
                for other in &others {
                    for i in by_table(&line, other) {
                        expected[i] = true;
                    }
                }
                let others: Vec<&[u32]> = others.iter().map(Vec::as_slice).collect();
                let rows = LcsRows::new(&others);
                for row_words_max in [0, 40, ROW_WORDS_MAX] {
                    let common = common_to_any(&line, &others, &rows, row_words_max);
                    assert_eq!(common, expected, "{items} {lines} {row_words_max}");
                }
            }
        }
    }
}
