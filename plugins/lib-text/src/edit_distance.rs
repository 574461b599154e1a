//! Levenshtein's distance, 64 cells of the table at a time.

use crate::positions::Positions;
use crate::subsequence::without_common_ends;

/// The fewest insertions, deletions and substitutions of one item that turn
/// one sequence of small numbers into the other (Levenshtein 1966).
///
/// The columns of the table are kept as bits, 1 where a cell is one more, or
/// one less, than the one above it (Myers 1999, "A fast bit-vector algorithm
/// for approximate string matching", <https://doi.org/10.1145/316542.316550>,
/// in Hyyrö's form of 2003). Memory is linear in the lengths; time is their
/// product over 64 at worst.
#[must_use]
pub fn levenshtein(a: &[u32], b: &[u32]) -> usize {
    let (_, a, b) = without_common_ends(a, b);
    let (rows, columns) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if rows.is_empty() {
        return columns.len();
    }
    let positions = Positions::new(rows.iter().copied().enumerate());
    let words = rows.len().div_ceil(64);
    let mut cells = vec![Cells::FIRST; words];
    let last = (rows.len() - 1) % 64;
    let mut distance = rows.len();
    for &item in columns {
        for &(word, bits) in positions.of(item) {
            cells[word as usize].equal = bits;
        }
        let (rises, falls) = column(&mut cells);
        distance += (rises >> last & 1) as usize;
        distance -= (falls >> last & 1) as usize;
        for &(word, _) in positions.of(item) {
            cells[word as usize].equal = 0;
        }
    }
    distance
}

/// 64 cells of a column, from the lowest bit on.
#[derive(Clone, Copy)]
struct Cells {
    /// Where the cell is one more than the one above it.
    rises: u64,
    /// Where it is one less.
    falls: u64,
    /// Where the row's item is the next column's.
    equal: u64,
}

impl Cells {
    /// Of the column before the first one, which counts the rows.
    const FIRST: Self = Self {
        rises: !0,
        falls: 0,
        equal: 0,
    };
}

/// Moves on to the next column: where, in the last cells, it is one more or one less than the
/// column before. A function of its own for what it keeps in registers as a component.
#[inline(never)]
fn column(cells: &mut [Cells]) -> (u64, u64) {
    // To the right of the top row's cells the table always rises by 1.
    let (mut rises_right, mut falls_right) = (1 << 63, 0);
    for cells in cells {
        let Cells {
            rises,
            falls,
            equal,
        } = *cells;
        let (rise_in, fall_in) = (rises_right >> 63, falls_right >> 63);
        let vertical = equal | falls;
        let equal = equal | fall_in;
        let horizontal = ((equal & rises).wrapping_add(rises) ^ rises) | equal;
        rises_right = falls | !(horizontal | rises);
        falls_right = rises & horizontal;
        let rise_below = (rises_right << 1) | rise_in;
        let fall_below = (falls_right << 1) | fall_in;
        cells.rises = fall_below | !(vertical | rise_below);
        cells.falls = rise_below & vertical;
    }
    (rises_right, falls_right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_table(a: &[u32], b: &[u32]) -> usize {
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, y) in b.iter().enumerate() {
                let substituted = diagonal + usize::from(x != y);
                diagonal = row[j + 1];
                row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
            }
        }
        row[b.len()]
    }

    /// Would catch a difference that is lost between words.
    #[test]
    fn distances_are_those_of_the_table() {
        let mut state = 1u32;
        let mut next = |end: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % end
        };
        for length in [0, 1, 5, 63, 64, 65, 127, 128, 129, 300] {
            for items in [1, 2, 4, 50] {
                let a: Vec<u32> = (0..length).map(|_| next(items)).collect();
                let other = next(300);
                let unlike: Vec<u32> = (0..other).map(|_| next(items)).collect();
                let mut alike = a.clone();
                for _ in 0..next(12) {
                    let at = next(alike.len() as u32 + 1) as usize;
                    if next(2) == 0 {
                        alike.insert(at, next(items));
                    } else {
                        alike.truncate(at.max(alike.len() / 2));
                    }
                }
                for b in [&unlike, &alike] {
                    let expected = by_table(&a, b);
                    assert_eq!(levenshtein(&a, b), expected, "{a:?} {b:?}");
                    assert_eq!(levenshtein(b, &a), expected, "{b:?} {a:?}");
                }
            }
        }
    }
}
