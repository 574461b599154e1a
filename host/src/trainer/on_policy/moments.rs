//! Mean and deviation of all rewards so far, by which rewards are brought to one scale.

use crate::config::rollout::RewardNormalisation;

/// Running moments, updated batch by batch (Chan et al. 1979, eq. 2.1), as `RunningMoments` of
/// TRL 0.11.4 has them: it begins with mean 0 and variance 1 of nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunningMoments {
    pub count: f64,
    pub mean: f64,
    /// Mean squared difference from the mean.
    pub variance: f64,
}

impl Default for RunningMoments {
    fn default() -> Self {
        Self {
            count: 0.0,
            mean: 0.0,
            variance: 1.0,
        }
    }
}

impl RunningMoments {
    /// Takes the numbers of a batch in; those that are not finite are no numbers.
    pub fn update(&mut self, batch: &[f64]) {
        let finite: Vec<f64> = batch.iter().copied().filter(|x| x.is_finite()).collect();
        if finite.is_empty() {
            return;
        }
        let count = finite.len() as f64;
        let mean = finite.iter().sum::<f64>() / count;
        let squares: f64 = finite.iter().map(|x| (x - mean).powi(2)).sum();
        let total = self.count + count;
        let difference = mean - self.mean;
        let between = difference * difference * self.count * count / total;
        self.variance = (self.variance * self.count + between + squares) / total;
        self.mean += difference * count / total;
        self.count = total;
    }

    /// The unbiased deviation; that of fewer than two numbers is 1.
    pub fn deviation(&self) -> f64 {
        match self.count {
            count if count < 2.0 => 1.0,
            count => (self.variance * count / (count - 1.0)).sqrt(),
        }
    }

    /// Brings a batch's rewards to the scale of all so far, its own included, by which they were
    /// divided.
    pub fn normalise(&mut self, rewards: &mut [f64], how: RewardNormalisation) -> f64 {
        let shift = match how {
            RewardNormalisation::Off => return 1.0,
            RewardNormalisation::Scale => 0.0,
            RewardNormalisation::Standardise => 1.0,
        };
        self.update(rewards);
        // TRL's: the smallest step of an f32 at 1.
        let scale = self.deviation() + f64::from(f32::EPSILON);
        for reward in rewards {
            *reward = (*reward - shift * self.mean) / scale;
        }
        scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch batches that count for more than their numbers, and a NaN that stays for ever.
    #[test]
    fn batches_add_up_to_the_whole() {
        let all = [0.3, -1.0, 2.5, 0.0, 0.7, 4.0, -2.0];
        let mut parts = RunningMoments::default();
        for part in [&all[..3], &all[3..4], &all[4..]] {
            parts.update(part);
        }
        parts.update(&[f64::NAN, f64::INFINITY]);
        let mut whole = RunningMoments::default();
        whole.update(&all);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} for {b}");
        close(parts.mean, whole.mean);
        close(parts.variance, whole.variance);
        close(parts.count, 7.0);
        close(whole.deviation(), super::super::deviation(&all));
    }

    // Would catch a division by zero where all rewards are alike.
    #[test]
    fn equal_rewards_stay_finite() {
        let mut rewards = [2.0; 3];
        RunningMoments::default().normalise(&mut rewards, RewardNormalisation::Standardise);
        assert_eq!(rewards, [0.0; 3]);
        let mut one = [3.0];
        RunningMoments::default().normalise(&mut one, RewardNormalisation::Scale);
        assert!((one[0] - 3.0).abs() < 1e-5);
    }
}
