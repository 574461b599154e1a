//! The cheapest assignment of rows to columns.

/// The column of each row, each column once, such that the sum of their costs is the smallest
/// (Kuhn 1955, in the form with potentials and shortest paths). There must be no more rows than
/// columns. Time: rows squared times columns.
#[must_use]
pub fn assign(costs: &[i32], rows: usize, columns: usize) -> Vec<usize> {
    debug_assert!(rows <= columns && costs.len() == rows * columns);
    const NONE: usize = usize::MAX;
    let mut row_potential = vec![0i32; rows];
    // Of each column, and of one more in which a row stands before it has any.
    let mut column_potential = vec![0i32; columns + 1];
    let mut row_of = vec![NONE; columns + 1];
    let mut nearest = vec![0i32; columns];
    let mut previous = vec![NONE; columns];
    let mut reached = vec![false; columns + 1];
    for row in 0..rows {
        row_of[columns] = row;
        nearest.fill(i32::MAX);
        reached.fill(false);
        let mut at = columns;
        while row_of[at] != NONE {
            reached[at] = true;
            let from = row_of[at];
            let (mut step, mut next) = (i32::MAX, NONE);
            let line = &costs[from * columns..][..columns];
            for column in 0..columns {
                if reached[column] {
                    continue;
                }
                let reduced = line[column] - row_potential[from] - column_potential[column];
                if reduced < nearest[column] {
                    nearest[column] = reduced;
                    previous[column] = at;
                }
                if nearest[column] < step {
                    (step, next) = (nearest[column], column);
                }
            }
            for column in 0..=columns {
                if reached[column] {
                    row_potential[row_of[column]] += step;
                    column_potential[column] -= step;
                } else if column < columns {
                    nearest[column] -= step;
                }
            }
            at = next;
        }
        while at != columns {
            let before = previous[at];
            row_of[at] = row_of[before];
            at = before;
        }
    }
    let mut column_of = vec![NONE; rows];
    for (column, &row) in row_of[..columns].iter().enumerate() {
        if row != NONE {
            column_of[row] = column;
        }
    }
    column_of
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheapest(costs: &[i32], rows: usize, columns: usize, used: u32) -> i32 {
        let Some(row) = rows.checked_sub(1) else {
            return 0;
        };
        (0..columns)
            .filter(|column| used >> column & 1 == 0)
            .map(|column| {
                let rest = cheapest(costs, row, columns, used | 1 << column);
                costs[row * columns + column] + rest
            })
            .min()
            .expect("a free column")
    }

    /// Would catch an assignment that is not the cheapest, or uses a column twice.
    #[test]
    fn assignments_are_the_cheapest() {
        let mut state = 1u32;
        let mut next = |end: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % end
        };
        for columns in 1..7 {
            for rows in 0..=columns {
                for range in [2, 5, 100] {
                    let count = rows * columns;
                    let costs: Vec<i32> = (0..count).map(|_| 10 - next(range) as i32).collect();
                    let found = assign(&costs, rows, columns);
                    let mut used = found.clone();
                    used.sort_unstable();
                    used.dedup();
                    assert_eq!(used.len(), rows);
                    let places = found.iter().enumerate();
                    let sum: i32 = places
                        .map(|(row, column)| costs[row * columns + column])
                        .sum();
                    assert_eq!(sum, cheapest(&costs, rows, columns, 0), "{costs:?}");
                }
            }
        }
    }
}
