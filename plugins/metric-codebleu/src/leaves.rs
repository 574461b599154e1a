//! The leaf tokens of a tree, numbered and named as codebleu does it
//! (`parser/utils.py`: `tree_to_token_index`, `index_to_code_token`,
//! `tree_to_variable_index`).

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use crate::dataflow::Stop;
use crate::tree::{Grammar, Tree};

/// A leaf token as the data flow sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its number among the tokens.
    pub number: u32,
    /// Number of its text among the texts.
    pub name: u32,
}

/// The leaf tokens of a tree.
///
/// Leaves are nodes without children, and literals whatever is in them;
/// comments are neither. The reference looks them up by where they start and
/// end, which has two consequences. Leaves at the same place (tokens of no width
/// that the parser made up) are all taken for the last of them. And nodes inside
/// a literal are not found at all: an exception.
#[derive(Debug)]
pub struct Leaves<'a> {
    tree: &'a Tree,
    grammar: &'a Grammar,
    leaves: Vec<Leaf>,
    /// Whether the text of a leaf differs from the name of its kind, by place in `leaves`.
    variable: Vec<bool>,
    /// Nodes of the leaves.
    nodes: Vec<u32>,
    /// Leaves before each node; [`INSIDE`] for nodes inside a literal.
    before: Vec<u32>,
    names: Vec<Cow<'a, str>>,
    /// From start and end, in bytes; made when something inside a literal is looked up.
    places: Option<FxHashMap<(u32, u32), Leaf>>,
}

const INSIDE: u32 = u32::MAX;

impl<'a> Leaves<'a> {
    /// The leaves of a tree of this source.
    #[must_use]
    pub fn new(source: &'a str, tree: &'a Tree, grammar: &'a Grammar) -> Self {
        let mut before = vec![INSIDE; tree.nodes.len()];
        let mut nodes = Vec::new();
        let mut index = 0;
        while let Some(node) = tree.nodes.get(index) {
            before[index] = nodes.len() as u32;
            if is_leaf(tree, grammar, index as u32) {
                nodes.push(index as u32);
                index = node.after as usize;
            } else {
                index += 1;
            }
        }

        let lines = Lines::new(source);
        let mut numbers: FxHashMap<Cow<str>, u32> = FxHashMap::default();
        let mut names: Vec<Cow<str>> = Vec::new();
        let mut leaves: Vec<Leaf> = Vec::with_capacity(nodes.len());
        for (number, &index) in (0..).zip(&nodes) {
            let node = &tree.nodes[index as usize];
            let text = lines.text(node.start as usize, node.end as usize);
            let name = match numbers.get(&text) {
                Some(&name) => name,
                None => {
                    let name = names.len() as u32;
                    names.push(text.clone());
                    numbers.insert(text, name);
                    name
                }
            };
            let leaf = Leaf { number, name };
            // Leaves at the same place follow each other: they have no width.
            let place = |index: u32| {
                let node = &tree.nodes[index as usize];
                (node.start, node.end)
            };
            for earlier in (0..leaves.len()).rev() {
                if place(nodes[earlier]) != place(index) {
                    break;
                }
                leaves[earlier] = leaf;
            }
            leaves.push(leaf);
        }
        let variable = (nodes.iter().zip(&leaves))
            .map(|(&node, leaf)| {
                grammar.kind(tree.nodes[node as usize].kind).name != names[leaf.name as usize]
            })
            .collect();
        Self {
            tree,
            grammar,
            leaves,
            variable,
            nodes,
            before,
            names,
            places: None,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.leaves.len()
    }

    /// The texts that occur, by number.
    #[must_use]
    pub fn names(&self) -> &[Cow<'a, str>] {
        &self.names
    }

    /// Name of each leaf's text, by the leaf's number.
    #[must_use]
    pub fn name(&self, number: u32) -> u32 {
        self.leaves[number as usize].name
    }

    /// Whether this node is visited as a leaf.
    #[must_use]
    pub fn is_leaf(&self, node: u32) -> bool {
        is_leaf(self.tree, self.grammar, node)
    }

    /// A node that is a leaf, and whether its text differs from the name of its kind.
    ///
    /// # Errors
    /// It is inside a literal: a `KeyError`.
    pub fn leaf(&mut self, node: u32) -> Result<(Leaf, bool), Stop> {
        match self.before[node as usize] {
            INSIDE => self.leaf_inside(node),
            at => Ok((self.leaves[at as usize], self.variable[at as usize])),
        }
    }

    fn leaf_inside(&mut self, index: u32) -> Result<(Leaf, bool), Stop> {
        let node = &self.tree.nodes[index as usize];
        let places = self.places.get_or_insert_with(|| {
            let places = self.nodes.iter().map(|&index| {
                let node = &self.tree.nodes[index as usize];
                (node.start, node.end)
            });
            places.zip(self.leaves.iter().copied()).collect()
        });
        let leaf = *places.get(&(node.start, node.end)).ok_or(Stop::Raised)?;
        let kind = self.grammar.kind(node.kind);
        Ok((leaf, kind.name != self.names[leaf.name as usize]))
    }

    /// The leaves in a subtree whose text differs from the name of their kind:
    /// everything but keywords and operators.
    ///
    /// # Errors
    /// The subtree lies inside a literal: a `KeyError`.
    pub fn variables(&mut self, node: u32) -> Result<Vec<Leaf>, Stop> {
        let after = self.tree.nodes[node as usize].after;
        let from = self.before[node as usize];
        if from != INSIDE {
            // The next node outside of literals; there is none behind the last leaf.
            let mut next = after as usize;
            while self.before.get(next) == Some(&INSIDE) {
                next += 1;
            }
            let to = self
                .before
                .get(next)
                .map_or(self.leaves.len(), |&to| to as usize);
            let range = from as usize..to;
            let leaves = self.leaves[range.clone()].iter().zip(&self.variable[range]);
            return Ok(leaves
                .filter(|(_, variable)| **variable)
                .map(|(leaf, _)| *leaf)
                .collect());
        }
        let mut variables = Vec::new();
        let mut index = node;
        while index < after {
            if self.is_leaf(index) {
                let (leaf, variable) = self.leaf_inside(index)?;
                if variable {
                    variables.push(leaf);
                }
                index = self.tree.nodes[index as usize].after;
            } else {
                index += 1;
            }
        }
        Ok(variables)
    }
}

fn is_leaf(tree: &Tree, grammar: &Grammar, index: u32) -> bool {
    let kind = grammar.kind(tree.nodes[index as usize].kind);
    (kind.literal || !tree.has_children(index)) && !kind.comment
}

/// The lines of a source, to cut texts out of.
///
/// tree-sitter counts columns in bytes. The reference takes these numbers for
/// columns in characters, so that behind a character beyond ASCII on its line
/// a token has another text than its own.
struct Lines<'a> {
    source: &'a str,
    /// First byte of each line and of each character, and the number of the
    /// first character of each line; not needed for plain ASCII.
    wide: Option<Wide>,
}

