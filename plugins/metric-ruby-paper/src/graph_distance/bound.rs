//! The lower bound BRANCH (Blumenthal and Gamper 2018) for what is not mapped yet.

use super::partial::{Mapping, Partial};
use crate::assignment::assign;
use crate::graph::{Numbered, Pair};

/// The edges between different vertices. Those of a label that lead out of a vertex are of one
/// kind, those that lead into it of another.
pub struct Edges {
    a: EdgesOf,
    b: EdgesOf,
    /// How many edges of each kind a vertex has; all 0 between uses.
    counts: Vec<u32>,
}

impl Edges {
    pub fn new(pair: &Pair) -> Self {
        Self {
            a: EdgesOf::new(&pair.a, pair),
            b: EdgesOf::new(&pair.b, pair),
            counts: vec![0; 2 * pair.edge_labels],
        }
    }
}

/// Those of one graph.
struct EdgesOf {
    /// By vertex: where its edges begin in `ends`; and where the last one's end.
    starts: Vec<usize>,
    /// The vertex at the other end, and the kind.
    ends: Vec<(u32, u32)>,
    /// Kinds below this lead out.
    labels: u32,
}

impl EdgesOf {
    fn new(graph: &Numbered, pair: &Pair) -> Self {
        let labels = pair.edge_labels as u32;
        let mut edges = Self {
            starts: Vec::with_capacity(graph.count() + 1),
            ends: Vec::new(),
            labels,
        };
        for (vertex, neighbours) in graph.neighbours.iter().enumerate() {
            edges.starts.push(edges.ends.len());
            for &other in neighbours {
                let out = graph.set(vertex, other as usize);
                let back = graph.set(other as usize, vertex);
                for (set, first) in [(out, 0), (back, labels)] {
                    let kinds = pair.sets[set as usize].iter();
                    edges.ends.extend(kinds.map(|label| (other, first + label)));
                }
            }
        }
        edges.starts.push(edges.ends.len());
        edges
    }

    fn of(&self, vertex: usize) -> &[(u32, u32)] {
        &self.ends[self.starts[vertex]..self.starts[vertex + 1]]
    }
}

/// Those between vertices that are not mapped yet, by their place among these.
struct OpenEdges {
    /// Where each vertex's edges begin in `kinds`; and where the last one's end.
    starts: Vec<usize>,
    /// An edge's kind, and how many edges of that kind its vertex has before it.
    kinds: Vec<(u32, u32)>,
    /// How many edges lead out of each vertex, and into it.
    numbers: Vec<[u32; 2]>,
}

impl OpenEdges {
    /// `counts`: see [`Edges`].
    fn new(edges: &EdgesOf, open: &[usize], counts: &mut [u32]) -> Self {
        let mut is_open = vec![false; edges.starts.len() - 1];
        open.iter().for_each(|&vertex| is_open[vertex] = true);
        let mut result = Self {
            starts: Vec::with_capacity(open.len() + 1),
            kinds: Vec::with_capacity(edges.ends.len()),
            numbers: Vec::with_capacity(open.len()),
        };
        for &vertex in open {
            let start = result.kinds.len();
            result.starts.push(start);
            let mut numbers = [0; 2];
            for &(other, kind) in edges.of(vertex) {
                if is_open[other as usize] {
                    let count = &mut counts[kind as usize];
                    result.kinds.push((kind, *count));
                    *count += 1;
                    numbers[usize::from(kind >= edges.labels)] += 1;
                }
            }
            result.numbers.push(numbers);
            for (kind, _) in &result.kinds[start..] {
                counts[*kind as usize] = 0;
            }
        }
        result.starts.push(result.kinds.len());
        result
    }

    fn of(&self, place: usize) -> &[(u32, u32)] {
        &self.kinds[self.starts[place]..self.starts[place + 1]]
    }
}

/// What each open vertex costs at least, however the others are mapped.
///
/// An edge between open vertices costs half for each of the two. Two vertices' edges are put
/// together as is cheapest: in each direction as many cost something as the vertex with more of
/// them has, less those that both have. What is left over on both sides is relabelled, the rest
/// inserted or deleted.
pub struct Open {
    /// By open vertices, row by row.
    pub mapped: Vec<u32>,
    pub deleted: Vec<u32>,
    pub inserted: Vec<u32>,
}

impl Open {
    pub fn new(edges: &mut Edges, partial: &Partial) -> Self {
        let counts = &mut edges.counts;
        let a = OpenEdges::new(&edges.a, &partial.open_a, counts);
        let b = OpenEdges::new(&edges.b, &partial.open_b, counts);
        let mut mapped = Vec::with_capacity(partial.decided.len());
        let mut decided = partial.decided.iter();
        for (row, [out, back]) in a.numbers.iter().enumerate() {
            for (kind, _) in a.of(row) {
                counts[*kind as usize] += 1;
            }
            for (column, [other_out, other_back]) in b.numbers.iter().enumerate() {
                let most = out.max(other_out) + back.max(other_back);
                let both = b.of(column).iter();
                let both = both.map(|&(kind, before)| u32::from(before < counts[kind as usize]));
                let decided = decided.next().expect("one for each two open vertices");
                mapped.push(decided + most - both.sum::<u32>());
            }
            for (kind, _) in a.of(row) {
                counts[*kind as usize] = 0;
            }
        }
        let whole = |costs: &[u32], open: &OpenEdges| {
            let vertices = costs.iter().zip(&open.numbers);
            vertices
                .map(|(cost, [out, back])| cost + out + back)
                .collect()
        };
        Self {
            mapped,
            deleted: whole(&partial.deleted, &a),
            inserted: whole(&partial.inserted, &b),
        }
    }
}

