//! Abstract syntax trees, and their similarity TRS.

use crate::numbers::Numbers;
use crate::syntax::Syntax;
use crate::tree_distance::{Ordered, tree_distance};

/// Tokens that shape a tree and say nothing beyond it.
const PUNCTUATION: [&str; 11] = ["(", ")", "[", "]", "{", "}", ",", ";", ".", ":", "\n"];

/// Labels and parents of an abstract syntax tree, in preorder: the named nodes but for comments.
///
/// The label of a leaf is its kind and its text, that of another node its kind and the operators
/// and keywords that stand directly in it. So `a - b` is another tree than `a + b`.
fn tree(syntax: &Syntax<'_>, numbers: &mut Numbers) -> (Vec<u32>, Vec<u32>) {
    let mut labels = Vec::new();
    let mut parents = Vec::new();
    // By node of the syntax: its place in the tree.
    let mut places = vec![0; syntax.nodes.len()];
    let mut label = String::new();
    let mut index = 0;
    while let Some(node) = syntax.nodes.get(index as usize) {
        let leaf = syntax.is_leaf(index);
        if !node.named || node.comment {
            index = node.after;
            continue;
        }
        places[index as usize] = labels.len() as u32;
        label.clear();
        label.push_str(node.kind);
        if index == 0 {
            // Every text has this one.
        } else if leaf {
            label.push('\n');
            label.push_str(syntax.text(index));
        } else {
            for child in syntax.children(index) {
                let child = syntax.node(child);
                if !child.named && !PUNCTUATION.contains(&child.kind) {
                    label.push(' ');
                    label.push_str(child.kind);
                }
            }
        }
        labels.push(numbers.of(&label));
        parents.push(places[node.parent as usize]);
        index = if leaf { node.after } else { index + 1 };
    }
    (labels, parents)
}

/// `1 − TED / (size + size)`: TED the fewest insertions, deletions and relabellings of nodes,
/// sizes in nodes. The root that every text has does not count as one. 1 for two texts without
/// any code; `None` if the trees are too large.
#[must_use]
pub fn similarity(a: &Syntax<'_>, b: &Syntax<'_>) -> Option<f64> {
    let mut numbers = Numbers::default();
    let (a, b) = (tree(a, &mut numbers), tree(b, &mut numbers));
    let size = a.0.len() + b.0.len() - 2;
    if size == 0 {
        return Some(1.0);
    }
    let sides = |(labels, parents): &(Vec<u32>, Vec<u32>)| {
        [
            Ordered::new(labels, parents),
            Ordered::mirrored(labels, parents),
        ]
    };
    let (a, b) = (sides(&a), sides(&b));
    let distance = tree_distance([&a[0], &a[1]], [&b[0], &b[1]])?;
    Some(1.0 - f64::from(distance) / size as f64)
}
