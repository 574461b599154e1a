//! Data flow in the languages with braces.
//!
//! The reference has a function for each of them; they are copies of one
//! another, and what differs between them is a [`Statements`]. Kinds of nodes
//! are the reference's: where a grammar names a node otherwise (Rust's
//! `let_declaration`, C's `init_declarator`), that statement is like any other
//! node, here as there.

use tree_sitter::Language as Parser;

use crate::dataflow::{Flow, Rules, Stop, Task};
use crate::languages::is_else;
use crate::tree::Grammar;

/// How the nodes are called that mean something to the flow.
#[derive(Debug)]
pub struct Statements {
    /// `int a = b`: the value's names give the declared one's, pair by pair.
    pub declaration: &'static [&'static str],
    /// Where a declaration has its name and its value.
    pub declared: Parts,
    /// `a = b`, and what else has fields `left` and `right`.
    pub assignment: &'static [&'static str],
    /// `a++`: every name in it gives every name in it.
    pub increment: &'static [&'static str],
    /// From the first child of one of these kinds on, each child of such a node is an
    /// alternative of its own.
    pub branch: &'static [&'static str],
    /// Whether there is one more alternative that does nothing even where there is an `else`.
    pub branch_or_nothing: bool,
    /// `for (a; b; c)`.
    pub counted_loop: &'static [&'static str],
    /// The child of a counted loop behind which the children are followed once more.
    pub again_behind: &'static str,
    /// The field of that child which comes before them.
    pub again_first: Option<&'static str>,
    /// `for (a : b)`.
    pub each_loop: &'static [&'static str],
    /// What such a loop goes over, and its variable.
    pub each: Each,
    /// All children are followed twice.
    pub other_loop: &'static [&'static str],
}

/// Where a declaration has its name and its value.
#[derive(Clone, Copy, Debug)]
pub enum Parts {
    /// Fields `name` and this one.
    Fields(&'static str),
    /// The first child, and the second if there are just two.
    FirstOfTwo,
    /// The second child, and the third.
    SecondAndThird,
}

/// Where a loop over something has its variable and what it goes over.
#[derive(Clone, Copy, Debug)]
pub enum Each {
    /// In these fields; variable first.
    Fields(&'static str, &'static str),
    /// In the second and the first child of this kind.
    Children(&'static str),
}

/// A language without statements, to be filled in: what most of them have in common.
pub const PLAIN: Statements = Statements {
    declaration: &[],
    declared: Parts::Fields("value"),
    assignment: &[],
    increment: &[],
    branch: &[],
    branch_or_nothing: false,
    counted_loop: &[],
    again_behind: "local_variable_declaration",
    again_first: None,
    each_loop: &[],
    each: Each::Fields("left", "right"),
    other_loop: &[],
};

/// The rules that follow from the names.
#[must_use]
pub fn rules(
    statements: &'static Statements,
    parser: &Parser,
    grammar: &Grammar,
) -> Box<dyn Rules> {
    let field = |name: &str| parser.field_id_for_name(name).map_or(0, Into::into);
    let (declared, each) = (statements.declared, statements.each);
    Box::new(Braces {
        roles: grammar.roles(|kind| statements.role(kind.name)),
        is_else: grammar.roles(is_else),
        again_behind: grammar.roles(|kind| kind.name == statements.again_behind),
        again_first: statements.again_first.map(field),
        or_nothing: statements.branch_or_nothing,
        declared: match declared {
            Parts::Fields(value) => Places::Fields(field("name"), field(value)),
            Parts::FirstOfTwo => Places::FirstOfTwo,
            Parts::SecondAndThird => Places::SecondAndThird,
        },
        each: match each {
            Each::Fields(name, value) => Places::Fields(field(name), field(value)),
            Each::Children(kind) => Places::Alike(grammar.roles(|this| this.name == kind)),
        },
        left: field("left"),
        right: field("right"),
        body: field("body"),
    })
}

/// What a kind of node means to the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Declaration,
    Assignment,
    Increment,
    Branch,
    CountedLoop,
    EachLoop,
    OtherLoop,
    Other,
}

impl Statements {
    fn role(&self, kind: &str) -> Role {
        let roles = [
            (self.declaration, Role::Declaration),
            (self.assignment, Role::Assignment),
            (self.increment, Role::Increment),
            (self.branch, Role::Branch),
            (self.counted_loop, Role::CountedLoop),
            (self.each_loop, Role::EachLoop),
            (self.other_loop, Role::OtherLoop),
        ];
        let role = roles.iter().find(|(kinds, _)| kinds.contains(&kind));
        role.map_or(Role::Other, |&(_, role)| role)
    }
}

/// [`Parts`] and [`Each`] in the grammar's numbers: a name and a value.
enum Places {
    Fields(u16, u16),
    FirstOfTwo,
    SecondAndThird,
    /// The second and the first child of these kinds.
    Alike(Vec<bool>),
}

struct Braces {
    roles: Vec<Role>,
    /// Whether a kind's name has `else` in it.
    is_else: Vec<bool>,
    again_behind: Vec<bool>,
    again_first: Option<u16>,
    or_nothing: bool,
    declared: Places,
    each: Places,
    left: u16,
    right: u16,
    body: u16,
}

impl Rules for Braces {
    fn expand(&self, node: u32, flow: &mut Flow<'_>) -> Result<(), Stop> {
        match flow.tree.look_up(&self.roles, node, Role::Other) {
            Role::Declaration => self.declaration(node, flow),
            Role::Assignment => {
                let fields = Places::Fields(self.left, self.right);
                let (left, right) = fields.of(node, flow)?;
                compute(left, right, flow)
            }
            Role::Increment => {
                flow.schedule(Task::Pair {
                    left: node,
                    right: node,
                    computed: true,
                });
                Ok(())
            }
            Role::Branch => {
                self.branch(node, flow);
                Ok(())
            }
            Role::CountedLoop => {
                self.counted_loop(node, flow);
                Ok(())
            }
            Role::EachLoop => self.each_loop(node, flow),
            Role::OtherLoop => {
                flow.visit_children(node);
                flow.visit_children(node);
                flow.close_loop();
                Ok(())
            }
            Role::Other => {
                flow.visit_children(node);
                Ok(())
            }
        }
    }
}

/// Every name in `left` is computed from each name in `right`, which is visited before. Without
/// one of them the reference raises an exception.
fn compute(left: Option<u32>, right: Option<u32>, flow: &mut Flow<'_>) -> Result<(), Stop> {
    let (left, right) = (left.ok_or(Stop::Raised)?, right.ok_or(Stop::Raised)?);
    flow.visit(right);
    flow.schedule(Task::Pair {
        left,
        right,
        computed: true,
    });
    Ok(())
}

impl Places {
    /// The name and the value in a node.
    fn of(&self, node: u32, flow: &Flow<'_>) -> Result<(Option<u32>, Option<u32>), Stop> {
        let tree = flow.tree;
        let mut children = tree.children(node);
        Ok(match self {
            Self::Fields(name, value) => (
                tree.child_by_field(node, *name),
                tree.child_by_field(node, *value),
            ),
            Self::FirstOfTwo => {
                let (name, value) = (children.next(), children.next());
                (name, value.filter(|_| children.next().is_none()))
            }
            Self::SecondAndThird => {
                let name = children.nth(1).ok_or(Stop::Raised)?;
                (Some(name), children.next())
            }
            Self::Alike(kinds) => {
                let mut alike = children.filter(|&child| tree.look_up(kinds, child, false));
                let value = alike.next();
                (alike.next(), value)
            }
        })
    }
}

impl Braces {
    fn declaration(&self, node: u32, flow: &mut Flow<'_>) -> Result<(), Stop> {
        let (name, value) = self.declared.of(node, flow)?;
        let left = name.ok_or(Stop::Raised)?;
        match value {
            None => flow.schedule(Task::Declare(left)),
            Some(right) => {
                flow.visit(right);
                flow.schedule(Task::Pair {
                    left,
                    right,
                    computed: false,
                });
            }
        }
        Ok(())
    }

