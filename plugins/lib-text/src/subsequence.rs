//! Longest common subsequences, 64 cells of the table at a time.
//!
//! A row of the table rises by 0 or 1 from cell to cell, so it is kept as bits,
//! 0 where it rises (Hyyrö 2004, "Bit-parallel LCS-length computation
//! revisited", <https://www.cs.uta.fi/~helmu/pubs/psc04.pdf>). Only words that
//! a match or a carry touches are computed.

use crate::positions::Positions;

/// Rows of the tables of one sequence against each of several lines, side by side.
///
/// Each line has a guard before it, a bit that is always 0: carries end there,
/// and whoever looks back for a rise ends there too.
#[derive(Debug, Default)]
pub struct LcsRows {
    positions: Positions,
    /// 1 for an item, 0 for a guard and behind the last line: the row of nothing.
    items: Vec<u64>,
    /// Bit of the guard of each line, and the line's length.
    lines: Vec<(usize, usize)>,
}

impl LcsRows {
    /// Items are small numbers: the tables grow with the largest one.
    #[must_use]
    pub fn new(lines: &[&[u32]]) -> Self {
        let mut guards = Vec::with_capacity(lines.len());
        let mut bit = 0;
        for line in lines {
            guards.push((bit, line.len()));
            bit += 1 + line.len();
        }
        let mut items = vec![0; bit.div_ceil(64)];
        for &(guard, length) in &guards {
            for position in guard + 1..=guard + length {
                items[position / 64] |= 1 << (position % 64);
            }
        }
        let sequence = lines.iter().zip(&guards).flat_map(|(line, &(guard, _))| {
            let items = line.iter().copied().enumerate();
            items.map(move |(i, item)| (guard + 1 + i, item))
        });
        Self {
            positions: Positions::new(sequence),
            items,
            lines: guards,
        }
    }

    /// The row before the first item: nothing is common.
    #[must_use]
    pub fn first(&self) -> &[u64] {
        &self.items
    }

    /// Turns a row into the next one, that of a sequence with one more item.
    #[inline]
    pub fn advance(&self, row: &mut [u64], item: u32) {
        let mut carry = false;
        let mut next = 0;
        for &(word, matches) in self.positions.of(item) {
            let word = word as usize;
            carry = carry && self.carry_on(row, next, word);
            let before = row[word];
            let (sum, over) = before.overflowing_add(before & matches);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            row[word] = (sum | (before & !matches)) & self.items[word];
            carry = over | over_again;
            next = word + 1;
        }
        if carry {
            self.carry_on(row, next, row.len());
        }
    }

    /// Carries into words without a match; whether a carry is left at the end.
    fn carry_on(&self, row: &mut [u64], start: usize, end: usize) -> bool {
        for (word, items) in row[start..end].iter_mut().zip(&self.items[start..end]) {
            let (sum, carry) = word.overflowing_add(1);
            *word = (sum | *word) & items;
            if !carry {
                return false;
            }
        }
        true
    }

    /// The length of the longest common subsequence with a line.
    #[must_use]
    pub fn length(&self, row: &[u64], line: usize) -> usize {
        let (guard, length) = self.lines[line];
        let (start, end) = (guard + 1, guard + 1 + length);
        let mut risen = 0;
        let words = start / 64..end.div_ceil(64);
        for (word, bits) in words.clone().zip(&row[words]) {
            let mut rises = !bits;
            if word == start / 64 {
                rises &= !0 << (start % 64);
            }
            if word == end / 64 {
                rises &= (1 << (end % 64)) - 1;
            }
            risen += rises.count_ones() as usize;
        }
        risen
    }

