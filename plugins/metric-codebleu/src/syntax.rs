//! Subtrees of a syntax tree, as codebleu's syntax match compares them
//! (`syntax_match.py`).
//!
//! The reference takes the root and every node with children (nameless ones
//! count as children), and compares their s-expressions: names of nodes and
//! fields, no text. Here a digest stands for each s-expression, built from
//! those of the children, so that a tree takes time in proportion to its size.
//!
//! What s-expressions don't show are the tokens without a name, operators among
//! them. Strict mode compares subtrees that hold those as well.

use crate::digest::Digest;
use crate::tree::{Grammar, Tree};

/// Digests of the subtrees, sorted; equal ones stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subtrees(Vec<Digest>);

/// A node of an s-expression: its name, and its children in turn.
fn node(label: Digest, children: Digest) -> Digest {
    label.with_digest(children)
}

/// Children with one more behind them.
fn with_child(children: Digest, field: Digest, child: Digest) -> Digest {
    children.with_digest(field).with_digest(child)
}

impl Subtrees {
    /// From the tree alone.
    #[must_use]
    pub fn from_tree(tree: &Tree, grammar: &Grammar) -> Self {
        let nodes = &tree.nodes;
        // By node: its digest within others, and that of its children alone.
        let mut within = vec![Digest::EMPTY; nodes.len()];
        let mut children = vec![Digest::EMPTY; nodes.len()];
        let mut peculiar = tree.peculiar.iter().rev().peekable();
        // Children come after their parents, so they are done before them here.
        for (index, this) in nodes.iter().enumerate().rev() {
            let kind = grammar.kind(this.kind_within);
            if let Some(&(_, label)) = peculiar.next_if(|&&(at, _)| at as usize == index) {
                within[index] = node(label, Digest::EMPTY);
                continue;
            }
            if this.missing {
                let text = if kind.named {
                    format!("MISSING {}", kind.name)
                } else {
                    format!("MISSING \"{}\"", kind.name)
                };
                within[index] = node(Digest::of(&text), Digest::EMPTY);
                continue;
            }
            let mut at = index + 1;
            while at < this.after as usize {
                let below = &nodes[at];
                if !grammar.kind(below.kind_within).named && !below.missing {
                    // A nameless node isn't shown, but what is in it is.
                    at += 1;
                    continue;
                }
                let field = grammar.field(field_shown(tree, index, at));
                children[index] = with_child(children[index], field, within[at]);
                at = below.after as usize;
            }
            within[index] = node(kind.label, children[index]);
        }
        Self::new(tree, grammar, &children)
    }

    /// From the tree and its s-expression.
    ///
    /// Trees with errors have nodes that s-expressions show and cursors don't
    /// reach: tokens without a name that the parser made up, such as an indent.
    /// `None` if the two don't belong together.
    #[must_use]
    pub fn from_sexp(tree: &Tree, grammar: &Grammar, sexp: &str) -> Option<Self> {
        let mut shown = children_in_sexp(sexp)?.into_iter();
        let mut children = vec![Digest::EMPTY; tree.nodes.len()];
        for (node, children) in tree.nodes.iter().zip(&mut children) {
            if grammar.kind(node.kind_within).named && !node.missing {
                *children = shown.next()?;
            }
        }
        shown
            .next()
            .is_none()
            .then(|| Self::new(tree, grammar, &children))
    }

    /// Those of strict mode: every node counts as a child, also tokens without a name, which
    /// are told apart by their text (operators, keywords, brackets).
    #[must_use]
    pub fn with_tokens(tree: &Tree, grammar: &Grammar) -> Self {
        let nodes = &tree.nodes;
        let mut children = vec![Digest::EMPTY; nodes.len()];
        let mut peculiar = tree.peculiar.iter().rev().peekable();
        let mut digests = Vec::new();
        for (index, this) in nodes.iter().enumerate().rev() {
            let kind = grammar.kind(this.kind_within);
            let label = match peculiar.next_if(|&&(at, _)| at as usize == index) {
                // A character that no token starts with; its label says which.
                Some(&(_, label)) if !tree.has_children(index as u32) => label,
                _ => kind.label.with(kind.named.into()).with(this.missing.into()),
            };
            // Children come after their parents, and the last one first here.
            let whole = node(label, children[index]);
            if index == 0 || tree.has_children(index as u32) {
                digests.push(whole);
            }
            let parent = this.parent as usize;
            if index > 0 {
                let field = grammar.field(this.field);
                children[parent] = with_child(children[parent], field, whole);
            }
        }
        digests.sort_unstable();
        Self(digests)
    }

