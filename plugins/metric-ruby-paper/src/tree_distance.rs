//! Edit distance of ordered labelled trees.

/// An ordered tree: its nodes in postorder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordered {
    /// By node.
    pub labels: Vec<u32>,
    /// By node: its leftmost leaf, itself if it is one.
    pub leftmost: Vec<u32>,
}

/// Cells of the table of all pairs of subtrees, at most: 32 MiB of memory.
const CELLS_MAX: u64 = 8 << 20;

/// Cells that are computed at most. Chosen: about a billion units of fuel, a fifth of a sample's.
const STEPS_MAX: u64 = 100_000_000;

impl Ordered {
    /// From nodes in preorder, given as labels and parents; the first is the root, and its own
    /// parent.
    #[must_use]
    pub fn new(labels: &[u32], parents: &[u32]) -> Self {
        Self::in_order(labels, parents, false)
    }

    /// The same tree in a mirror: every node's children from right to left.
    #[must_use]
    pub fn mirrored(labels: &[u32], parents: &[u32]) -> Self {
        Self::in_order(labels, parents, true)
    }

    fn in_order(labels: &[u32], parents: &[u32], mirrored: bool) -> Self {
        let count = labels.len();
        let mut children = vec![Vec::new(); count];
        for (node, &parent) in parents.iter().enumerate().skip(1) {
            children[parent as usize].push(node);
        }
        let mut tree = Self {
            labels: Vec::with_capacity(count),
            leftmost: Vec::with_capacity(count),
        };
        // A node, how many of its children are done, and its leftmost leaf once one is.
        let mut open = vec![(0, 0, None)];
        if count == 0 {
            return tree;
        }
        while let Some((node, done, first)) = open.pop() {
            let children = &children[node];
            if let Some(&next) = match mirrored {
                false => children.get(done),
                true => children.iter().rev().nth(done),
            } {
                open.push((node, done + 1, first));
                open.push((next, 0, None));
                continue;
            }
            let place = tree.labels.len() as u32;
            let leftmost = first.unwrap_or(place);
            tree.labels.push(labels[node]);
            tree.leftmost.push(leftmost);
            if let Some((_, _, first)) = open.last_mut() {
                first.get_or_insert(leftmost);
            }
        }
        tree
    }

    /// Nodes that are no leftmost child, the root included: the roots of the subtrees that the
    /// distance is computed for.
    fn key_roots(&self) -> Vec<u32> {
        let mut last = vec![0; self.labels.len()];
        for (node, &leaf) in (0..).zip(&self.leftmost) {
            last[leaf as usize] = node;
        }
        let nodes = (0..).zip(&self.leftmost);
        nodes
            .filter(|&(node, &leaf)| last[leaf as usize] == node)
            .map(|(node, _)| node)
            .collect()
    }

    /// Sizes of the key roots' subtrees, added up.
    fn work(&self) -> u64 {
        let size = |root: u32| u64::from(root - self.leftmost[root as usize] + 1);
        self.key_roots().into_iter().map(size).sum()
    }
}

/// The fewest insertions, deletions and relabellings of one node that turn one tree into the
/// other, children keeping their order (Zhang and Shasha 1989, "Simple fast algorithms for the
/// editing distance between trees and related problems", <https://doi.org/10.1137/0218082>).
/// `a` and `b` are each a tree and its mirror image; the side that is less work is taken.
///
/// `None` if both are too much; see the constants above.
#[must_use]
pub fn tree_distance(a: [&Ordered; 2], b: [&Ordered; 2]) -> Option<u32> {
    if a[0] == b[0] {
        return Some(0);
    }
    let cells = a[0].labels.len() as u64 * b[0].labels.len() as u64;
    let sides = [0, 1].map(|side| a[side].work().saturating_mul(b[side].work()));
    let side = usize::from(sides[1] < sides[0]);
    if cells > CELLS_MAX || sides[side] > STEPS_MAX {
        return None;
    }
    Some(zhang_shasha(a[side], b[side]))
}

fn zhang_shasha(a: &Ordered, b: &Ordered) -> u32 {
    let (rows, columns) = (a.labels.len(), b.labels.len());
    if rows == 0 || columns == 0 {
        return (rows + columns) as u32;
    }
    // Between the subtrees below each pair of nodes.
    let mut trees = vec![0u32; rows * columns];
    // Between forests: prefixes of the two subtrees at hand, the empty ones first.
    let width = columns + 1;
    let mut forests = vec![0u32; (rows + 1) * width];
    for &root_a in &a.key_roots() {
        for &root_b in &b.key_roots() {
            let (from_a, from_b) = (a.leftmost[root_a as usize], b.leftmost[root_b as usize]);
            let (count_a, count_b) = (root_a - from_a + 1, root_b - from_b + 1);
            for j in 0..=count_b {
                forests[j as usize] = j;
            }
            for i in 1..=count_a as usize {
                let node_a = from_a as usize + i - 1;
                let (done, rest) = forests.split_at_mut(i * width);
                let row = &mut rest[..width];
                let above = &done[(i - 1) * width..];
                // The forest in front of the subtree of `node_a`.
                let before = &done[(a.leftmost[node_a] - from_a) as usize * width..];
                let whole_a = a.leftmost[node_a] == from_a;
                let tree_row = &mut trees[node_a * columns..][..columns];
                row[0] = i as u32;
                for j in 1..=count_b as usize {
                    let node_b = from_b as usize + j - 1;
                    let before_b = (b.leftmost[node_b] - from_b) as usize;
                    let edited = above[j].min(row[j - 1]) + 1;
                    row[j] = if whole_a && before_b == 0 {
                        let other = u32::from(a.labels[node_a] != b.labels[node_b]);
                        let distance = edited.min(above[j - 1] + other);
                        tree_row[node_b] = distance;
                        distance
                    } else {
                        edited.min(before[before_b] + tree_row[node_b])
                    };
                }
            }
        }
    }
    trees[rows * columns - 1]
}
