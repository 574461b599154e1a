//! The schema as a tree that says how values are put together from levels.
//!
//! A column of lists or structs is stored as its leaves. Every value of a leaf
//! has a definition level, which says how much of the path to it is there, and
//! a repetition level, which says in which list it goes on (Melnik et al. 2010,
//! "Dremel", section 4).

use std::ops::Range;

use crate::fault::{Fault, broken};
use crate::metadata::{Annotation, Element, Physical, Repetition};

/// A node below the root.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub shape: Shape,
    /// Definition level from which on it isn't null.
    pub defined: u16,
    /// Its leaves, by their position in the file; never empty.
    pub leaves: Range<usize>,
}

/// What a node is made of.
#[derive(Debug)]
pub enum Shape {
    Leaf,
    Struct(Vec<Node>),
    List {
        item: Box<Node>,
        /// Definition level from which on there is an item.
        filled: u16,
        /// Repetition level of all items but the first.
        repetition: u16,
    },
}

/// A column as it is stored.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Names from below the root, with points between them.
    pub path: String,
    pub physical: Physical,
    pub annotation: Annotation,
    pub definition_max: u16,
    pub repetition_max: u16,
}

/// The columns of a file, and their leaves.
#[derive(Debug)]
pub struct Schema {
    pub columns: Vec<Node>,
    pub leaves: Vec<Leaf>,
}

/// How deep a schema may be; chosen. Lists of conversations are five deep.
const DEPTH_MAX: usize = 32;

impl Schema {
    /// The schema of a footer.
    ///
    /// # Errors
    /// The elements make no tree.
    pub fn new(elements: &[Element]) -> Result<Self, Fault> {
        let Some((root, rest)) = elements.split_first() else {
            return broken("expected a schema, found none");
        };
        let mut builder = Builder {
            rest,
            leaves: Vec::new(),
        };
        let path = Path::default();
        let columns = builder.children(root, &path)?;
        if !builder.rest.is_empty() {
            return broken("expected a schema with one root, found more");
        }
        Ok(Self {
            columns,
            leaves: builder.leaves,
        })
    }
}

/// What is above a node.
#[derive(Clone, Debug, Default)]
struct Path {
    names: Vec<String>,
    definition: u16,
    repetition: u16,
}

impl Path {
    fn below(&self, element: &Element) -> Self {
        let mut path = self.clone();
        path.names.push(element.name.clone());
        path.definition += u16::from(element.repetition != Repetition::Required);
        path.repetition += u16::from(element.repetition == Repetition::Repeated);
        path
    }
}

struct Builder<'a> {
    rest: &'a [Element],
    leaves: Vec<Leaf>,
}

impl<'a> Builder<'a> {
    fn take(&mut self) -> Result<&'a Element, Fault> {
        let Some((element, rest)) = self.rest.split_first() else {
            return broken("expected more columns in the schema, found its end");
        };
        self.rest = rest;
        Ok(element)
    }

    fn children(&mut self, parent: &Element, path: &Path) -> Result<Vec<Node>, Fault> {
        if path.names.len() >= DEPTH_MAX {
            return broken(format!(
                "expected at most {DEPTH_MAX} nested columns, found more"
            ));
        }
        if parent.children == 0 {
            return broken(format!(
                "expected columns below `{}`, found none",
                parent.name
            ));
        }
        (0..parent.children)
            .map(|_| {
                let element = self.take()?;
                self.node(element, path)
            })
            .collect()
    }

    /// The node of an element; of a repeated one, the list that it makes.
    fn node(&mut self, element: &Element, above: &Path) -> Result<Node, Fault> {
        let path = above.below(element);
        let start = self.leaves.len();
        let shape = match element.physical {
            Some(physical) => {
                self.leaves.push(Leaf {
                    path: path.names.join("."),
                    physical,
                    annotation: element.annotation,
                    definition_max: path.definition,
                    repetition_max: path.repetition,
                });
                Shape::Leaf
            }
            None => {
                let mut children = self.children(element, &path)?;
                let is_list = element.annotation == Annotation::List && children.len() == 1;
                match children.pop() {
                    // A list stands in a group of its own, which says whether it is null.
                    Some(Node {
                        shape:
                            Shape::List {
                                item,
                                filled,
                                repetition,
                            },
                        name,
                        ..
                    }) if is_list => Shape::List {
                        item: Box::new(unwrapped(*item, &name, &element.name)),
                        filled,
                        repetition,
                    },
                    last => {
                        children.extend(last);
                        Shape::Struct(children)
                    }
                }
            }
        };
        let node = Node {
            name: element.name.clone(),
            shape,
            defined: path.definition,
            leaves: start..self.leaves.len(),
        };
        if element.repetition != Repetition::Repeated {
            return Ok(node);
        }
        Ok(Node {
            name: node.name.clone(),
            leaves: node.leaves.clone(),
            // Without a group of its own a list is never null.
            defined: above.definition,
            shape: Shape::List {
                item: Box::new(node),
                filled: path.definition,
                repetition: path.repetition,
            },
        })
    }
}

