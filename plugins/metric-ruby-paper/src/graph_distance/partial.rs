//! Mappings of some vertices, one more at a time.

use crate::graph::{Numbered, Pair};

/// For each vertex of `a` one of `b`, or none.
pub type Mapping = Vec<Option<usize>>;

/// A mapping of some vertices.
pub struct Partial {
    /// By vertex of `a`, as far as it is decided.
    pub mapping: Mapping,
    /// Vertices of `a` and of `b` that are not mapped yet.
    pub open_a: Vec<usize>,
    pub open_b: Vec<usize>,
    /// What the mapping costs so far: its vertices, and the edges between them.
    pub cost: u32,
    /// By open vertices, row by row: what the edges with mapped vertices cost if these two are
    /// mapped to each other.
    pub decided: Vec<u32>,
    /// The same for each open vertex that is deleted, and inserted.
    pub deleted: Vec<u32>,
    pub inserted: Vec<u32>,
}

impl Partial {
    /// No vertex is mapped. `order`: the vertices of `a`, as they will be.
    pub fn new(pair: &Pair, order: &[usize]) -> Self {
        let (a, b) = (&pair.a, &pair.b);
        let own = |graph: &Numbered, vertex| 2 * pair.size(graph.set(vertex, vertex));
        let mut decided = Vec::with_capacity(a.count() * b.count());
        for &from in order {
            for to in 0..b.count() {
                let label = u32::from(a.labels[from] != b.labels[to]);
                let own = pair.set_cost(a.set(from, from), b.set(to, to));
                decided.push(2 * (label + own));
            }
        }
        Self {
            mapping: vec![None; a.count()],
            open_a: order.to_vec(),
            open_b: (0..b.count()).collect(),
            cost: 0,
            decided,
            deleted: order.iter().map(|&vertex| 2 + own(a, vertex)).collect(),
            inserted: (0..b.count()).map(|vertex| 2 + own(b, vertex)).collect(),
        }
    }

    /// A mapping with one more vertex, the first open one of `a`.
    pub fn extended(&self, pair: &Pair, column: Option<usize>) -> Self {
        let (a, b) = (&pair.a, &pair.b);
        let from = self.open_a[0];
        let to = column.map(|column| self.open_b[column]);
        let columns = self.open_b.len();
        let mut next = Self {
            mapping: self.mapping.clone(),
            open_a: self.open_a[1..].to_vec(),
            open_b: self.open_b.clone(),
            cost: self.cost + column.map_or(self.deleted[0], |column| self.decided[column]),
            decided: Vec::with_capacity(self.decided.len()),
            deleted: self.deleted[1..].to_vec(),
            inserted: self.inserted.clone(),
        };
        next.mapping[from] = to;
        if let Some(column) = column {
            next.open_b.remove(column);
            next.inserted.remove(column);
        }
        let both = |graph: &Numbered, one, other| {
            2 * (pair.size(graph.set(one, other)) + pair.size(graph.set(other, one)))
        };
        for (row, &vertex) in next.open_a.iter().enumerate() {
            let edges = both(a, from, vertex);
            next.deleted[row] += edges;
            let (out, back) = (a.set(from, vertex), a.set(vertex, from));
            for (place, &other) in self.open_b.iter().enumerate() {
                if column == Some(place) {
                    continue;
                }
                let before = self.decided[(row + 1) * columns + place];
                next.decided.push(
                    before
                        + match to {
                            None => edges,
                            Some(to) => {
                                let out = pair.set_cost(out, b.set(to, other));
                                2 * (out + pair.set_cost(back, b.set(other, to)))
                            }
                        },
                );
            }
        }
        if let Some(to) = to {
            for (place, &other) in next.open_b.iter().enumerate() {
                next.inserted[place] += both(b, to, other);
            }
        }
        next
    }
}
