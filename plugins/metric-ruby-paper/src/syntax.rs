//! What tree-sitter says about a text, as one flat array.

use tree_sitter::{Language, Parser};

/// What a grammar calls its kinds of nodes and their fields, looked up once.
#[derive(Debug)]
pub struct Grammar {
    kinds: Vec<Kind>,
    /// By number, from 1.
    fields: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    named: bool,
    comment: bool,
    literal: bool,
}

impl Grammar {
    /// Looks everything up.
    #[must_use]
    pub fn new(language: &Language) -> Self {
        let kind = |id: u16| {
            let name = language.node_kind_for_id(id).unwrap_or_default();
            Kind {
                name,
                named: language.node_kind_is_named(id),
                comment: name.contains("comment"),
                literal: is_literal(name),
            }
        };
        let field = |id: u16| language.field_name_for_id(id).unwrap_or_default();
        Self {
            kinds: (0..language.node_kind_count() as u16).map(kind).collect(),
            fields: (0..=language.field_count() as u16).map(field).collect(),
        }
    }
}

/// A node; nodes are in the order in which a reader meets their beginnings.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// `identifier`, `if_statement`, `+`, …
    pub kind: &'static str,
    /// What a named one is to its parent; empty for nothing in particular.
    pub field: &'static str,
    /// First byte in the source.
    pub start: u32,
    /// Byte after its last.
    pub end: u32,
    /// Index of its parent; the root is its own.
    pub parent: u32,
    /// Index after its last descendant.
    pub after: u32,
    /// Not a keyword, operator or bracket.
    pub named: bool,
    /// A comment, which says nothing to a machine.
    pub comment: bool,
    /// A literal text or a piece of one.
    pub literal: bool,
}

/// A text without syntax errors. Node 0 is the root.
#[derive(Debug)]
pub struct Syntax<'a> {
    /// What was parsed.
    pub source: &'a str,
    /// Parents before children.
    pub nodes: Vec<Node>,
    /// Levels, the root being the first.
    pub depth: usize,
}

impl<'a> Syntax<'a> {
    /// `None` if the text is no program of the parser's language, whose grammar this is.
    #[must_use]
    pub fn parse(parser: &mut Parser, grammar: &Grammar, source: &'a str) -> Option<Self> {
        let parsed = parser.parse(source, None)?;
        if parsed.root_node().has_error() {
            return None;
        }
        let mut syntax = Self {
            source,
            nodes: Vec::new(),
            depth: 0,
        };
        let mut cursor = parsed.walk();
        let mut open: Vec<u32> = Vec::new();
        loop {
            let node = cursor.node();
            let index = syntax.nodes.len() as u32;
            let kind = grammar.kinds[usize::from(node.kind_id())];
            let field = if kind.named { cursor.field_id() } else { None };
            let field = field.map_or(0, |field| field.get());
            syntax.nodes.push(Node {
                kind: kind.name,
                field: grammar.fields[usize::from(field)],
                start: node.start_byte() as u32,
                end: node.end_byte() as u32,
                parent: open.last().copied().unwrap_or_default(),
                after: index + 1,
                named: kind.named,
                comment: kind.comment && node.is_extra(),
                literal: kind.literal,
            });
            syntax.depth = syntax.depth.max(open.len() + 1);
            if cursor.goto_first_child() {
                open.push(index);
                continue;
            }
            while !cursor.goto_next_sibling() {
                let Some(parent) = open.pop() else {
                    return Some(syntax);
                };
                cursor.goto_parent();
                syntax.nodes[parent as usize].after = syntax.nodes.len() as u32;
            }
        }
    }

    /// The node with this index.
    #[must_use]
    pub fn node(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self, index: u32) -> &'static str {
        self.node(index).kind
    }

    /// Its text.
    #[must_use]
    pub fn text(&self, index: u32) -> &'a str {
        let node = self.node(index);
        &self.source[node.start as usize..node.end as usize]
    }

    /// Its parent, unless it is the root.
    #[must_use]
    pub fn parent(&self, index: u32) -> Option<u32> {
        (index > 0).then(|| self.node(index).parent)
    }

    /// Kind of its parent; empty for the root.
    #[must_use]
    pub fn parent_kind(&self, index: u32) -> &'static str {
        self.parent(index).map_or("", |parent| self.kind(parent))
    }

    /// Indices of its children, in order, tokens and comments included.
    pub fn children(&self, index: u32) -> impl Iterator<Item = u32> + use<'_, 'a> {
        let after = self.node(index).after;
        let child = move |index: u32| (index < after).then_some(index);
        std::iter::successors(child(index + 1), move |&previous| {
            child(self.node(previous).after)
        })
    }

    /// Indices of its named children, without comments.
    pub fn parts(&self, index: u32) -> impl Iterator<Item = u32> + use<'_, 'a> {
        self.children(index).filter(|&child| {
            let node = self.node(child);
            node.named && !node.comment
        })
    }

    /// Its named children with this field.
    pub fn fields<'s>(
        &'s self,
        index: u32,
        field: &'s str,
    ) -> impl Iterator<Item = u32> + use<'s, 'a> {
        self.parts(index)
            .filter(move |&child| self.node(child).field == field)
    }

    /// The first of them.
    #[must_use]
    pub fn field(&self, index: u32, field: &str) -> Option<u32> {
        self.fields(index, field).next()
    }

    /// Whether it has no children, or is a literal text without code inside.
    #[must_use]
    pub fn is_leaf(&self, index: u32) -> bool {
        let node = self.node(index);
        node.after == index + 1
            || node.literal && self.parts(index).all(|part| self.node(part).literal)
    }

    /// Leaves of a subtree, in order, without comments.
    pub fn leaves(&self, index: u32) -> impl Iterator<Item = u32> + use<'_, 'a> {
        let after = self.node(index).after;
        let mut next = index;
        std::iter::from_fn(move || {
            while next < after {
                let at = next;
                if self.node(at).comment {
                    next = self.node(at).after;
                } else if self.is_leaf(at) {
                    next = self.node(at).after;
                    return Some(at);
                } else {
                    next += 1;
                }
            }
            None
        })
    }
}

/// Whether a kind is a literal text or a piece of one, in any of the grammars.
fn is_literal(kind: &str) -> bool {
    ["string", "char", "rune", "escape", "content", "fragment"]
        .iter()
        .any(|piece| kind.contains(piece))
}
