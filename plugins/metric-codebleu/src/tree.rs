//! A syntax tree, copied out of tree-sitter into one flat array.
//!
//! tree-sitter's own nodes are walked once, with a cursor. After that every
//! question (children, fields, leaves below a node) is a matter of indices, and
//! nothing recurses: a component has a small stack, and a text may nest as deep
//! as it is long.

use tree_sitter::{Language, Node as ParsedNode, Tree as ParsedTree};

use crate::digest::Digest;

/// What is known about the nodes of a kind.
#[derive(Clone, Debug)]
pub struct Kind {
    /// `identifier`, `if`, …
    pub name: &'static str,
    /// Whether s-expressions show it.
    pub named: bool,
    /// codebleu takes these for one token, whatever is inside.
    pub literal: bool,
    /// codebleu passes over these.
    pub comment: bool,
    /// A name; only these are remembered as variables.
    pub identifier: bool,
    /// Digest of the name.
    pub label: Digest,
}

/// Kinds of nodes and names of fields of a grammar.
#[derive(Debug)]
pub struct Grammar {
    kinds: Vec<Kind>,
    error: Kind,
    fields: Vec<Digest>,
}

impl Grammar {
    /// Looks everything up once.
    #[must_use]
    pub fn new(language: &Language) -> Self {
        let kind = |name: &'static str, named| Kind {
            name,
            named,
            literal: matches!(name, "string_literal" | "string" | "character_literal"),
            comment: name == "comment",
            identifier: name == "identifier",
            label: Digest::of(name),
        };
        let kinds = (0..language.node_kind_count() as u16)
            .map(|id| {
                let name = language.node_kind_for_id(id).unwrap_or_default();
                kind(name, language.node_kind_is_named(id))
            })
            .collect();
        let fields = (0..=language.field_count() as u16)
            .map(|id| Digest::of(language.field_name_for_id(id).unwrap_or_default()))
            .collect();
        Self {
            kinds,
            error: kind("ERROR", true),
            fields,
        }
    }

    /// What `role` says of each kind, by number.
    pub fn roles<T>(&self, role: impl FnMut(&Kind) -> T) -> Vec<T> {
        self.kinds.iter().map(role).collect()
    }

    /// A kind by its number. Numbers beyond the grammar are tree-sitter's errors.
    #[must_use]
    pub fn kind(&self, id: u16) -> &Kind {
        self.kinds.get(usize::from(id)).unwrap_or(&self.error)
    }

    /// Digest of a field's name; of the empty name for 0, no field.
    #[must_use]
    pub fn field(&self, id: u16) -> Digest {
        self.fields[usize::from(id)]
    }
}

/// A node; nodes are in the order in which a reader meets their beginnings.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Of its kind, as the grammar numbers them.
    pub kind: u16,
    /// The kind it has in the s-expressions of the nodes around it; differs
    /// only as [`Tree::new`] tells.
    pub kind_within: u16,
    /// What it is to its parent; 0 for nothing in particular.
    pub field: u16,
    /// First byte in the source.
    pub start: u32,
    /// Byte after its last.
    pub end: u32,
    /// Index of its parent; the root is its own.
    pub parent: u32,
    /// Index after its last descendant.
    pub after: u32,
    /// The parser made it up.
    pub missing: bool,
}

/// A syntax tree. Node 0 is the root.
#[derive(Debug)]
pub struct Tree {
    /// In order of their beginnings, parents before children.
    pub nodes: Vec<Node>,
    /// Levels, the root being the first.
    pub depth: usize,
    /// Nodes that can't be told from their kind, by index: characters that no
    /// token starts with, and nameless nodes with children. Their label is
    /// their whole s-expression.
    pub peculiar: Vec<(u32, Digest)>,
}

