//! Edit distance of graphs: exact where that is feasible, an upper bound otherwise.

mod bound;
mod partial;

use self::bound::{Bound, Edges, Open};
use self::partial::{Mapping, Partial};
use crate::graph::{Graph, Pair};

/// Steps that the search for the exact distance may take. Chosen: some 10 ms as component.
const STEPS_MAX: u64 = 12_000_000;

/// Vertices up to which the bounds are computed by assignment, which takes the third power.
const ASSIGNED_MAX: usize = 200;

/// A distance, and whether it is known to be the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance {
    /// Edits of some way from one graph to the other.
    pub edits: u32,
    /// Whether no way has fewer.
    pub exact: bool,
}

/// The fewest insertions, deletions and relabellings of one vertex or edge that turn one graph
/// into the other (Sanfeliu and Fu 1983). It is NP-hard; here it is found depth first, with the
/// lower bound BRANCH (Blumenthal and Gamper 2018, <https://doi.org/10.1016/j.patrec.2017.10.007>) at
/// every step, whose assignment (Riesen and Bunke 2009) is a way of its own and so an upper bound.
/// What the assignment's potentials show to be no better than the best is not tried.
/// Where the search would take too many steps the best way found so far counts.
#[must_use]
pub fn graph_distance(a: &Graph, b: &Graph) -> Distance {
    if a == b {
        return Distance {
            edits: 0,
            exact: true,
        };
    }
    let pair = Pair::new(a, b);
    let mut search = Search::new(&pair);
    search.keep(&in_order(&pair));
    let exact = pair.a.count().max(pair.b.count()) <= ASSIGNED_MAX && search.run();
    Distance {
        edits: search.best / 2,
        exact,
    }
}

/// Vertices with equal labels mapped in their order, then those that are left over.
fn in_order(pair: &Pair) -> Mapping {
    let (a, b) = (&pair.a, &pair.b);
    let mut mapping: Mapping = vec![None; a.count()];
    let mut used = vec![false; b.count()];
    let mut places = vec![
        Vec::new();
        a.labels
            .iter()
            .chain(&b.labels)
            .max()
            .map_or(0, |max| *max as usize + 1)
    ];
    for (vertex, label) in b.labels.iter().enumerate().rev() {
        places[*label as usize].push(vertex);
    }
    for (vertex, label) in a.labels.iter().enumerate() {
        mapping[vertex] = places[*label as usize].pop();
        if let Some(other) = mapping[vertex] {
            used[other] = true;
        }
    }
    let mut free = (0..b.count()).filter(|&vertex| !used[vertex]);
    for vertex in &mut mapping {
        if vertex.is_none() {
            *vertex = free.next();
        }
    }
    mapping
}

/// All costs here are twice as large as they are: an edge between two vertices that are not mapped
/// yet counts half for each.
struct Search<'p> {
    pair: &'p Pair,
    best: u32,
    steps: u64,
}

impl<'p> Search<'p> {
    fn new(pair: &'p Pair) -> Self {
        Self {
            pair,
            best: u32::MAX,
            steps: 0,
        }
    }

    /// Whether all mappings that could be better have been tried.
    fn run(&mut self) -> bool {
        // Vertices with many edges first: what they are mapped to says most about the rest.
        let a = &self.pair.a;
        let mut order: Vec<usize> = (0..a.count()).collect();
        order.sort_by_key(|&vertex| std::cmp::Reverse(a.neighbours[vertex].len()));
        let start = Partial::new(self.pair, &order);
        self.explore(&start, &mut Edges::new(self.pair))
    }

    /// Tries all ways to complete a mapping. Whether there was time for all; otherwise the search
    /// is over.
    fn explore(&mut self, partial: &Partial, edges: &mut Edges) -> bool {
        let (rows, columns) = (partial.open_a.len(), partial.open_b.len());
        if rows == 0 {
            self.keep(&partial.mapping);
            return true;
        }
        let (few, many) = (rows.min(columns) as u64, rows.max(columns) as u64);
        self.steps += few * few * many + 8 * few * many + many;
        let open = Open::new(edges, partial);
        let bound = Bound::new(partial, &open);
        self.keep(&bound.mapping);
        if self.is_hopeless(partial.cost + bound.least) {
            return true;
        }
        if self.steps > STEPS_MAX {
            return false;
        }
        let mut choices: Vec<(u32, Option<usize>)> = (0..columns)
            .map(|column| (open.mapped[column], Some(column)))
            .collect();
        choices.push((open.deleted[0], None));
        choices.sort_by_key(|choice| choice.0);
        choices.into_iter().all(|(_, column)| {
            let least = column.map_or(bound.if_deleted, |column| bound.if_mapped[column]);
            self.is_hopeless(partial.cost + least)
                || self.explore(&partial.extended(self.pair, column), edges)
        })
    }

    /// Whether a way that costs at least this is no better than the best; a whole way has an even
    /// cost.
    fn is_hopeless(&self, cost: u32) -> bool {
        cost.next_multiple_of(2) >= self.best
    }

    /// Keeps the cost of a whole mapping if it is the best so far.
    fn keep(&mut self, mapping: &Mapping) {
        let pair = self.pair;
        let (a, b) = (&pair.a, &pair.b);
        let mut cost = 0;
        let mut sources = vec![None; b.count()];
        for (from, to) in mapping.iter().enumerate() {
            cost += match *to {
                Some(to) => {
                    sources[to] = Some(from);
                    u32::from(a.labels[from] != b.labels[to])
                }
                None => 1,
            };
            let own = a.set(from, from);
            cost += to.map_or(pair.size(own), |to| pair.set_cost(own, b.set(to, to)));
            for &other in &a.neighbours[from] {
                let other = other as usize;
                let set = a.set(from, other);
                cost += match (*to, mapping[other]) {
                    (Some(x), Some(y)) => pair.set_cost(set, b.set(x, y)),
                    _ => pair.size(set),
                };
            }
        }
        for to in 0..b.count() {
            if sources[to].is_none() {
                cost += 1 + pair.size(b.set(to, to));
            }
            for &other in &b.neighbours[to] {
                let other = other as usize;
                // Edges that have a counterpart between neighbours are counted above.
                let counted = match (sources[to], sources[other]) {
                    (Some(x), Some(y)) => a.neighbours[x].binary_search(&(y as u32)).is_ok(),
                    _ => false,
                };
                if !counted {
                    cost += pair.size(b.set(to, other));
                }
            }
        }
        self.best = self.best.min(2 * cost);
    }
}
