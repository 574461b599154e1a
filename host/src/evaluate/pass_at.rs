//! pass@k: the chance that at least one of k samples of a task passes its tests.
//!
//! The estimator is unbiased for any number of samples (Chen et al. 2021, "Evaluating Large
//! Language Models Trained on Code", eq. 1): of `n` samples of a task `c` passed, so
//! `pass@k = 1 − C(n−c, k) / C(n, k)`, and the score is the mean over the tasks.

use std::collections::HashMap;

use serde::Serialize;

use super::Scored;
use super::bootstrap;
use crate::random::Stream;

/// pass@k over some tasks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassAt {
    pub k: usize,
    /// Mean over the tasks; absent if a task has fewer than k samples.
    pub value: Option<f64>,
    /// 95 % bootstrap interval over the tasks.
    pub interval: Option<[f64; 2]>,
    pub tasks: usize,
    /// Judged samples of all tasks.
    pub samples: usize,
    /// Samples without a verdict, which count as not passed.
    pub failures: usize,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Samples of one task, and how many of them passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub samples: usize,
    pub passed: usize,
    /// Samples without a verdict.
    pub failures: usize,
}

/// One tally a task, in the order in which tasks first appear. Samples of one id are of one task;
/// a sample has passed if its score is 1.
pub fn tally(ids: &[String], scored: &Scored) -> Vec<(String, Tally)> {
    let mut at: HashMap<&str, usize> = HashMap::new();
    let mut tasks: Vec<(String, Tally)> = Vec::new();
    for (id, score) in ids.iter().zip(&scored.per_sample) {
        let task = *at.entry(id).or_insert_with(|| {
            tasks.push((id.clone(), Tally::default()));
            tasks.len() - 1
        });
        let tally = &mut tasks[task].1;
        tally.samples += 1;
        match score {
            Ok(score) if score.value >= 1.0 => tally.passed += 1,
            Ok(_) => {}
            Err(_) => tally.failures += 1,
        }
    }
    tasks
}

/// pass@k of the tasks behind `tallies`, with `resamples` behind the interval.
pub fn pass_at(k: usize, tallies: &[(String, Tally)], resamples: usize, rng: Stream) -> PassAt {
    let short = tallies.iter().find(|(_, tally)| tally.samples < k);
    let values: Vec<f64> = match short {
        Some(_) => Vec::new(),
        None => tallies
            .iter()
            .map(|(_, tally)| estimate(tally.samples, tally.passed, k))
            .collect(),
    };
    PassAt {
        k,
        value: (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64),
        interval: bootstrap::of_mean(&values, resamples, rng),
        tasks: tallies.len(),
        samples: tallies.iter().map(|(_, tally)| tally.samples).sum(),
        failures: tallies.iter().map(|(_, tally)| tally.failures).sum(),
        reason: short.map(|(id, tally)| {
            format!(
                "task `{id}` has {} samples; pass@{k} takes at least {k}",
                tally.samples
            )
        }),
    }
}

/// `1 − C(n−c, k) / C(n, k)` as a product, which neither overflows nor cancels.
///
/// `c <= n` and `1 <= k <= n`.
pub fn estimate(n: usize, c: usize, k: usize) -> f64 {
    if n - c < k {
        return 1.0;
    }
    let missed: f64 = (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product();
    1.0 - missed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    /// Reference: the definition in exact integers, by `math.comb` of Python 3.11.
    #[test]
    fn estimates_are_the_binomials() {
        for (n, c, k, expected) in [
            (1, 0, 1, 0.0),
            (1, 1, 1, 1.0),
            (10, 3, 1, 0.3),
            (10, 3, 5, 0.916_666_666_666_666_7),
            (10, 3, 10, 1.0),
            (200, 17, 10, 0.597_448_901_579_911_8),
            (200, 1, 100, 0.5),
        ] {
            let found = estimate(n, c, k);
            assert!((found - expected).abs() < 1e-12, "{n} {c} {k}: {found}");
        }
    }

    /// Would catch tasks that weigh by their samples, and a k that some task can't answer.
    #[test]
    fn tasks_weigh_the_same() {
        let tally = |samples, passed| Tally {
            samples,
            passed,
            failures: 0,
        };
        let tallies = [("a".to_owned(), tally(2, 1)), ("b".to_owned(), tally(8, 0))];
        let rng = || Stream::new(0, Purpose::Bootstrap, 0, 0);
        assert_eq!(pass_at(1, &tallies, 100, rng()).value, Some(0.25));
        assert_eq!(pass_at(2, &tallies, 100, rng()).value, Some(0.5));
        let short = pass_at(3, &tallies, 100, rng());
        assert_eq!(
            (short.value, short.reason.as_deref()),
            (
                None,
                Some("task `a` has 2 samples; pass@3 takes at least 3")
            )
        );
    }
}
