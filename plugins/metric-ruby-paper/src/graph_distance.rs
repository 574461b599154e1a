//! Edit distance of graphs: exact where that is feasible, an upper bound otherwise.

use crate::assignment::assign;
use crate::graph::{Graph, Numbered, Pair};

/// Steps that the search for the exact distance may take. Chosen: some 10 ms as component.
const STEPS_MAX: u64 = 6_000_000;

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

/// For each vertex of `a` one of `b`, or none.
type Mapping = Vec<Option<usize>>;

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

/// All costs are twice as large as they are: an edge between two vertices that are not mapped
/// yet counts half for each.
struct Search<'p> {
    pair: &'p Pair,
    /// Vertices of `a` in the order in which they are mapped.
    order: Vec<usize>,
    best: u32,
    steps: u64,
    /// Edges by label, for [`Search::open_cost`].
    balance: Vec<i32>,
}

/// A mapping of some vertices.
struct Partial {
    /// By vertex of `a`, as far as it is decided.
    mapping: Mapping,
    /// Vertices of `a` and of `b` that are not mapped yet.
    open_a: Vec<usize>,
    open_b: Vec<usize>,
    /// What the mapping costs so far: its vertices, and the edges between them.
    cost: u32,
    /// By open vertices, row by row: what the edges with mapped vertices cost if these two are
    /// mapped to each other.
    decided: Vec<u32>,
    /// The same for each open vertex that is deleted, and inserted.
    deleted: Vec<u32>,
    inserted: Vec<u32>,
}

impl<'p> Search<'p> {
    fn new(pair: &'p Pair) -> Self {
        // Vertices with many edges first: what they are mapped to says most about the rest.
        let mut order: Vec<usize> = (0..pair.a.count()).collect();
        order.sort_by_key(|&vertex| std::cmp::Reverse(pair.a.neighbours[vertex].len()));
        Self {
            pair,
            order,
            best: u32::MAX,
            steps: 0,
            balance: vec![0; pair.edge_labels],
        }
    }

    /// Whether all mappings that could be better have been tried.
    fn run(&mut self) -> bool {
        let (a, b) = (&self.pair.a, &self.pair.b);
        let own = |graph: &Numbered, vertex| 2 * self.pair.size(graph.set(vertex, vertex));
        let mut start = Partial {
            mapping: vec![None; a.count()],
            open_a: self.order.clone(),
            open_b: (0..b.count()).collect(),
            cost: 0,
            decided: Vec::with_capacity(a.count() * b.count()),
            deleted: self
                .order
                .iter()
                .map(|&vertex| 2 + own(a, vertex))
                .collect(),
            inserted: (0..b.count()).map(|vertex| 2 + own(b, vertex)).collect(),
        };
        for &from in &start.open_a {
            for &to in &start.open_b {
                let label = u32::from(a.labels[from] != b.labels[to]);
                let own = self.pair.set_cost(a.set(from, from), b.set(to, to));
                start.decided.push(2 * (label + own));
            }
        }
        self.explore(&start)
    }

