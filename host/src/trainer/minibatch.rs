//! Tokenised examples, and how some of them become a batch.

use std::ops::Range;

use crate::models::{Packed, Targets};

/// A prompt and the response to learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    prompt: Vec<u32>,
    response: Vec<u32>,
}

impl Demonstration {
    /// Appends `eos` to the response unless it is there, and takes tokens from the prompt's
    /// beginning until both fit into `max_length`.
    ///
    /// Without a prompt it is a text: its first token stands for one, and it loses what does not
    /// fit at its end, as TRL's `text` rows do.
    ///
    /// None where nothing could be learnt: the response is empty, or it leaves no room for a
    /// token of the prompt.
    pub fn new(
        prompt: &[u32],
        response: &[u32],
        eos: Option<u32>,
        max_length: usize,
    ) -> Option<Self> {
        let mut response = with_eos(response, eos)?;
        if prompt.is_empty() {
            response.truncate(max_length);
            let rest = response.split_off(1.min(response.len()));
            return (!rest.is_empty()).then_some(Self {
                prompt: response,
                response: rest,
            });
        }
        let prompt = fitting(prompt, response.len(), max_length)?;
        Some(Self { prompt, response })
    }

    /// Number of tokens whose log-probability is trained.
    pub fn response_tokens(&self) -> usize {
        self.response.len()
    }
}

/// A prompt and two responses, of which people or tests preferred one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    prompt: Vec<u32>,
    chosen: Vec<u32>,
    rejected: Vec<u32>,
}

impl Pair {
    /// As [`Demonstration::new`], for both responses; the prompt makes room for the longer one.
    pub fn new(
        prompt: &[u32],
        chosen: &[u32],
        rejected: &[u32],
        eos: Option<u32>,
        max_length: usize,
    ) -> Option<Self> {
        let (chosen, rejected) = (with_eos(chosen, eos)?, with_eos(rejected, eos)?);
        let prompt = fitting(prompt, chosen.len().max(rejected.len()), max_length)?;
        Some(Self {
            prompt,
            chosen,
            rejected,
        })
    }

    /// Prompt, chosen and rejected response, as they are trained on.
    pub(super) fn parts(&self) -> [&[u32]; 3] {
        [&self.prompt, &self.chosen, &self.rejected]
    }

    /// Tokens of the chosen and of the rejected response.
    pub fn response_tokens(&self) -> [usize; 2] {
        [self.chosen.len(), self.rejected.len()]
    }
}

fn with_eos(response: &[u32], eos: Option<u32>) -> Option<Vec<u32>> {
    let mut response = response.to_vec();
    if let Some(eos) = eos.filter(|eos| response.last() != Some(eos)) {
        response.push(eos);
    }
    (!response.is_empty()).then_some(response)
}

fn fitting(prompt: &[u32], response: usize, max_length: usize) -> Option<Vec<u32>> {
    let room = max_length.saturating_sub(response).min(prompt.len());
    (room > 0).then(|| prompt[prompt.len() - room..].to_vec())
}

/// A batch of demonstrations; targets are the response tokens, one group each.
pub(super) fn demonstrations<'a>(
    examples: impl Iterator<Item = &'a Demonstration>,
) -> (Packed, Targets) {
    let (mut batch, mut targets) = (Packed::default(), Targets::default());
    for Demonstration { prompt, response } in examples {
        let all = batch.push(&[prompt.as_slice(), response].concat());
        let start = all.start + prompt.len();
        targets.push(&batch, start - 1, start..all.end);
        targets.close_group();
    }
    (batch, targets)
}

/// A batch of pairs: the prompt once, its responses as branches; a pair is a group of targets.
///
/// Also returns, per pair, which of the group's targets belong to the chosen response.
pub(super) fn pairs<'a>(
    examples: impl Iterator<Item = &'a Pair>,
) -> (Packed, Targets, Vec<Range<usize>>) {
    let (mut batch, mut targets, mut chosen_ranges) =
        (Packed::default(), Targets::default(), Vec::new());
    for Pair {
        prompt,
        chosen,
        rejected,
    } in examples
    {
        let (prefix, branches) = batch.push_branches(prompt, &[chosen, rejected]);
        for branch in branches {
            targets.push(&batch, prefix.end - 1, branch);
        }
        targets.close_group();
        chosen_ranges.push(0..chosen.len());
    }
    (batch, targets, chosen_ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        prompt: &[u32],
        response: &[u32],
        max_length: usize,
        expected: Option<(&[u32], &[u32])>,
    ) {
        let found = Demonstration::new(prompt, response, Some(9), max_length);
        assert_eq!(
            found
                .as_ref()
                .map(|d| (d.prompt.as_slice(), d.response.as_slice())),
            expected
        );
    }

    // Would catch an end that is doubled, and a truncation from the wrong side.
    #[test]
    fn examples_are_cut_from_the_left() {
        check(&[1, 2, 3], &[4, 5], 10, Some((&[1, 2, 3], &[4, 5, 9])));
        check(&[1, 2, 3], &[4, 9], 10, Some((&[1, 2, 3], &[4, 9])));
        check(&[1, 2, 3], &[4, 5], 5, Some((&[2, 3], &[4, 5, 9])));
        check(&[1, 2, 3], &[4, 5], 3, None);
        check(&[], &[4, 5], 10, Some((&[4], &[5, 9])));
        let pair = Pair::new(&[1, 2, 3], &[4], &[5, 6], Some(9), 5).expect("fits");
        assert_eq!(
            (pair.prompt, pair.chosen, pair.rejected),
            (vec![2, 3], vec![4, 9], vec![5, 6, 9])
        );
        assert_eq!(Demonstration::new(&[1], &[], None, 5), None);
    }

    // Would catch targets that include the prompt.
    #[test]
    fn targets_are_responses() {
        let one = Demonstration::new(&[1, 2], &[3], Some(9), 10).expect("fits");
        let (batch, targets) = demonstrations([&one, &one].into_iter());
        assert_eq!(batch.ids, [1, 2, 3, 9, 1, 2, 3, 9]);
        assert_eq!(
            (targets.rows, targets.ids),
            (vec![1, 2, 5, 6], vec![3, 9, 3, 9])
        );
        let pair = Pair::new(&[1, 2], &[3], &[4, 5], Some(9), 10).expect("fits");
        let (batch, targets, chosen) = pairs([&pair].into_iter());
        assert_eq!(batch.ids, [1, 2, 3, 9, 4, 5, 9]);
        assert_eq!(
            (targets.rows, targets.ids),
            (vec![1, 2, 1, 4, 5], vec![3, 9, 4, 5, 9])
        );
        assert!(matches!(targets.groups.as_slice(), [group] if *group == (0..5)));
        assert!(matches!(chosen.as_slice(), [range] if *range == (0..2)));
    }
}
