//! Batches without padding: sequences one after another, and the tokens to be predicted.

use std::ops::Range;

use candle_core::{Result, bail};

use crate::ops::attention::Group;

/// Tokens of a batch, one sequence after another.
///
/// Padding costs time and memory and can only change a result by mistake, so there is none: a
/// padded batch loses it in [`Packed::from_padded`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Token ids, `[T]`.
    pub ids: Vec<u32>,
    /// Position of each token in its sequence, `[T]`.
    pub positions: Vec<u32>,
    /// Which tokens belong together.
    pub groups: Vec<Group>,
}

impl Packed {
    /// Adds a sequence; returns where its tokens lie.
    pub fn push(&mut self, ids: &[u32]) -> Range<usize> {
        let tokens = self.append(ids, 0);
        self.groups.push(Group::sequence(tokens.clone()));
        tokens
    }

    /// Adds a prompt and its responses, the prompt once; returns where each response's tokens lie
    /// and, first, the prompt's.
    pub fn push_branches(
        &mut self,
        prompt: &[u32],
        responses: &[&[u32]],
    ) -> (Range<usize>, Vec<Range<usize>>) {
        let prefix = self.append(prompt, 0);
        let branches: Vec<_> = responses
            .iter()
            .map(|ids| self.append(ids, prompt.len()))
            .collect();
        self.groups.push(Group {
            prefix: prefix.clone(),
            branches: branches.clone(),
        });
        (prefix, branches)
    }

    fn append(&mut self, ids: &[u32], first_position: usize) -> Range<usize> {
        let start = self.ids.len();
        self.ids.extend_from_slice(ids);
        self.positions
            .extend((first_position..first_position + ids.len()).map(|p| p as u32));
        start..self.ids.len()
    }

    /// Takes the tokens of a padded batch whose mask is 1, in their order.
    ///
    /// Padding may stand on the left, on the right or anywhere: positions count the tokens that
    /// are there, as transformers' do when they are made from the mask. Also returns, for each
    /// row, the columns its tokens came from.
    ///
    /// # Errors
    /// `ids` and `mask` differ in shape.
    pub fn from_padded(ids: &[Vec<u32>], mask: &[Vec<u8>]) -> Result<(Self, Vec<Vec<usize>>)> {
        if ids.len() != mask.len() || ids.iter().zip(mask).any(|(i, m)| i.len() != m.len()) {
            bail!(
                "a batch of {} rows and its mask of {} differ in shape",
                ids.len(),
                mask.len()
            );
        }
        let mut batch = Self::default();
        let mut columns = Vec::with_capacity(ids.len());
        for (ids, mask) in ids.iter().zip(mask) {
            let there: Vec<usize> = (0..ids.len()).filter(|i| mask[*i] != 0).collect();
            batch.push(&there.iter().map(|i| ids[*i]).collect::<Vec<_>>());
            columns.push(there);
        }
        Ok((batch, columns))
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}

/// Tokens to be predicted: target `ids[i]` by the state at token `rows[i]` of the batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// Token of the batch whose state predicts.
    pub rows: Vec<u32>,
    /// Token that should follow it.
    pub ids: Vec<u32>,
    /// Targets whose losses hang together (the two responses of a pair), as ranges that lie one
    /// after another and cover all.
    pub groups: Vec<Range<usize>>,
    /// How the loss changes with the entropy of the distribution that each target is drawn from;
    /// empty where it does not.
    pub entropy_slopes: Vec<f32>,
}

impl Targets {
    /// Adds the tokens `tokens` of the batch as targets; the first is predicted by token `before`,
    /// each other one by its neighbour.
    pub fn push(&mut self, batch: &Packed, before: usize, tokens: Range<usize>) -> Range<usize> {
        let start = self.ids.len();
        for (i, token) in tokens.enumerate() {
            self.rows
                .push(if i == 0 { before } else { token - 1 } as u32);
            self.ids.push(batch.ids[token]);
        }
        start..self.ids.len()
    }