/// What all that is open costs at least.
pub struct Bound {
    pub least: u32,
    /// The way to map it that the bound comes from.
    pub mapping: Mapping,
    /// By open vertices of `b`: what all costs at least if the first of `a` is mapped to this one.
    pub if_mapped: Vec<u32>,
    /// And if it is deleted.
    pub if_deleted: u32,
}

impl Bound {
    pub fn new(partial: &Partial, open: &Open) -> Self {
        let (rows, columns) = (partial.open_a.len(), partial.open_b.len());
        let all = open.deleted.iter().chain(&open.inserted).sum::<u32>() as i32;
        // What is saved by mapping two vertices in place of deleting one and inserting the other.
        let saved = |row: usize, column: usize| {
            let apart = open.deleted[row] + open.inserted[column];
            open.mapped[row * columns + column] as i32 - apart as i32
        };
        let across = rows <= columns;
        let mut costs = Vec::with_capacity(rows * columns);
        if across {
            for row in 0..rows {
                costs.extend((0..columns).map(|column| saved(row, column).min(0)));
            }
        } else {
            for column in 0..columns {
                costs.extend((0..rows).map(|row| saved(row, column).min(0)));
            }
        }
        let (few, many) = (rows.min(columns), rows.max(columns));
        let assignment = assign(&costs, few, many);
        let mut mapping = partial.mapping.clone();
        let mut least = all;
        for (one, &other) in assignment.column_of.iter().enumerate() {
            let cost = costs[one * many + other];
            least += cost;
            if cost < 0 {
                let (row, column) = if across { (one, other) } else { (other, one) };
                mapping[partial.open_a[row]] = Some(partial.open_b[column]);
            }
        }
        // Without two vertices the potentials of the others still bound what these save: to be left
        // out saves nothing, no cost is above that, and no potential of the longer side is above 0.
        let (of_a, of_b) = if across {
            (assignment.row_potentials, assignment.column_potentials)
        } else {
            (assignment.column_potentials, assignment.row_potentials)
        };
        let if_deleted = least - of_a[0];
        let if_mapped = |column| if_deleted - of_b[column] + saved(0, column);
        Self {
            least: least as u32,
            mapping,
            if_mapped: (0..columns)
                .map(|column| if_mapped(column).max(0) as u32)
                .collect(),
            if_deleted: if_deleted.max(0) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Dependence, Graph};
    use crate::graph_distance::graph_distance;

    /// What the cheapest way to complete a mapping costs, by trying all.
    fn cheapest(pair: &Pair, edges: &mut Edges, partial: &Partial) -> u32 {
        if partial.open_a.is_empty() {
            let open = Open::new(edges, partial);
            return partial.cost + open.inserted.iter().sum::<u32>();
        }
        let columns = (0..partial.open_b.len()).map(Some);
        let ways = columns
            .chain([None])
            .map(|column| cheapest(pair, edges, &partial.extended(pair, column)));
        ways.min().expect("a vertex can be deleted")
    }

    /// Would catch a bound above what it bounds, for a whole or for one way to map a vertex, in
    /// graphs of which either is the larger one; and a distance that isn't the smallest.
    #[test]
    fn no_way_costs_less_than_its_bound() {
        let mut state = 1u32;
        let mut next = |end: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % end
        };
        let mut sharper = 0;
        for _ in 0..400 {
            let [a, b] = [0; 2].map(|_| {
                let count = next(6);
                let mut graph = Graph {
                    vertices: (0..count).map(|_| next(3).to_string()).collect(),
                    edges: Vec::new(),
                };
                for place in 0..count * count {
                    for label in [Dependence::Control(1), Dependence::Data(0, next(2))] {
                        if next(3) == 0 {
                            graph.edges.push((place / count, place % count, label));
                        }
                    }
                }
                graph
            });
            let pair = Pair::new(&a, &b);
            let mut edges = Edges::new(&pair);
            let order: Vec<usize> = (0..pair.a.count()).collect();
            let start = Partial::new(&pair, &order);
            let best = cheapest(&pair, &mut edges, &start);
            let distance = graph_distance(&a, &b);
            assert_eq!((2 * distance.edits, distance.exact), (best, true));
            let mut partial = start;
            while !partial.open_a.is_empty() {
                let open = Open::new(&mut edges, &partial);
                let bound = Bound::new(&partial, &open);
                assert!(partial.cost + bound.least <= cheapest(&pair, &mut edges, &partial));
                let columns = (0..partial.open_b.len()).map(Some);
                let choices: Vec<Option<usize>> = columns.chain([None]).collect();
                for &column in &choices {
                    let next = partial.extended(&pair, column);
                    let least = column.map_or(bound.if_deleted, |column| bound.if_mapped[column]);
                    assert!(partial.cost + least <= cheapest(&pair, &mut edges, &next));
                    sharper += u32::from(least > bound.least);
                }
                let choice = choices[next(choices.len() as u32) as usize];
                partial = partial.extended(&pair, choice);
            }
        }
        // Bounds that say no more than the whole one's rule nothing out.
        assert!(sharper > 1_000, "{sharper}");
    }
}
