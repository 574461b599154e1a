//! Holding examples out.

use crate::random::{Purpose, Stream};

/// Splits examples into those to train on and those held out, both in their
/// original order. Examples of one prompt (as `prompt` tells it) stay together,
/// so that nothing held out has been seen in training.
pub fn hold_out<T>(
    examples: Vec<T>,
    prompt: impl Fn(&T) -> &str,
    fraction: f64,
    seed: u64,
) -> (Vec<T>, Vec<T>) {
    let mut prompts: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for example in &examples {
        if seen.insert(prompt(example).to_owned()) {
            prompts.push(prompt(example).to_owned());
        }
    }
    // One prompt can't be split; of two or more, each side gets at least one.
    let held = ((prompts.len() as f64 * fraction).round() as usize).clamp(
        usize::from(prompts.len() > 1),
        prompts.len().saturating_sub(1),
    );
    Stream::new(seed, Purpose::Split, 0, 0).shuffle(&mut prompts);
    let held: std::collections::HashSet<String> = prompts.into_iter().take(held).collect();
    examples
        .into_iter()
        .partition(|example| !held.contains(prompt(example)))
}

#[cfg(test)]
mod tests {
    use super::hold_out;

    /// Would catch a held-out prompt that is trained on, and a split that depends on chance.
    #[test]
    fn prompts_stay_on_one_side() {
        let examples: Vec<(String, usize)> =
            (0..100).map(|i| (format!("p{}", i % 25), i)).collect();
        let split = |seed| hold_out(examples.clone(), |(prompt, _)| prompt, 0.2, seed);
        let (train, held) = split(1);
        assert_eq!((train.len(), held.len()), (80, 20));
        assert!(
            held.iter()
                .all(|(prompt, _)| train.iter().all(|(other, _)| other != prompt))
        );
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
    }

    /// Would catch an empty training set or an empty held-out set.
    #[test]
    fn both_sides_get_something() {
        let two = vec!["a", "b"];
        let (train, held) = hold_out(two, |text| text, 0.01, 0);
        assert_eq!((train.len(), held.len()), (1, 1));
        let (train, held) = hold_out(vec!["a", "a"], |text| text, 0.9, 0);
        assert_eq!((train.len(), held.len()), (2, 0));
    }
}