    /// Ends a group with the targets added since the last one.
    pub fn close_group(&mut self) {
        let start = self.groups.last().map_or(0, |g| g.end);
        self.groups.push(start..self.ids.len());
    }
}

/// A part of a batch that can be learned from alone.
#[derive(Debug, PartialEq)]
pub(super) struct Part {
    pub batch: Packed,
    pub targets: Targets,
    /// The batch's number of its first group of targets.
    pub first_group: usize,
}

/// Cuts a batch into parts of at most `tokens` tokens where its groups allow it: those of tokens
/// are never cut, nor those of targets. One part where nothing can be cut.
pub(super) fn parts(batch: &Packed, targets: &Targets, tokens: usize) -> Vec<Part> {
    let cuts = cuts(batch, targets);
    let mut parts = Vec::new();
    let mut start = Cut::default();
    let mut at = 0;
    while at < cuts.len() {
        let fits = cuts[at..].partition_point(|cut| cut.token <= start.token + tokens);
        // One that is too long alone is a part all the same.
        at += fits.max(1);
        let end = cuts[at - 1];
        parts.push(part(batch, targets, start, end));
        start = end;
    }
    parts
}

/// A place between groups: how many tokens, groups of tokens, and groups of targets lie before it.
#[derive(Clone, Copy, Debug, Default)]
struct Cut {
    token: usize,
    tokens_group: usize,
    targets_group: usize,
}

/// The places where a batch can be cut, the last of which is its end.
fn cuts(batch: &Packed, targets: &Targets) -> Vec<Cut> {
    let groups = &targets.groups;
    let whole = Cut {
        token: batch.tokens(),
        tokens_group: batch.groups.len(),
        targets_group: groups.len(),
    };
    let row = |group: &Range<usize>| targets.rows.get(group.clone()).unwrap_or_default();
    // No target before a cut is predicted behind it, and the other way round.
    let mut least_behind = vec![usize::MAX; groups.len() + 1];
    for (at, group) in groups.iter().enumerate().rev() {
        let least = row(group)
            .iter()
            .min()
            .map_or(usize::MAX, |row| *row as usize);
        least_behind[at] = least.min(least_behind[at + 1]);
    }
    let (mut number, mut most_before) = (0, 0);
    let mut cuts = Vec::new();
    for (at, group) in batch.groups.iter().enumerate() {
        let token = group.end();
        while number < groups.len() && least_behind[number] < token {
            let most = row(&groups[number]).iter().max();
            most_before = most.map_or(most_before, |row| most_before.max(*row as usize + 1));
            number += 1;
        }
        if most_before <= token && token < whole.token {
            cuts.push(Cut {
                token,
                tokens_group: at + 1,
                targets_group: number,
            });
        }
    }
    cuts.push(whole);
    cuts
}

