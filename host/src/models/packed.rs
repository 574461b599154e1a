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
}