impl Tree {
    /// Copies a tree.
    ///
    /// A trap: the reference walks by `node.children`, for which tree-sitter
    /// starts a cursor at the node. If the grammar has renamed that node (a rule
    /// of its own to `list_splat`), such a cursor gives this name to those of
    /// its children that may stand anywhere (errors, comments), and to theirs in
    /// turn.
    #[must_use]
    pub fn new(parsed: &ParsedTree, grammar: &Grammar) -> Self {
        struct Open<'a> {
            index: u32,
            /// The kind that its children that may stand anywhere take over.
            alias: Option<u16>,
            /// Itself, if it may be renamed and that is still to be found out.
            renamed: Option<ParsedNode<'a>>,
        }

        let mut tree = Self {
            nodes: Vec::new(),
            depth: 0,
            peculiar: Vec::new(),
        };
        let mut cursor = parsed.walk();
        // The nodes whose children are being visited.
        let mut open: Vec<Open> = Vec::new();
        loop {
            let node = cursor.node();
            let index = tree.nodes.len() as u32;
            let (start, end) = (node.start_byte() as u32, node.end_byte() as u32);
            let kind_within = node.kind_id();
            let inherited = match open.last_mut() {
                Some(parent) if node.is_extra() => {
                    if let Some(renamed) = parent.renamed.take() {
                        let kind = kind_of_extra_child(renamed);
                        parent.alias = kind.filter(|&kind| kind != kind_within);
                    }
                    parent.alias
                }
                _ => None,
            };
            tree.nodes.push(Node {
                kind: inherited.unwrap_or(kind_within),
                kind_within,
                field: cursor.field_id().map_or(0, Into::into),
                start,
                end,
                parent: open.last().map_or(0, |parent| parent.index),
                after: index + 1,
                missing: start == end && node.is_missing(),
            });
            tree.depth = tree.depth.max(open.len() + 1);

            let has_children = cursor.goto_first_child();
            let unexpected = node.is_error() && !has_children && start < end;
            if unexpected || (has_children && !grammar.kind(kind_within).named) {
                tree.peculiar
                    .push((index, Digest::of(inner(&node.to_sexp()))));
            }
            if has_children {
                let may_be_renamed = inherited.is_none() && node.grammar_id() != kind_within;
                open.push(Open {
                    index,
                    alias: inherited,
                    renamed: may_be_renamed.then_some(node),
                });
                continue;
            }
            while !cursor.goto_next_sibling() {
                let Some(parent) = open.pop() else {
                    return tree;
                };
                cursor.goto_parent();
                tree.nodes[parent.index as usize].after = tree.nodes.len() as u32;
            }
        }
    }

    /// Indices of a node's children, in order.
    pub fn children(&self, index: u32) -> impl Iterator<Item = u32> + use<'_> {
        let after = self.nodes[index as usize].after;
        let child = move |index: u32| (index < after).then_some(index);
        std::iter::successors(child(index + 1), move |&previous| {
            child(self.nodes[previous as usize].after)
        })
    }

    /// Whether a node has children, named or not.
    #[must_use]
    pub fn has_children(&self, index: u32) -> bool {
        self.nodes[index as usize].after > index + 1
    }

    /// What a table by kinds says of a node; `otherwise` for tree-sitter's errors, which stand
    /// in no grammar.
    #[must_use]
    pub fn look_up<T: Copy>(&self, by_kind: &[T], index: u32, otherwise: T) -> T {
        let kind = usize::from(self.nodes[index as usize].kind);
        by_kind.get(kind).copied().unwrap_or(otherwise)
    }

    /// The first child with this field.
    #[must_use]
    pub fn child_by_field(&self, index: u32, field: u16) -> Option<u32> {
        self.children(index)
            .find(|&child| self.nodes[child as usize].field == field)
    }
}

/// The kind of a node's first child that may stand anywhere, as a cursor that starts at the node
/// tells it. Nothing else tells whether a node is renamed: several rules may have one name.
fn kind_of_extra_child(node: ParsedNode<'_>) -> Option<u16> {
    let mut cursor = node.walk();
    let mut children = node.children(&mut cursor);
    let extra = children.find(ParsedNode::is_extra);
    extra.map(|child| child.kind_id())
}

/// An s-expression without its outer parentheses.
fn inner(sexp: &str) -> &str {
    sexp.strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or(sexp)
}