fn part(batch: &Packed, targets: &Targets, start: Cut, end: Cut) -> Part {
    let shifted = |range: &Range<usize>| range.start - start.token..range.end - start.token;
    let tokens = start.token..end.token;
    let groups = &batch.groups[start.tokens_group..end.tokens_group];
    let of_targets = &targets.groups[start.targets_group..end.targets_group];
    let first = of_targets.first().map_or(0, |group| group.start);
    let range = first..of_targets.last().map_or(first, |group| group.end);
    let slopes = &targets.entropy_slopes;
    Part {
        batch: Packed {
            ids: batch.ids[tokens.clone()].to_vec(),
            positions: batch.positions[tokens].to_vec(),
            groups: groups
                .iter()
                .map(|group| Group {
                    prefix: shifted(&group.prefix),
                    branches: group.branches.iter().map(shifted).collect(),
                })
                .collect(),
        },
        targets: Targets {
            rows: targets.rows[range.clone()]
                .iter()
                .map(|row| row - start.token as u32)
                .collect(),
            ids: targets.ids[range.clone()].to_vec(),
            groups: of_targets
                .iter()
                .map(|group| group.start - first..group.end - first)
                .collect(),
            entropy_slopes: match slopes.is_empty() {
                true => Vec::new(),
                false => slopes[range].to_vec(),
            },
        },
        first_group: start.targets_group,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch positions that count padding.
    #[test]
    fn padding_disappears() -> Result<()> {
        let (batch, columns) = Packed::from_padded(
            &[vec![0, 5, 6], vec![7, 8, 0]],
            &[vec![0, 1, 1], vec![1, 1, 0]],
        )?;
        assert_eq!(batch.ids, [5, 6, 7, 8]);
        assert_eq!(batch.positions, [0, 1, 0, 1]);
        assert_eq!(batch.groups, [Group::sequence(0..2), Group::sequence(2..4)]);
        assert_eq!(columns, [[1, 2], [0, 1]]);
        assert!(Packed::from_padded(&[vec![1]], &[vec![]]).is_err());
        Ok(())
    }

    // Would catch a response whose first token is predicted by its sibling's last.
    #[test]
    fn branches_follow_their_prompt() {
        let mut batch = Packed::default();
        batch.push(&[9]);
        let (prefix, branches) = batch.push_branches(&[1, 2], &[&[3, 4], &[5]]);
        assert_eq!((prefix.clone(), branches.clone()), (1..3, vec![3..5, 5..6]));
        assert_eq!(batch.positions, [0, 0, 1, 2, 3, 2]);
        let mut targets = Targets::default();
        for branch in branches {
            targets.push(&batch, prefix.end - 1, branch);
        }
        targets.close_group();
        assert_eq!((targets.rows, targets.ids), (vec![2, 3, 2], vec![3, 4, 5]));
        assert!(matches!(targets.groups.as_slice(), [group] if *group == (0..3)));
    }

    // Would catch a part that predicts with another's states, groups that are torn apart, and
    // targets that get lost.
    #[test]
    fn batches_are_cut_between_groups() {
        let (mut batch, mut targets) = (Packed::default(), Targets::default());
        for first in [10, 20, 30] {
            let (prefix, branches) =
                batch.push_branches(&[first, first + 1], &[&[first + 2], &[first + 3]]);
            for branch in branches {
                targets.push(&batch, prefix.end - 1, branch);
                targets.close_group();
            }
        }
        targets.entropy_slopes = (0..6u8).map(f32::from).collect();
        let lengths = |tokens| -> Vec<usize> {
            let parts = parts(&batch, &targets, tokens);
            parts.iter().map(|part| part.batch.tokens()).collect()
        };
        assert_eq!(lengths(12), [12]);
        assert_eq!(lengths(11), [8, 4]);
        assert_eq!(lengths(4), [4, 4, 4]);
        assert_eq!(lengths(1), [4, 4, 4]);
        let last = parts(&batch, &targets, 8).pop().expect("two parts");
        let mut expected = Packed::default();
        expected.push_branches(&[30, 31], &[&[32], &[33]]);
        assert_eq!((last.first_group, &last.batch), (4, &expected));
        assert_eq!(last.targets.rows, [1, 1]);
        assert_eq!(last.targets.ids, [32, 33]);
        assert!(matches!(last.targets.groups.as_slice(), [a, b] if (a, b) == (&(0..1), &(1..2))));
        assert_eq!(last.targets.entropy_slopes, [4.0, 5.0]);
        // A loss that hangs on two prompts, and targets in another order than their tokens.
        let mut together = targets.clone();
        together.groups = vec![0..1, 1..3, 3..4, 4..6];
        let two: Vec<usize> = parts(&batch, &together, 4)
            .iter()
            .map(|p| p.first_group)
            .collect();
        assert_eq!(two, [0, 3]);
        let mut crossed = targets.clone();
        crossed.rows.reverse();
        assert_eq!(parts(&batch, &crossed, 4).len(), 1);
    }
}
