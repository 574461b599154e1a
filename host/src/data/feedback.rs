//! Human feedback: ratings become demonstrations and preferences.

use std::collections::BTreeMap;

use super::sources::Error;
use super::{Demonstration, PreferencePair, Rating};

/// Preferences implied by ratings: where one prompt has responses with
/// different ratings, the best is preferred to each that is rated lower.
pub fn implied_pairs(ratings: &[Rating]) -> Vec<PreferencePair> {
    implied_comparisons(ratings)
        .into_iter()
        .map(|(best, other)| PreferencePair {
            prompt: ratings[best].prompt.clone(),
            chosen: ratings[best].response.clone(),
            rejected: ratings[other].response.clone(),
        })
        .collect()
}

/// The same as places in `ratings`: of the better one, then of the other.
pub fn implied_comparisons(ratings: &[Rating]) -> Vec<(usize, usize)> {
    let mut by_prompt: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut order = Vec::new();
    for (at, rating) in ratings.iter().enumerate() {
        let group = by_prompt.entry(&rating.prompt).or_default();
        if group.is_empty() {
            order.push(rating.prompt.as_str());
        }
        group.push(at);
    }
    let mut pairs = Vec::new();
    for prompt in order {
        let group = &by_prompt[prompt];
        // The first of equals, so that the order of the file decides and not chance.
        let best = group
            .iter()
            .copied()
            .reduce(|best, other| {
                if ratings[other].rating > ratings[best].rating {
                    other
                } else {
                    best
                }
            })
            .expect("a group has a member");
        let is_worse = |other: usize| {
            let (best, other) = (&ratings[best], &ratings[other]);
            other.rating < best.rating && other.response != best.response
        };
        let worse = group.iter().copied().filter(|other| is_worse(*other));
        pairs.extend(worse.map(|other| (best, other)));
    }
    pairs
}

/// Ratings with mean 0 and standard deviation 1; zeros where all are alike.
pub fn normalised(ratings: &[Rating]) -> Vec<f64> {
    let count = ratings.len().max(1) as f64;
    let mean = ratings.iter().map(|r| r.rating).sum::<f64>() / count;
    let squares = ratings.iter().map(|r| (r.rating - mean).powi(2));
    let deviation = (squares.sum::<f64>() / count).sqrt();
    let scale = if deviation > 0.0 {
        1.0 / deviation
    } else {
        0.0
    };
    ratings.iter().map(|r| (r.rating - mean) * scale).collect()
}

/// Ratings worth imitating: those in the upper half of the file's scale.
pub fn demonstrations(ratings: &[Rating]) -> Vec<Demonstration> {
    let (low, high) = ratings
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), rating| {
            (low.min(rating.rating), high.max(rating.rating))
        });
    // All alike: nothing says that any of them is bad.
    let middle = if low < high { (low + high) / 2.0 } else { low };
    ratings
        .iter()
        .filter(|rating| rating.rating >= middle)
        .map(|rating| Demonstration {
            prompt: rating.prompt.clone(),
            response: rating.response.clone(),
        })
        .collect()
}

/// Checks that every row has as many logits as the first that has any.
///
/// # Errors
/// The first row that has another number, by its line.
pub fn check_logits(ratings: &[Rating]) -> Result<(), Error> {
    let mut expected = None;
    for rating in ratings {
        let found = rating.logits.len();
        if found == 0 {
            continue;
        }
        if found != *expected.get_or_insert(found) {
            return Err(Error::Row {
                path: rating.origin.path.display().to_string(),
                at: super::sources::place(rating.origin.line, rating.origin.row),
                field: "logits".into(),
                message: format!(
                    "{found} logits, where earlier rows have {}",
                    expected.unwrap_or_default()
                ),
                more: String::new(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Origin;
    use super::*;

    fn rated(prompt: &str, response: &str, rating: f64, logits: usize) -> Rating {
        Rating {
            prompt: prompt.into(),
            response: response.into(),
            rating,
            logits: vec![0.5; logits],
            origin: Origin {
                path: "f.json".into(),
                line: 3,
                row: 2,
            },
        }
    }

    /// Would catch pairs of equals, pairs across prompts, and a reversed preference.
    #[test]
    fn ratings_of_one_prompt_become_pairs() {
        let ratings = [
            rated("p", "bad", 1.0, 0),
            rated("q", "alone", 5.0, 0),
            rated("p", "good", 5.0, 0),
            rated("p", "also good", 5.0, 0),
            rated("p", "fair", 3.0, 0),
        ];
        let pairs = implied_pairs(&ratings);
        let found: Vec<_> = pairs
            .iter()
            .map(|pair| {
                (
                    pair.prompt.as_str(),
                    pair.chosen.as_str(),
                    pair.rejected.as_str(),
                )
            })
            .collect();
        assert_eq!(found, [("p", "good", "bad"), ("p", "good", "fair")]);
        assert_eq!(demonstrations(&ratings).len(), 4, "ratings 3 and 5 of 1..5");
    }

    /// Would catch a deviation of the sample, and a division by zero.
    #[test]
    fn ratings_get_one_scale() {
        let rate = |ratings: &[f64]| {
            let rows: Vec<Rating> = ratings.iter().map(|r| rated("p", "a", *r, 0)).collect();
            normalised(&rows)
        };
        assert_eq!(rate(&[1.0, 3.0]), [-1.0, 1.0]);
        assert_eq!(rate(&[4.0, 4.0]), [0.0, 0.0]);
        assert_eq!(rate(&[]), [0.0; 0]);
    }

    /// Would catch feedback whose logits can't be stacked into one tensor.
    #[test]
    fn logits_of_another_length_name_the_row() {
        assert!(check_logits(&[rated("p", "a", 1.0, 3), rated("p", "b", 1.0, 0)]).is_ok());
        let error = check_logits(&[rated("p", "a", 1.0, 3), rated("p", "b", 1.0, 2)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`f.json`, line 3: `logits`: 2 logits, where earlier rows have 3"
        );
    }
}