    /// From the digests of all nodes' children.
    fn new(tree: &Tree, grammar: &Grammar, children: &[Digest]) -> Self {
        let mut peculiar = tree.peculiar.iter().peekable();
        let mut digests = Vec::new();
        for (index, this) in (0..).zip(&tree.nodes) {
            let peculiar = peculiar.next_if(|&&(at, _)| at == index);
            if index == 0 || tree.has_children(index) {
                let whole = || node(grammar.kind(this.kind).label, children[index as usize]);
                digests.push(peculiar.map_or_else(whole, |&(_, label)| node(label, Digest::EMPTY)));
            }
        }
        digests.sort_unstable();
        Self(digests)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many of these occur anywhere in `other`; one there serves any number here.
    #[must_use]
    pub fn matches_in(&self, other: &Self) -> usize {
        let mut others = other.0.iter().peekable();
        let found = self.0.iter().filter(|&digest| {
            while others.next_if(|&other| other < digest).is_some() {}
            others.peek() == Some(&digest)
        });
        found.count()
    }
}

/// The field with which `ancestor` shows the named node `below`: its own, or
/// that of the nameless nodes between the two.
fn field_shown(tree: &Tree, ancestor: usize, below: usize) -> u16 {
    let mut at = below;
    loop {
        let node = &tree.nodes[at];
        if node.field != 0 || node.parent as usize == ancestor {
            return node.field;
        }
        at = node.parent as usize;
    }
}

/// Of each node in an s-expression, in the order of their opening parentheses,
/// the digest of its children. Nodes that are missing in the text are left out,
/// but count as children.
fn children_in_sexp(sexp: &str) -> Option<Vec<Digest>> {
    struct Open {
        /// Place in the result; `None` for a missing node.
        slot: Option<usize>,
        field: Digest,
        label: Digest,
        children: Digest,
    }

    let no_field = Digest::of("");
    let mut done = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut field = no_field;
    let mut rest = sexp;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('(') {
            let label = &after[..label_length(after)?];
            let slot = (!label.starts_with("MISSING ")).then(|| {
                done.push(Digest::EMPTY);
                done.len() - 1
            });
            open.push(Open {
                slot,
                field,
                label: Digest::of(label),
                children: Digest::EMPTY,
            });
            field = no_field;
            rest = &after[label.len()..];
        } else if let Some(after) = rest.strip_prefix(')') {
            let Open {
                slot,
                field,
                label,
                children,
            } = open.pop()?;
            if let Some(slot) = slot {
                done[slot] = children;
            }
            if let Some(parent) = open.last_mut() {
                parent.children = with_child(parent.children, field, node(label, children));
            }
            rest = after;
        } else if let Some(after) = rest.strip_prefix(' ') {
            rest = after;
        } else {
            let (name, after) = rest.split_once(": ")?;
            field = Digest::of(name);
            rest = after;
        }
    }
    open.is_empty().then_some(done)
}

/// Length of the label at the start, behind its parenthesis: a kind's name,
/// `MISSING name`, `MISSING "token"`, `UNEXPECTED 'c'`, `UNEXPECTED 233`.
fn label_length(text: &str) -> Option<usize> {
    // What is quoted may be a parenthesis or a quote.
    for (start, quote) in [("UNEXPECTED '", '\''), ("MISSING \"", '"')] {
        if let Some(quoted) = text.strip_prefix(start) {
            let first = quoted.chars().next()?.len_utf8();
            return Some(start.len() + first + quoted[first..].find(quote)? + 1);
        }
    }
    if text.starts_with("UNEXPECTED ") || text.starts_with("MISSING ") {
        text.find(')')
    } else {
        text.find([' ', ')'])
    }
}