    /// Tries all ways to complete a mapping. Whether there was time for all.
    fn explore(&mut self, partial: &Partial) -> bool {
        let (rows, columns) = (partial.open_a.len(), partial.open_b.len());
        if rows == 0 {
            self.keep(&partial.mapping);
            return true;
        }
        let (few, many) = (rows.min(columns) as u64, rows.max(columns) as u64);
        self.steps += few * few * many + 8 * few * many + many;
        let open = self.open_costs(partial);
        let (bound, mapping) = self.bound(partial, &open);
        self.keep(&mapping);
        // A whole way has an even cost.
        if (partial.cost + bound).next_multiple_of(2) >= self.best {
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
        let mut complete = true;
        for (_, column) in choices {
            let next = self.extended(partial, column);
            complete &= self.explore(&next);
        }
        complete
    }

    /// A mapping with one more vertex, the first open one of `a`.
    fn extended(&self, partial: &Partial, column: Option<usize>) -> Partial {
        let pair = self.pair;
        let (a, b) = (&pair.a, &pair.b);
        let from = partial.open_a[0];
        let to = column.map(|column| partial.open_b[column]);
        let columns = partial.open_b.len();
        let mut next = Partial {
            mapping: partial.mapping.clone(),
            open_a: partial.open_a[1..].to_vec(),
            open_b: partial.open_b.clone(),
            cost: partial.cost
                + column.map_or(partial.deleted[0], |column| partial.decided[column]),
            decided: Vec::with_capacity(partial.decided.len()),
            deleted: partial.deleted[1..].to_vec(),
            inserted: partial.inserted.clone(),
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
            for (place, &other) in partial.open_b.iter().enumerate() {
                if column == Some(place) {
                    continue;
                }
                let before = partial.decided[(row + 1) * columns + place];
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

    /// What each open vertex costs at least, however it is mapped.
    fn open_costs(&mut self, partial: &Partial) -> Open {
        let pair = self.pair;
        let edges = |graph: &Numbered, vertex: usize, open: &[bool]| -> u32 {
            let others = graph.neighbours[vertex].iter().map(|&other| other as usize);
            let others = others.filter(|&other| open[other]);
            others
                .map(|other| {
                    pair.size(graph.set(vertex, other)) + pair.size(graph.set(other, vertex))
                })
                .sum()
        };
        let is_open = |list: &[usize], count: usize| {
            let mut open = vec![false; count];
            list.iter().for_each(|&vertex| open[vertex] = true);
            open
        };
        let open_a = is_open(&partial.open_a, pair.a.count());
        let open_b = is_open(&partial.open_b, pair.b.count());
        let mut mapped = Vec::with_capacity(partial.decided.len());
        let mut decided = partial.decided.iter();
        for &from in &partial.open_a {
            for &to in &partial.open_b {
                let decided = decided.next().expect("one for each two open vertices");
                mapped.push(decided + self.open_cost(from, to, &open_a, &open_b));
            }
        }
        let whole = |list: &[usize], costs: &[u32], graph, open: &[bool]| {
            let vertices = list.iter().zip(costs);
            vertices
                .map(|(&vertex, cost)| cost + edges(graph, vertex, open))
                .collect()
        };
        Open {
            mapped,
            deleted: whole(&partial.open_a, &partial.deleted, &pair.a, &open_a),
            inserted: whole(&partial.open_b, &partial.inserted, &pair.b, &open_b),
        }
    }

    /// Half the cost, doubled, of the edges that two vertices have with open ones, if they can be
    /// put together as is cheapest: in each direction the larger number, less what is equal.
    fn open_cost(&mut self, from: usize, to: usize, open_a: &[bool], open_b: &[bool]) -> u32 {
        let pair = self.pair;
        let mut cost = 0;
        for outwards in [true, false] {
            let (mut more, mut fewer) = (0, 0);
            let mut touched = [(&pair.a, from, open_a, 1), (&pair.b, to, open_b, -1)];
            for (graph, vertex, open, sign) in &mut touched {
                for &other in graph.neighbours[*vertex]
                    .iter()
                    .filter(|other| open[**other as usize])
                {
                    let other = other as usize;
                    let set = if outwards {
                        graph.set(*vertex, other)
                    } else {
                        graph.set(other, *vertex)
                    };
                    for &label in &pair.sets[set as usize] {
                        self.balance[label as usize] += *sign;
                    }
                }
            }
            for (graph, vertex, open, _) in touched {
                for &other in graph.neighbours[vertex]
                    .iter()
                    .filter(|other| open[**other as usize])
                {
                    let other = other as usize;
                    let set = if outwards {
                        graph.set(vertex, other)
                    } else {
                        graph.set(other, vertex)
                    };
                    for &label in &pair.sets[set as usize] {
                        let left = std::mem::take(&mut self.balance[label as usize]);
                        more += left.max(0) as u32;
                        fewer += (-left).max(0) as u32;
                    }
                }
            }
            // What is left over on both sides is relabelled, the rest inserted or deleted.
            cost += more.max(fewer);
        }
        cost
    }

    /// A lower bound for what is open, and the way to map it that the bound comes from.
    fn bound(&self, partial: &Partial, open: &Open) -> (u32, Mapping) {
        let (rows, columns) = (partial.open_a.len(), partial.open_b.len());
        let all = open.deleted.iter().chain(&open.inserted).sum::<u32>();
        // What is saved by mapping two vertices in place of deleting one and inserting the other.
        let saved = |row: usize, column: usize| {
            let apart = open.deleted[row] + open.inserted[column];
            (open.mapped[row * columns + column] as i32 - apart as i32).min(0)
        };
        let across = rows <= columns;
        let (few, many) = if across {
            (rows, columns)
        } else {
            (columns, rows)
        };
        let at = |few: usize, many: usize| {
            if across {
                saved(few, many)
            } else {
                saved(many, few)
            }
        };
        let costs: Vec<i32> = (0..few * many)
            .map(|place| at(place / many, place % many))
            .collect();
        let mut mapping = partial.mapping.clone();
        let mut bound = all as i32;
        for (one, other) in assign(&costs, few, many).into_iter().enumerate() {
            let cost = costs[one * many + other];
            bound += cost;
            if cost < 0 {
                let (row, column) = if across { (one, other) } else { (other, one) };
                mapping[partial.open_a[row]] = Some(partial.open_b[column]);
            }
        }
        (bound as u32, mapping)
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

/// What open vertices cost at least.
struct Open {
    mapped: Vec<u32>,
    deleted: Vec<u32>,
    inserted: Vec<u32>,
}
