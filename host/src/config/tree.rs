//! Settings as somebody wrote them down: a tree that knows the line of every key.

use serde_json::Value;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// As messages have it: `plugins[0].path`.
    pub key: String,
    /// Counted from 1; 0 where there are no lines.
    pub line: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Leaf(Value),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    At(usize),
}

impl Node {
    /// An empty tree.
    pub fn root() -> Self {
        Self {
            key: String::new(),
            line: 0,
            kind: Kind::Table(Vec::new()),
        }
    }

    /// A tree with one value in it.
    pub fn of(path: &[&str], value: Value) -> Self {
        let mut kind = Kind::Leaf(value);
        for depth in (0..path.len()).rev() {
            let key = path[..=depth].join(".");
            let node = Node { key, line: 0, kind };
            kind = Kind::Table(vec![(path[depth].to_owned(), node)]);
        }
        Self {
            kind,
            ..Self::root()
        }
    }

    /// Without lines.
    pub fn value(&self) -> Value {
        match &self.kind {
            Kind::Leaf(value) => value.clone(),
            Kind::List(items) => items.iter().map(Node::value).collect(),
            Kind::Table(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(name, node)| (name.clone(), node.value()))
                    .collect(),
            ),
        }
    }

    /// What lies at the end of a path.
    pub fn at(&self, path: &[Step]) -> Option<&Node> {
        let [step, rest @ ..] = path else {
            return Some(self);
        };
        let child = match (&self.kind, step) {
            (Kind::Table(entries), Step::Name(wanted)) => {
                let mut entries = entries.iter();
                entries
                    .find(|(name, _)| name == wanted)
                    .map(|(_, node)| node)
            }
            (Kind::List(items), Step::At(at)) => items.get(*at),
            _ => None,
        };
        child?.at(rest)
    }

    /// Takes out what lies at the end of a path, if there is anything.
    pub fn remove(&mut self, path: &[Step]) -> Option<Node> {
        let [step, rest @ ..] = path else {
            return None;
        };
        let position = match (&self.kind, step) {
            (Kind::Table(entries), Step::Name(wanted)) => {
                entries.iter().position(|(name, _)| name == wanted)?
            }
            (Kind::List(items), Step::At(at)) if *at < items.len() => *at,
            _ => return None,
        };
        match &mut self.kind {
            Kind::Table(entries) if rest.is_empty() => Some(entries.remove(position).1),
            Kind::List(items) if rest.is_empty() => Some(items.remove(position)),
            Kind::Table(entries) => entries[position].1.remove(rest),
            Kind::List(items) => items[position].remove(rest),
            Kind::Leaf(_) => None,
        }
    }

    /// Everything that is a value of its own: lists whole, tables only where they are empty.
    pub fn leaves(&self) -> Vec<&Node> {
        match &self.kind {
            Kind::Table(entries) if !entries.is_empty() => {
                entries.iter().flat_map(|(_, node)| node.leaves()).collect()
            }
            _ if self.key.is_empty() => Vec::new(),
            _ => vec![self],
        }
    }
}