    /// The cell in a line's column `column` (from 1) of `row`, compared with
    /// the one above it, in the row `above`.
    #[must_use]
    pub fn step(&self, row: &[u64], above: &[u64], line: usize, column: usize) -> Step {
        let (guard, _) = self.lines[line];
        let mut word = (guard + column) / 64;
        let mut seen = !0 >> (63 - (guard + column) % 64);
        loop {
            let rise = 63 - (!row[word] & seen).leading_zeros() as i32;
            let rise_above = 63 - (!above[word] & seen).leading_zeros() as i32;
            // The guard is a rise of both rows: the loop ends there at the latest.
            if rise >= 0 || rise_above >= 0 {
                return if rise > rise_above {
                    Step::Larger
                } else if word * 64 + rise.max(0) as usize == guard {
                    Step::Zero
                } else {
                    Step::Equal
                };
            }
            word -= 1;
            seen = !0;
        }
    }
}

/// How a cell compares with the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Larger by 1.
    Larger,
    /// Equal, and not 0.
    Equal,
    /// Both 0.
    Zero,
}

/// The length of the longest common subsequence of two sequences of small numbers.
///
/// Memory is linear in the lengths; time is their product over 64 at worst.
#[must_use]
pub fn lcs_length(a: &[u32], b: &[u32]) -> usize {
    let (ends, a, b) = without_common_ends(a, b);
    if a.is_empty() || b.is_empty() {
        return ends;
    }
    let rows = LcsRows::new(&[a]);
    let mut row = rows.first().to_vec();
    for &item in b {
        rows.advance(&mut row, item);
    }
    ends + rows.length(&row, 0)
}

/// How many items two sequences share at their starts and ends, and what is left of them.
pub(crate) fn without_common_ends<'a>(a: &'a [u32], b: &'a [u32]) -> (usize, &'a [u32], &'a [u32]) {
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[start..], &b[start..]);
    let ends = a.iter().rev().zip(b.iter().rev());
    let end = ends.take_while(|(a, b)| a == b).count();
    (start + end, &a[..a.len() - end], &b[..b.len() - end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table, cell by cell.
    fn table(a: &[u32], b: &[u32]) -> Vec<Vec<usize>> {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                table[i][j] = if a[i - 1] == b[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        table
    }

    fn sequence(seed: u32, length: usize, items: u32) -> Vec<u32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % items
        };
        (0..length).map(|_| next()).collect()
    }

    /// Would catch a carry that is lost between words or that crosses into the next line,
    /// and a comparison that looks beyond a line.
    #[test]
    fn rows_are_those_of_the_table() {
        for (seed, items) in [(1, 2), (2, 3), (3, 20), (4, 200), (5, 1)] {
            let text = sequence(seed, 90, items);
            let lengths = [0, 5, 130, 1, 0, 62, 1, 64, 63, 200];
            let lines: Vec<Vec<u32>> = (6..)
                .zip(lengths)
                .map(|(other, length)| sequence(seed * other, length, items))
                .collect();
            let rows = LcsRows::new(&lines.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let tables: Vec<_> = lines.iter().map(|line| table(&text, line)).collect();
            let mut row = rows.first().to_vec();
            for (i, &item) in text.iter().enumerate() {
                let above = row.clone();
                rows.advance(&mut row, item);
                for (line, table) in tables.iter().enumerate() {
                    let (cells, cells_above) = (&table[i + 1], &table[i]);
                    assert_eq!(rows.length(&row, line), *cells.last().unwrap());
                    for column in 1..cells.len() {
                        let expected = match (cells[column], cells_above[column]) {
                            (0, _) => Step::Zero,
                            (cell, above) if cell > above => Step::Larger,
                            _ => Step::Equal,
                        };
                        let step = rows.step(&row, &above, line, column);
                        assert_eq!(step, expected, "{seed}: {i}, {line}, {column}");
                    }
                }
            }
            for (line, table) in lines.iter().zip(&tables) {
                let expected = *table.last().unwrap().last().unwrap();
                assert_eq!(lcs_length(&text, line), expected);
                assert_eq!(lcs_length(line, &text), expected);
            }
        }
    }

    #[test]
    fn ends_are_trimmed_once() {
        assert_eq!(lcs_length(&[1, 1, 1], &[1, 1]), 2);
        assert_eq!(lcs_length(&[], &[1]), 0);
        assert_eq!(lcs_length(&[1, 2, 3], &[1, 2, 3]), 3);
    }
}
