//! Values that cross between judge, host and candidate: data without identity,
//! methods or code.
//!
//! On the wire a value is an arena, since WIT has no recursive types. What a
//! guest sends is checked here: references point backwards (so there are no
//! cycles), no node is used twice (so nothing blows up), depth and number are
//! limited, and numbers are numbers.

use super::bindings::v0_1::values;

/// Levels of nesting; the SDK has the same limit. Chosen.
pub const VALUE_DEPTH_MAX: usize = 200;
/// Nodes of one value. Chosen: a list of a million numbers passes.
pub const VALUE_NODES_MAX: usize = 1 << 21;

/// One value; its kinds are Python's.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    None,
    Boolean(bool),
    /// Decimal digits of any number, with `-` where it is negative.
    Integer(String),
    /// By its bits, so that NaNs and signed zeros survive.
    Float(u64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    /// Keys and values in insertion order.
    Dict(Vec<(Value, Value)>),
    Set(Vec<Value>),
    FrozenSet(Vec<Value>),
    Exception {
        name: String,
        message: String,
    },
}

impl Value {
    pub fn exception(name: &str, message: &str) -> Self {
        Self::Exception {
            name: name.to_owned(),
            message: message.to_owned(),
        }
    }

    /// Tree to arena: children come before what refers to them.
    pub(super) fn into_arena(self) -> values::Value {
        let mut nodes = Vec::new();
        let root = self.push(&mut nodes);
        values::Value { nodes, root }
    }

    fn push(self, nodes: &mut Vec<values::Node>) -> u32 {
        fn all(items: Vec<Value>, nodes: &mut Vec<values::Node>) -> Vec<u32> {
            items.into_iter().map(|item| item.push(nodes)).collect()
        }
        let node = match self {
            Value::None => values::Node::None,
            Value::Boolean(value) => values::Node::Boolean(value),
            Value::Integer(digits) => values::Node::Integer(digits),
            Value::Float(bits) => values::Node::Floating(bits),
            Value::Text(text) => values::Node::Text(text),
            Value::Bytes(bytes) => values::Node::Bytes(bytes),
            Value::List(items) => values::Node::List(all(items, nodes)),
            Value::Tuple(items) => values::Node::Tuple(all(items, nodes)),
            Value::Dict(entries) => values::Node::Dict(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.push(nodes), value.push(nodes)))
                    .collect(),
            ),
            Value::Set(items) => values::Node::Set(all(items, nodes)),
            Value::FrozenSet(items) => values::Node::Frozenset(all(items, nodes)),
            Value::Exception { name, message } => values::Node::Exception((name, message)),
        };
        nodes.push(node);
        u32::try_from(nodes.len() - 1).expect("values are limited to two million nodes")
    }

    /// Arena to tree.
    ///
    /// # Errors
    /// What is wrong with the arena, for people.
    pub(super) fn from_arena(value: values::Value) -> Result<Self, String> {
        if value.nodes.len() > VALUE_NODES_MAX {
            return Err(format!(
                "a value of {} parts; at most {VALUE_NODES_MAX} are passed on",
                value.nodes.len()
            ));
        }
        let mut reader = Reader(value.nodes.into_iter().map(Some).collect());
        reader.read(value.root, 0)
    }
}

struct Reader(Vec<Option<values::Node>>);

impl Reader {
    fn read(&mut self, index: u32, depth: usize) -> Result<Value, String> {
        if depth > VALUE_DEPTH_MAX {
            return Err(format!("a value nested deeper than {VALUE_DEPTH_MAX}"));
        }
        let node = self
            .0
            .get_mut(index as usize)
            .and_then(Option::take)
            .ok_or_else(|| format!("node {index} is missing, or referred to twice"))?;
        Ok(match node {
            values::Node::None => Value::None,
            values::Node::Boolean(value) => Value::Boolean(value),
            values::Node::Integer(digits) => Value::Integer(integer(digits)?),
            values::Node::Floating(bits) => Value::Float(bits),
            values::Node::Text(text) => Value::Text(text),
            values::Node::Bytes(bytes) => Value::Bytes(bytes),
            values::Node::List(items) => Value::List(self.all(index, &items, depth)?),
            values::Node::Tuple(items) => Value::Tuple(self.all(index, &items, depth)?),
            values::Node::Dict(entries) => Value::Dict(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let key = self.child(index, key, depth)?;
                        Ok((key, self.child(index, value, depth)?))
                    })
                    .collect::<Result<_, String>>()?,
            ),
            values::Node::Set(items) => Value::Set(self.all(index, &items, depth)?),
            values::Node::Frozenset(items) => Value::FrozenSet(self.all(index, &items, depth)?),
            values::Node::Exception((name, message)) => Value::Exception { name, message },
        })
    }

    fn all(&mut self, parent: u32, items: &[u32], depth: usize) -> Result<Vec<Value>, String> {
        items
            .iter()
            .map(|item| self.child(parent, *item, depth))
            .collect()
    }

    fn child(&mut self, parent: u32, index: u32, depth: usize) -> Result<Value, String> {
        if index >= parent {
            return Err(format!(
                "node {parent} refers to node {index}, not backwards"
            ));
        }
        self.read(index, depth + 1)
    }
}

fn integer(digits: String) -> Result<String, String> {
    let magnitude = digits.strip_prefix('-').unwrap_or(&digits);
    if magnitude.is_empty() || !magnitude.bytes().all(|byte| byte.is_ascii_digit()) {
        let shown: String = digits.chars().take(40).collect();
        return Err(format!("`{}` is not an integer", shown.escape_debug()));
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use values::Node;

    // Would catch a value that changes on its way between judge and candidate.
    #[test]
    fn values_survive_the_arena() {
        let nested = (0..VALUE_DEPTH_MAX).fold(Value::None, |inside, _| Value::List(vec![inside]));
        for value in [
            Value::Float(f64::NAN.to_bits()),
            Value::Integer("-123456789012345678901234567890".into()),
            Value::Dict(vec![
                (
                    Value::Text("k".into()),
                    Value::Tuple(vec![Value::Boolean(true)]),
                ),
                (
                    Value::Bytes(vec![0]),
                    Value::Set(vec![Value::FrozenSet(vec![])]),
                ),
            ]),
            Value::exception("KeyError", "'x'"),
            nested,
        ] {
            assert_eq!(Value::from_arena(value.clone().into_arena()), Ok(value));
        }
    }

    // Would catch an arena that hangs the host, or grows without end in it.
    #[test]
    fn hostile_arenas_are_refused() {
        let check = |nodes: Vec<Node>, root: u32, expected: &str| {
            let error = Value::from_arena(values::Value { nodes, root }).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        };
        check(vec![Node::List(vec![0])], 0, "not backwards");
        check(vec![], 0, "missing");
        check(
            vec![Node::None, Node::List(vec![0, 0])],
            1,
            "referred to twice",
        );
        check(vec![Node::Integer("1e9".into())], 0, "is not an integer");
        check(vec![Node::Integer("-".into())], 0, "is not an integer");
        let deep: Vec<Node> = std::iter::once(Node::None)
            .chain((0..=VALUE_DEPTH_MAX as u32).map(|below| Node::List(vec![below])))
            .collect();
        let root = deep.len() as u32 - 1;
        check(deep, root, "nested deeper");
    }
}
