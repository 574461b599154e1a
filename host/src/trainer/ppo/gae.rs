//! Generalised advantage estimation and whitening.

/// Added to the variance before its root: TRL's `masked_whiten`.
const WHITEN_EPSILON: f64 = 1e-8;

/// How much later rewards count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Discount {
    /// γ: weight of a reward one token later.
    pub gamma: f64,
    /// λ: weight of an estimate one token longer.
    pub lambda: f64,
}

/// Advantages over the tokens of one response.
///
/// `δ_t = r_t + γ V_{t+1} − V_t`, `A_t = δ_t + γ λ A_{t+1}`
/// (Schulman et al. 2016, eq. 16, <https://arxiv.org/abs/1506.02438>).
///
/// `values[t]` is the value before token `t`; after the last token it is 0, as the response ends
/// there. Returns as many advantages, not whitened. What a value should have been, the return,
/// is `A_t + V_t`.
///
/// # Panics
/// `rewards` and `values` differ in length.
pub fn gae(rewards: &[f64], values: &[f32], discount: Discount) -> Vec<f64> {
    assert_eq!(rewards.len(), values.len(), "a value for each token");
    let Discount { gamma, lambda } = discount;
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for t in (0..rewards.len()).rev() {
        let value = f64::from(values[t]);
        let delta = rewards[t] + gamma * next_value - value;
        advantages[t] = delta + gamma * lambda * next_advantage;
        (next_value, next_advantage) = (value, advantages[t]);
    }
    advantages
}

/// What becomes of the mean in [`whiten`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mean {
    /// It becomes 0.
    Shift,
    /// It stays.
    Keep,
}

/// Gives numbers variance 1: `(x − mean)/√(var + 1e-8)`, the variance being the unbiased one over
/// all rows. Fewer than two numbers stay as they are: they have no variance.
pub fn whiten<'a>(rows: impl Iterator<Item = &'a mut [f64]>, mean: Mean) {
    let mut rows: Vec<&mut [f64]> = rows.collect();
    let count = rows.iter().map(|row| row.len()).sum::<usize>() as f64;
    if count < 2.0 {
        return;
    }
    let sum = |f: &dyn Fn(f64) -> f64| rows.iter().flat_map(|row| row.iter()).map(|x| f(*x)).sum();
    let average: f64 = sum(&|x| x);
    let average = average / count;
    let squares: f64 = sum(&|x| (x - average) * (x - average));
    let scale = 1.0 / (squares / (count - 1.0) + WHITEN_EPSILON).sqrt();
    let offset = match mean {
        Mean::Shift => 0.0,
        Mean::Keep => average,
    };
    for x in rows.iter_mut().flat_map(|row| row.iter_mut()) {
        *x = (*x - average) * scale + offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a wrong recursion: with λ = γ = 1 an advantage is what is still to come, less
    // the value; with λ = 0 only the next step counts.
    #[test]
    fn the_ends_of_lambda_are_known() {
        let (rewards, values) = ([1.0, 0.0, 2.0], [0.5, 1.0, -1.0]);
        let with = |gamma, lambda| gae(&rewards, &values, Discount { gamma, lambda });
        assert_eq!(with(1.0, 1.0), [2.5, 1.0, 3.0]);
        assert_eq!(with(0.5, 0.0), [1.0, -1.5, 3.0]);
        assert!(
            gae(
                &[],
                &[],
                Discount {
                    gamma: 1.0,
                    lambda: 1.0
                }
            )
            .is_empty()
        );
    }

    // Would catch a NaN where there is nothing to compare.
    #[test]
    fn whitening_needs_variance() {
        let mut one = [3.0];
        whiten([one.as_mut_slice()].into_iter(), Mean::Shift);
        assert_eq!(one, [3.0]);
        let mut same = [2.0, 2.0];
        whiten([same.as_mut_slice()].into_iter(), Mean::Keep);
        assert_eq!(same, [2.0, 2.0]);
    }
}