    fn branch(&self, node: u32, flow: &mut Flow<'_>) {
        let is_else = |node| flow.tree.look_up(&self.is_else, node, false);
        let children: Vec<u32> = flow.tree.children(node).collect();
        let has_else = is_else(node) || children.iter().any(|&child| is_else(child));
        flow.schedule(Task::BranchOpen);
        let mut in_main = true;
        for child in children {
            let role = flow.tree.look_up(&self.roles, child, Role::Other);
            in_main &= role != Role::Branch;
            flow.schedule(if in_main {
                Task::BranchMain
            } else {
                Task::BranchOther
            });
            flow.visit(child);
        }
        flow.schedule(Task::BranchClose {
            or_nothing: self.or_nothing || !has_else,
        });
    }

    /// Once over, and once more from behind what sets the variable.
    fn counted_loop(&self, node: u32, flow: &mut Flow<'_>) {
        flow.visit_children(node);
        let tree = flow.tree;
        let mut children = tree.children(node);
        let set = children.find(|&child| tree.look_up(&self.again_behind, child, false));
        if let (Some(set), Some(field)) = (set, self.again_first)
            && let Some(first) = tree.child_by_field(set, field)
        {
            flow.visit(first);
        }
        children.for_each(|child| flow.visit(child));
        flow.close_loop();
    }

    fn each_loop(&self, node: u32, flow: &mut Flow<'_>) -> Result<(), Stop> {
        let (name, value) = self.each.of(node, flow)?;
        let body = flow.tree.child_by_field(node, self.body);
        let body = body.ok_or(Stop::Raised)?;
        for _ in 0..2 {
            compute(name, value, flow)?;
            flow.visit(body);
        }
        flow.close_loop();
        Ok(())
    }
}