/// What is repeated is a group around the item, unless old writers made it the
/// item itself: the rules of `LogicalTypes.md`, "Lists".
fn unwrapped(item: Node, name: &str, list: &str) -> Node {
    match item.shape {
        Shape::Struct(mut children)
            if children.len() == 1 && name != "array" && name != format!("{list}_tuple") =>
        {
            children.remove(0)
        }
        shape => Node { shape, ..item },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(
        name: &str,
        repetition: Repetition,
        children: u64,
        annotation: Annotation,
    ) -> Element {
        Element {
            name: name.to_owned(),
            physical: (children == 0).then_some(Physical::ByteArray),
            repetition,
            children,
            annotation,
        }
    }

    /// A name, `?` and the level from which on it is there, and what is below.
    fn shown(node: &Node) -> String {
        let below = match &node.shape {
            Shape::Leaf => String::new(),
            Shape::Struct(fields) => {
                format!(
                    "{{{}}}",
                    fields.iter().map(shown).collect::<Vec<_>>().join(" ")
                )
            }
            Shape::List {
                item,
                filled,
                repetition,
            } => {
                format!("[{} {filled} {repetition}]", shown(item))
            }
        };
        format!("{}?{}{below}", node.name, node.defined)
    }

    fn check(elements: &[Element], expected: Result<&str, &str>) {
        let found = match Schema::new(elements) {
            Ok(schema) => Ok(schema
                .columns
                .iter()
                .map(shown)
                .collect::<Vec<_>>()
                .join(" ")),
            Err(Fault::Broken(message)) => Err(message),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    // Catches levels counted wrongly, which shows as nulls and lists that
    // begin in the wrong row.
    #[test]
    fn levels() {
        use Annotation::{List, Other};
        use Repetition::{Optional, Repeated, Required};
        check(
            &[
                element("root", Required, 3, Other),
                element("a", Optional, 0, Other),
                element("b", Optional, 1, List),
                element("list", Repeated, 1, Other),
                element("element", Optional, 2, Other),
                element("role", Required, 0, Other),
                element("content", Optional, 0, Other),
                element("c", Repeated, 0, Other),
            ],
            Ok("a?1 b?1[element?3{role?3 content?4} 2 1] c?0[c?1 1 1]"),
        );
        // Old writers: the repeated group is the item.
        check(
            &[
                element("root", Required, 1, Other),
                element("b", Required, 1, List),
                element("array", Repeated, 1, Other),
                element("x", Required, 0, Other),
            ],
            Ok("b?0[array?1{x?1} 1 1]"),
        );
    }

    // Catches a schema that runs off its end, or that nests until the stack ends.
    #[test]
    fn what_is_no_tree() {
        use Annotation::Other;
        use Repetition::Required;
        check(&[], Err("expected a schema, found none"));
        check(
            &[
                element("root", Required, 2, Other),
                element("a", Required, 0, Other),
            ],
            Err("expected more columns in the schema, found its end"),
        );
        let deep: Vec<Element> = (0..1000)
            .map(|_| element("g", Required, 1, Other))
            .collect();
        check(&deep, Err("expected at most 32 nested columns, found more"));
    }
}
