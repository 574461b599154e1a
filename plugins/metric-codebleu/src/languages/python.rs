//! Python, as codebleu 0.7.0 with tree-sitter-python 0.21.0 sees it.

use tree_sitter::Language as Parser;

use crate::comments;
use crate::dataflow::{Flow, Rules, Stop, Task};
use crate::languages::Language;
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
        is_else: grammar.roles(|kind| kind.name.contains("else")),
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
                for _ in 0..2 {
                    flow.tree
                        .children(node)
                        .for_each(|child| flow.schedule(Task::Visit(child)));
                }
                flow.schedule(Task::LoopClose(flow.edge_count()));
                Ok(())
            }
            Role::Alternative | Role::Block | Role::Comma | Role::Other => {
                // What a comprehension iterates over sets the names used before it.
                let comprehension = |child: &u32| self.role(*child, flow) == Role::Comprehension;
                let (first, then): (Vec<u32>, Vec<u32>) =
                    flow.tree.children(node).partition(comprehension);
                for child in first.into_iter().chain(then) {
                    flow.schedule(Task::Visit(child));
                }
                Ok(())
            }
        }
    }
}

impl PythonRules {
    fn role(&self, node: u32, flow: &Flow<'_>) -> Role {
        let kind = flow.tree.nodes[node as usize].kind;
        self.roles
            .get(usize::from(kind))
            .copied()
            .unwrap_or(Role::Other)
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
                flow.schedule(Task::Visit(value));
                flow.schedule(Task::Default { name, value });
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
        flow.schedule(Task::Visit(right));
        flow.schedule(Task::Compute { left, right });
        Ok(())
    }

    /// Sides of an assignment, element by element if both have as many, whole otherwise.
    ///
    /// Elements are the children but for commas, whatever the sides are: those of
    /// `a.b` are `a`, `.` and `b`.
    fn pairs(&self, left: u32, right: u32, flow: &mut Flow<'_>) {
        let elements = |node: u32, flow: &Flow<'_>| -> Vec<u32> {
            let children = flow.tree.children(node);
            children
                .filter(|&child| self.role(child, flow) != Role::Comma)
                .collect()
        };
        let (mut lefts, mut rights) = (elements(left, flow), elements(right, flow));
        if lefts.len() != rights.len() || lefts.is_empty() {
            (lefts, rights) = (vec![left], vec![right]);
        }
        for &right in &rights {
            flow.schedule(Task::Visit(right));
        }
        for (left, right) in lefts.into_iter().zip(rights) {
            flow.schedule(Task::Compute { left, right });
        }
    }

    fn alternatives(&self, node: u32, flow: &mut Flow<'_>) {
        flow.schedule(Task::BranchOpen);
        let mut or_nothing = true;
        for child in flow.tree.children(node) {
            let kind = usize::from(flow.tree.nodes[child as usize].kind);
            or_nothing &= !self.is_else.get(kind).copied().unwrap_or(false);
            flow.schedule(match self.role(child, flow) {
                Role::Alternative => Task::BranchOther,
                _ => Task::BranchMain,
            });
            flow.schedule(Task::Visit(child));
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
                flow.schedule(Task::Visit(body));
            }
        }
        flow.schedule(Task::LoopClose(flow.edge_count()));
        Ok(())
    }
}
