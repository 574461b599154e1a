//! Confidence intervals by resampling: the percentile bootstrap
//! (Efron & Tibshirani 1993, ch. 13), as Koehn 2004 uses it for corpus scores.

use crate::plugin::Metric;
use crate::random::Stream;

/// Sums that are held at once.
const CORPORA_PER_CALL: usize = 1000;

/// 95 % interval of the mean of `values`; `None` for fewer than two values.
pub fn of_mean(values: &[f64], resamples: usize, mut rng: Stream) -> Option<[f64; 2]> {
    if values.len() < 2 {
        return None;
    }
    let means = (0..resamples)
        .map(|_| {
            let sum: f64 = values.iter().map(|_| values[rng.below(values.len())]).sum();
            sum / values.len() as f64
        })
        .collect();
    Some(percentiles(means))
}

/// 95 % interval of the corpus score of the samples behind `statistics`;
/// `None` for fewer than two samples, or where a resample can't be scored.
pub fn of_corpus(
    metric: &Metric,
    statistics: &[Vec<f64>],
    resamples: usize,
    mut rng: Stream,
) -> Option<[f64; 2]> {
    if statistics.len() < 2 {
        return None;
    }
    let count = statistics.len();
    let picks = (0..resamples).map(|_| (0..count).map(|_| rng.below(count)).collect::<Vec<_>>());
    let statistics: Vec<&[f64]> = statistics.iter().map(Vec::as_slice).collect();
    Some(percentiles(scores_of(metric, &statistics, picks)?))
}

/// Corpus scores of the samples that each pick names; `None` where one can't be scored.
pub fn scores_of(
    metric: &Metric,
    statistics: &[&[f64]],
    picks: impl IntoIterator<Item = Vec<usize>>,
) -> Option<Vec<f64>> {
    let mut picks = picks.into_iter();
    let mut values = Vec::new();
    loop {
        let sums: Vec<Vec<f64>> = picks
            .by_ref()
            .take(CORPORA_PER_CALL)
            .map(|pick| {
                let mut sum = vec![0.0; statistics[0].len()];
                for at in pick {
                    add(&mut sum, statistics[at]);
                }
                sum
            })
            .collect();
        if sums.is_empty() {
            return Some(values);
        }
        for score in metric.score_corpora(&sums) {
            values.push(score.ok()?.value);
        }
    }
}

/// Element by element; all vectors have the same length.
pub fn sum(statistics: &[Vec<f64>]) -> Vec<f64> {
    let mut sum = vec![0.0; statistics.first().map_or(0, Vec::len)];
    for vector in statistics {
        add(&mut sum, vector);
    }
    sum
}

fn add(sum: &mut [f64], vector: &[f64]) {
    for (sum, value) in sum.iter_mut().zip(vector) {
        *sum += value;
    }
}

/// The 2.5 % and 97.5 % percentiles, interpolated as numpy's default does.
pub fn percentiles(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    [0.025, 0.975].map(|part| {
        let at = part * (values.len() - 1) as f64;
        let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
        low + (high - low) * at.fract()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    /// Would catch an interval of the values instead of their mean, and one that
    /// moves with the number of resamples.
    #[test]
    fn interval_of_a_mean() {
        // 100 values, half 0 and half 1: the mean's standard error is 0.05.
        let values: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let [low, high] =
            of_mean(&values, 10_000, Stream::new(0, Purpose::Bootstrap, 0, 0)).unwrap();
        assert!((low - 0.402).abs() < 0.012, "{low}");
        assert!((high - 0.598).abs() < 0.012, "{high}");
        assert_eq!(
            of_mean(&[1.0], 1000, Stream::new(0, Purpose::Bootstrap, 0, 0)),
            None
        );
        assert_eq!(
            of_mean(&[0.5, 0.5], 1000, Stream::new(0, Purpose::Bootstrap, 0, 0)),
            Some([0.5, 0.5])
        );
    }

    /// Reference: numpy.percentile([1, 2, 3, 4], [2.5, 97.5]) of numpy 2.4.
    #[test]
    fn percentiles_as_numpy() {
        let [low, high] = percentiles(vec![4.0, 1.0, 3.0, 2.0]);
        assert!((low - 1.075).abs() < 1e-12 && (high - 3.925).abs() < 1e-12);
    }
}
