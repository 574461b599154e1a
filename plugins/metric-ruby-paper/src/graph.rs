//! Directed graphs with labels on vertices and edges.

use rustc_hash::FxHashMap;

use crate::numbers::Numbers;

/// What an edge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependence {
    /// Whether the target is executed is decided at the source, by this branch of it.
    Control(u32),
    /// The target may read a value that the source has set. Variables are counted in each
    /// vertex, by first occurrence: the one that is set, and the one that is read.
    Data(u32, u32),
}

/// A graph. Between two vertices there may be several edges, which differ in their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// A label for each vertex.
    pub vertices: Vec<String>,
    /// Source, target, label; sorted, each once.
    pub edges: Vec<(u32, u32, Dependence)>,
}

impl Graph {
    /// Vertices and edges.
    #[must_use]
    pub fn size(&self) -> usize {
        self.vertices.len() + self.edges.len()
    }
}

/// A graph in numbers, for comparison with the other one of a [`Pair`].
#[derive(Debug)]
pub(crate) struct Numbered {
    pub labels: Vec<u32>,
    /// By vertex: each vertex that it has edges with, but itself.
    pub neighbours: Vec<Vec<u32>>,
    /// From each vertex to each, row by row: place of their edges' labels in `Pair::sets`.
    sets: Vec<u32>,
}

impl Numbered {
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    /// The set of edges from one vertex to another.
    pub fn set(&self, from: usize, to: usize) -> u32 {
        self.sets[from * self.labels.len() + to]
    }
}

/// Two graphs whose labels have the same numbers.
#[derive(Debug)]
pub(crate) struct Pair {
    pub a: Numbered,
    pub b: Numbered,
    /// Sorted labels of parallel edges; the first set is empty.
    pub sets: Vec<Vec<u32>>,
    /// How many different labels edges have.
    pub edge_labels: usize,
}

impl Pair {
    pub fn new(a: &Graph, b: &Graph) -> Self {
        let mut labels = Numbers::default();
        let mut edge_labels = FxHashMap::default();
        let mut places = FxHashMap::from_iter([(Vec::new(), 0)]);
        let mut sets = vec![Vec::new()];
        let mut numbered = |graph: &Graph| {
            let count = graph.vertices.len();
            let mut result = Numbered {
                labels: graph
                    .vertices
                    .iter()
                    .map(|label| labels.of(label))
                    .collect(),
                neighbours: vec![Vec::new(); count],
                sets: vec![0; count * count],
            };
            for parallel in graph.edges.chunk_by(|x, y| (x.0, x.1) == (y.0, y.1)) {
                let (from, to, _) = parallel[0];
                let number = parallel.iter().map(|&(_, _, label)| {
                    let next = edge_labels.len() as u32;
                    *edge_labels.entry(label).or_insert(next)
                });
                let mut set: Vec<u32> = number.collect();
                set.sort_unstable();
                let place = *places.entry(set).or_insert_with_key(|set| {
                    sets.push(set.clone());
                    sets.len() as u32 - 1
                });
                result.sets[from as usize * count + to as usize] = place;
                if from != to {
                    result.neighbours[from as usize].push(to);
                    result.neighbours[to as usize].push(from);
                }
            }
            for list in &mut result.neighbours {
                list.sort_unstable();
                list.dedup();
            }
            result
        };
        let (a, b) = (numbered(a), numbered(b));
        Self {
            a,
            b,
            sets,
            edge_labels: edge_labels.len(),
        }
    }

    /// How many edges a set has.
    pub fn size(&self, set: u32) -> u32 {
        self.sets[set as usize].len() as u32
    }

    /// The fewest insertions, deletions and relabellings that make one set of parallel edges of
    /// another.
    pub fn set_cost(&self, one: u32, other: u32) -> u32 {
        if one == other {
            return 0;
        }
        let (one, other) = (&self.sets[one as usize], &self.sets[other as usize]);
        let common = one
            .iter()
            .filter(|label| other.binary_search(label).is_ok());
        (one.len().max(other.len()) - common.count()) as u32
    }
}