struct Wide {
    line_bytes: Vec<usize>,
    line_characters: Vec<usize>,
    /// With the end of the source as one more.
    characters: Vec<u32>,
}

impl<'a> Lines<'a> {
    fn new(source: &'a str) -> Self {
        let wide = (!source.is_ascii()).then(|| {
            let mut wide = Wide {
                line_bytes: vec![0],
                line_characters: vec![0],
                characters: Vec::new(),
            };
            for (byte, character) in source.char_indices() {
                wide.characters.push(byte as u32);
                if character == '\n' {
                    wide.line_bytes.push(byte + 1);
                    wide.line_characters.push(wide.characters.len());
                }
            }
            wide.characters.push(source.len() as u32);
            wide
        });
        Self { source, wide }
    }

    /// The text between two places in bytes, as the reference cuts it, without line ends.
    fn text(&self, start: usize, end: usize) -> Cow<'a, str> {
        let Some(wide) = &self.wide else {
            let text = &self.source[start..end];
            return if text.contains('\n') {
                text.replace('\n', "").into()
            } else {
                text.into()
            };
        };
        let (first, last) = (wide.line_of(start), wide.line_of(end));
        let (from, to) = (start - wide.line_bytes[first], end - wide.line_bytes[last]);
        if first == last {
            return self.cut(wide, first, from, to).into();
        }
        let mut text = self.cut(wide, first, from, usize::MAX).to_owned();
        for line in first + 1..last {
            text.push_str(self.cut(wide, line, 0, usize::MAX));
        }
        text.push_str(self.cut(wide, last, 0, to));
        text.into()
    }

    /// `lines[line][from:to]`, in characters.
    fn cut(&self, wide: &Wide, line: usize, from: usize, to: usize) -> &'a str {
        let begin = wide.line_characters[line];
        let end = match wide.line_characters.get(line + 1) {
            Some(next) => next - 1,
            None => wide.characters.len() - 1,
        };
        let place = |column: usize| wide.characters[begin.saturating_add(column).min(end)] as usize;
        &self.source[place(from)..place(to.max(from))]
    }
}

impl Wide {
    fn line_of(&self, byte: usize) -> usize {
        self.line_bytes.partition_point(|&start| start <= byte) - 1
    }
}
