//! Is one system better than another, or lucky? The paired bootstrap (Koehn
//! 2004), with the p-value of sacrebleu 2.6's `--paired-bs`.

use serde::Serialize;

use super::{Scored, bootstrap};
use crate::plugin::Metric;
use crate::plugin::metric::Headline;
use crate::random::Stream;

/// Fewer pairs say nothing.
const PAIRS_MIN: usize = 2;

/// A system against a baseline, by one metric, over the samples both were scored on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub metric: String,
    /// Samples that both systems were scored on.
    pub samples: usize,
    pub baseline: f64,
    pub system: f64,
    /// `system - baseline`, with its 95 % bootstrap interval.
    pub difference: f64,
    pub interval: [f64; 2],
    /// How often a difference as large would come from chance, from 0 to 1.
    pub p_value: f64,
}

/// Compares two systems' scores of the same samples, in the same order.
/// `None` where fewer than two samples were scored for both, or a metric does not add.
pub fn compare(
    metric: &Metric,
    baseline: &Scored,
    system: &Scored,
    resamples: usize,
    rng: &Stream,
) -> Option<Comparison> {
    let both: Vec<usize> = (0..baseline.per_sample.len().min(system.per_sample.len()))
        .filter(|at| baseline.per_sample[*at].is_ok() && system.per_sample[*at].is_ok())
        .collect();
    if both.len() < PAIRS_MIN {
        return None;
    }
    // The same resamples for both systems, drawn anew for each: kept, they
    // would take more memory than the samples.
    let picks = || {
        let (mut rng, count) = (rng.clone(), both.len());
        (0..resamples).map(move |_| (0..count).map(|_| rng.below(count)).collect::<Vec<_>>())
    };
    let values = |scored: &Scored| -> Option<(f64, Vec<f64>)> {
        match metric.descriptor().headline {
            Headline::Mean => {
                let singles: Vec<f64> = both
                    .iter()
                    .filter_map(|at| scored.per_sample[*at].as_ref().ok())
                    .map(|score| score.value)
                    .collect();
                let mean = |of: &mut dyn Iterator<Item = f64>| of.sum::<f64>() / both.len() as f64;
                let resampled = picks()
                    .map(|pick| mean(&mut pick.iter().map(|at| singles[*at])))
                    .collect();
                Some((mean(&mut singles.iter().copied()), resampled))
            }
            Headline::Corpus => {
                let all = scored.statistics_by_sample();
                let statistics: Vec<&[f64]> =
                    both.iter().map(|at| all[*at]).collect::<Option<_>>()?;
                let real = bootstrap::scores_of(metric, &statistics, [(0..both.len()).collect()])?;
                let resampled = bootstrap::scores_of(metric, &statistics, picks())?;
                Some((real[0], resampled))
            }
        }
    };
    let (baseline_value, baseline_resampled) = values(baseline)?;
    let (system_value, system_resampled) = values(system)?;
    let differences: Vec<f64> = system_resampled
        .iter()
        .zip(&baseline_resampled)
        .map(|(system, baseline)| system - baseline)
        .collect();
    Some(Comparison {
        metric: metric.name().to_owned(),
        samples: both.len(),
        baseline: baseline_value,
        system: system_value,
        difference: system_value - baseline_value,
        p_value: p_value(&differences, system_value - baseline_value),
        interval: bootstrap::percentiles(differences),
    })
}

/// Two-sided: how often a resample's difference lies further from the mean of
/// all resamples' than the real one lies from 0. Neither end is ever certain:
/// one more resample would have shown it.
fn p_value(differences: &[f64], real: f64) -> f64 {
    // Sacrebleu calls it significant that a system doesn't differ from itself.
    if differences.iter().all(|value| *value == 0.0) {
        return 1.0;
    }
    let sizes: Vec<f64> = differences.iter().map(|value| value.abs()).collect();
    let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
    let further = sizes
        .iter()
        .filter(|size| *size - mean > real.abs())
        .count();
    (further + 1) as f64 / (sizes.len() + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference: `_paired_bs_test` of sacrebleu 2.6.0 with these differences:
    /// `stats = abs(d) - abs(d).mean(); (sum(stats > abs(real)) + 1) / (len(d) + 1)`.
    /// Only where nothing differs we say 1, where it says 1 / (n + 1).
    #[test]
    fn p_values_as_sacrebleu() {
        let differences = [0.5, -0.5, 2.0, 0.1, 0.0, 3.0, -2.5];
        for (real, expected) in [
            (0.0, 0.5),
            (0.8, 0.375),
            (1.0, 0.375),
            (1.5, 0.25),
            (9.0, 0.125),
        ] {
            assert_eq!(p_value(&differences, real), expected, "{real}");
        }
        assert_eq!(p_value(&[0.0; 9], 0.0), 1.0);
    }
}
