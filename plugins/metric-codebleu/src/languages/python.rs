//! Python, as codebleu 0.7.0 with tree-sitter-python 0.21.0 sees it.

use tree_sitter::Language as Parser;

use crate::comments;
use crate::dataflow::{Flow, Rules, Stop, Task};
use crate::languages::{Language, is_else};
use crate::tree::Grammar;

/// The language.
pub static PYTHON: Language = Language {
    name: "python",
    // `keywords/python.txt`.
    keywords: &[
        "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class",
        "continue", "def", "del", "elif", "else", "except", "finally", "for", "from", "global",
        "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return",
        "try", "while", "with", "yield", "match", "case", "type",
    ],
    parser: tree_sitter_python::language,
    without_comments: |source| comments::remove_from_python(source).ok(),
    rules,
};

fn rules(parser: &Parser, grammar: &Grammar) -> Box<dyn Rules> {
    let field = |name| parser.field_id_for_name(name).map_or(0, Into::into);
    Box::new(PythonRules {
        roles: grammar.roles(|kind| Role::of(kind.name)),
        is_else: grammar.roles(is_else),
        left: field("left"),
        right: field("right"),
        name: field("name"),
        value: field("value"),
    })
}

/// What a kind of node means to the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Default,
    Assignment,
    Comprehension,
    If,
    /// `elif` and `else` of an `if`.
    Alternative,
    For,
    While,
    Block,
    Comma,
    Other,
}

impl Role {
    fn of(kind: &str) -> Self {
        match kind {
            "default_parameter" => Self::Default,
            "assignment" | "augmented_assignment" => Self::Assignment,
            "for_in_clause" => Self::Comprehension,
            "if_statement" => Self::If,
            "elif_clause" | "else_clause" => Self::Alternative,
            "for_statement" => Self::For,
            "while_statement" => Self::While,
            "block" => Self::Block,
            "," => Self::Comma,
            _ => Self::Other,
        }
    }
}

/// `DFG_python` of `parser/DFG.py`.
struct PythonRules {
    roles: Vec<Role>,
    /// Whether a kind's name has `else` in it.
    is_else: Vec<bool>,
    left: u16,
    right: u16,
    name: u16,
    value: u16,
}

impl Rules for PythonRules {
    fn expand(&self, node: u32, flow: &mut Flow<'_>) -> Result<(), Stop> {
        match self.role(node, flow) {
            Role::Default => self.default(node, flow),
            Role::Assignment => self.assignment(node, flow),
            Role::Comprehension => self.comprehension(node, flow),
            Role::If => {
                self.alternatives(node, flow);
                Ok(())
            }
            Role::For => self.for_loop(node, flow),
            Role::While => {
                flow.visit_children(node);
                flow.visit_children(node);
                flow.close_loop();
                Ok(())
            }
            Role::Alternative | Role::Block | Role::Comma | Role::Other => {
                // What a comprehension iterates over sets the names used before it.
                let comprehension = |child: &u32| self.role(*child, flow) == Role::Comprehension;
                let (first, then): (Vec<u32>, Vec<u32>) =
                    flow.tree.children(node).partition(comprehension);
                first
                    .into_iter()
                    .chain(then)
                    .for_each(|child| flow.visit(child));
                Ok(())
            }
        }
    }
}

impl PythonRules {
    fn role(&self, node: u32, flow: &Flow<'_>) -> Role {
        flow.tree.look_up(&self.roles, node, Role::Other)
    }

    /// A child that the reference takes for granted: without it, an `AttributeError`.
    fn required(&self, node: u32, field: u16, flow: &Flow<'_>) -> Result<u32, Stop> {
        flow.tree.child_by_field(node, field).ok_or(Stop::Raised)
    }

    /// `name=value` among parameters.
    fn default(&self, node: u32, flow: &mut Flow<'_>) -> Result<(), Stop> {
        let name = self.required(node, self.name, flow)?;
        match flow.tree.child_by_field(node, self.value) {
            None => flow.schedule(Task::Declare(name)),
            Some(value) => {
                flow.visit(value);
                flow.schedule(Task::Pair {
                    left: name,
                    right: value,
                    computed: false,
                });
            }
        }
        Ok(())
    }

    /// `left = right` and `left += right`; a declaration without value does nothing.
    fn assignment(&self, node: u32, flow: &mut Flow<'_>) -> Result<(), Stop> {
        let Some(right) = flow.tree.child_by_field(node, self.right) else {
            return Ok(());
        };
        let left = self.required(node, self.left, flow)?;
        self.pairs(left, right, flow);
        Ok(())
    }

    /// `for left in right` inside a comprehension.
    fn comprehension(&self, node: u32, flow: &mut Flow<'_>) -> Result<(), Stop> {
        let left = self.required(node, self.left, flow)?;
        let right = flow.tree.children(node).last().ok_or(Stop::Raised)?;
        flow.compute(left, right);
        Ok(())
    }

    fn pairs(&self, left: u32, right: u32, flow: &mut Flow<'_>) {
        let comma = |child, flow: &Flow<'_>| self.role(child, flow) == Role::Comma;
        flow.compute_by_elements(left, right, comma);
    }

    fn alternatives(&self, node: u32, flow: &mut Flow<'_>) {
        flow.schedule(Task::BranchOpen);
        let mut or_nothing = true;
        for child in flow.tree.children(node) {
            or_nothing &= !flow.tree.look_up(&self.is_else, child, false);
            flow.schedule(match self.role(child, flow) {
                Role::Alternative => Task::BranchOther,
                _ => Task::BranchMain,
            });
            flow.visit(child);
        }
        flow.schedule(Task::BranchClose { or_nothing });
    }

    /// Twice over, so that what the body sets reaches its beginning. The body
    /// is left out if something else comes last, such as an `else`.
    fn for_loop(&self, node: u32, flow: &mut Flow<'_>) -> Result<(), Stop> {
        let right = self.required(node, self.right, flow)?;
        let left = self.required(node, self.left, flow)?;
        let last = flow.tree.children(node).last();
        for _ in 0..2 {
            self.pairs(left, right, flow);
            if let Some(body) = last.filter(|&last| self.role(last, flow) == Role::Block) {
                flow.visit(body);
            }
        }
        flow.close_loop();
        Ok(())
    }
}
