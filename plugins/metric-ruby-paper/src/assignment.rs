//! The cheapest assignment of rows to columns.

/// A cheapest assignment, and why there is no cheaper one.
#[derive(Debug)]
pub struct Assignment {
    /// By row, each column once.
    pub column_of: Vec<usize>,
    /// By row. A row's potential and a column's are together at most what that pair costs, and
    /// all potentials together are what the assignment costs.
    pub row_potentials: Vec<i32>,
    /// By column; at most 0.
    pub column_potentials: Vec<i32>,
}

/// The assignment of a column to each row whose costs have the smallest sum (Kuhn 1955, in the
/// form with potentials and shortest paths). There must be no more rows than
/// columns. Time: rows squared times columns.
#[must_use]
pub fn assign(costs: &[i32], rows: usize, columns: usize) -> Assignment {
    debug_assert!(rows <= columns && costs.len() == rows * columns);
    const NONE: usize = usize::MAX;
    let mut row_potentials = vec![0; rows];
    let mut column_potentials = vec![0; columns];
    let mut row_of = vec![NONE; columns];
    // The shortest way from the row that is being assigned, and the column before on it.
    let mut ways = vec![(0, NONE); columns];
    let mut reached = vec![false; columns];
    for row in 0..rows {
        ways.fill((i32::MAX, NONE));
        reached.fill(false);
        let (mut from, mut before, mut length) = (row, NONE, 0);
        let last = loop {
            let (mut nearest, mut next) = (i32::MAX, NONE);
            let spent = length - row_potentials[from];
            let line = costs[from * columns..][..columns].iter();
            let line = line.zip(&column_potentials).zip(&reached).zip(&mut ways);
            for (column, (((cost, potential), reached), way)) in line.enumerate() {
                if *reached {
                    continue;
                }
                let through = spent + cost - potential;
                if through < way.0 {
                    *way = (through, before);
                }
                if way.0 < nearest {
                    (nearest, next) = (way.0, column);
                }
            }
            length = nearest;
            if row_of[next] == NONE {
                break next;
            }
            reached[next] = true;
            (from, before) = (row_of[next], next);
        };
        row_potentials[row] += length;
        for column in (0..columns).filter(|&column| reached[column]) {
            let nearer = length - ways[column].0;
            row_potentials[row_of[column]] += nearer;
            column_potentials[column] -= nearer;
        }
        let mut at = last;
        while ways[at].1 != NONE {
            row_of[at] = row_of[ways[at].1];
            at = ways[at].1;
        }
        row_of[at] = row;
    }
    let mut column_of = vec![NONE; rows];
    for (column, &row) in row_of.iter().enumerate() {
        if row != NONE {
            column_of[row] = column;
        }
    }
    Assignment {
        column_of,
        row_potentials,
        column_potentials,
    }
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

    /// Would catch an assignment that is not the cheapest, or uses a column twice, and potentials
    /// that don't prove it.
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
                    let mut used = found.column_of.clone();
                    used.sort_unstable();
                    used.dedup();
                    assert_eq!(used.len(), rows);
                    let places = found.column_of.iter().enumerate();
                    let sum: i32 = places
                        .map(|(row, column)| costs[row * columns + column])
                        .sum();
                    assert_eq!(sum, cheapest(&costs, rows, columns, 0), "{costs:?}");
                    let (ours, theirs) = (&found.row_potentials, &found.column_potentials);
                    assert_eq!(sum, ours.iter().chain(theirs).sum::<i32>());
                    assert!(theirs.iter().all(|potential| *potential <= 0));
                    for (place, cost) in costs.iter().enumerate() {
                        assert!(ours[place / columns] + theirs[place % columns] <= *cost);
                    }
                }
            }
        }
    }
}
