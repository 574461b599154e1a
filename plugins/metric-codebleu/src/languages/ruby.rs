//! Ruby, as codebleu 0.7.0 with tree-sitter-ruby 0.21.0 sees it. Comments stay.

use tree_sitter::Language as Parser;

use crate::dataflow::{Flow, Rules, Stop, Task};
use crate::languages::{Language, is_else};
use crate::tree::Grammar;

/// The language.
pub static RUBY: Language = Language {
    name: "ruby",
    // `keywords/ruby.txt`.
    keywords: &[
        "__ENCODING__",
        "__LINE__",
        "__FILE__",
        "BEGIN",
        "END",
        "alias",
        "and",
        "begin",
        "break",
        "case",
        "class",
        "def",
        "defined?",
        "do",
        "else",
        "elsif",
        "end",
        "ensure",
        "false",
        "for",
        "if",
        "in",
        "module",
        "next",
        "nil",
        "not",
        "or",
        "redo",
        "rescue",
        "retry",
        "return",
        "self",
        "super",
        "then",
        "true",
        "undef",
        "unless",
        "until",
        "when",
        "while",
        "yield",
    ],
    parser: tree_sitter_ruby::language,
    without_comments: |_| None,
    rules,
};

fn rules(parser: &Parser, grammar: &Grammar) -> Box<dyn Rules> {
    let field = |name| parser.field_id_for_name(name).map_or(0, Into::into);
    Box::new(RubyRules {
        roles: grammar.roles(|kind| Role::of(kind.name)),
        is_else: grammar.roles(is_else),
        left: field("left"),
        right: field("right"),
        name: field("name"),
        value: field("value"),
        pattern: field("pattern"),
        body: field("body"),
    })
}

/// What a kind of node means to the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Parameter,
    Assignment,
    OperatorAssignment,
    /// A statement with alternatives, and an alternative of one; the keywords, too, which are
    /// alternatives in which nothing happens.
    Branch,
    For,
    OtherLoop,
    Comma,
    Other,
}

impl Role {
    fn of(kind: &str) -> Self {
        match kind {
            "keyword_parameter" => Self::Parameter,
            "assignment" => Self::Assignment,
            "operator_assignment" => Self::OperatorAssignment,
            "if" | "elsif" | "else" | "unless" | "when" => Self::Branch,
            "for" => Self::For,
            // A plain `while` is none.
            "while_modifier" | "until" => Self::OtherLoop,
            "," => Self::Comma,
            _ => Self::Other,
        }
    }
}

/// `DFG_ruby` of `parser/DFG.py`.
struct RubyRules {
    roles: Vec<Role>,
    /// Whether a kind's name has `else` in it.
    is_else: Vec<bool>,
    left: u16,
    right: u16,
    name: u16,
    value: u16,
    pattern: u16,
    body: u16,
}

impl Rules for RubyRules {
    fn expand(&self, node: u32, flow: &mut Flow<'_>) -> Result<(), Stop> {
        match self.role(node, flow) {
            Role::Parameter => self.parameter(node, flow),
            Role::Assignment => {
                let left = self.required(node, self.left, flow)?;
                let right = self.required(node, self.right, flow)?;
                flow.compute_by_elements(left, right, |child, flow| {
                    self.role(child, flow) == Role::Comma
                });
                Ok(())
            }
            Role::OperatorAssignment => {
                self.required(node, self.left, flow)?;
                self.required(node, self.right, flow)?;
                let mut children = flow.tree.children(node);
                let left = children.next().ok_or(Stop::Raised)?;
                let right = children.last().unwrap_or(left);
                flow.compute(left, right);
                Ok(())
            }
            Role::Branch => {
                self.branch(node, flow);
                Ok(())
            }
            Role::For => {
                let left = self.required(node, self.pattern, flow)?;
                let right = self.required(node, self.value, flow)?;
                let body = self.required(node, self.body, flow)?;
                for _ in 0..2 {
                    flow.compute(left, right);
                    flow.visit(body);
                }
                flow.close_loop();
                Ok(())
            }
            Role::OtherLoop => {
                flow.visit_children(node);
                flow.visit_children(node);
                flow.close_loop();
                Ok(())
            }
            Role::Comma | Role::Other => {
                flow.visit_children(node);
                Ok(())
            }
        }
    }
}

impl RubyRules {
    fn role(&self, node: u32, flow: &Flow<'_>) -> Role {
        flow.tree.look_up(&self.roles, node, Role::Other)
    }

    /// A child that the reference takes for granted: without it, an `AttributeError`.
    fn required(&self, node: u32, field: u16, flow: &Flow<'_>) -> Result<u32, Stop> {
        flow.tree.child_by_field(node, field).ok_or(Stop::Raised)
    }

    /// `name: value` among parameters.
    fn parameter(&self, node: u32, flow: &mut Flow<'_>) -> Result<(), Stop> {
        let left = self.required(node, self.name, flow)?;
        match flow.tree.child_by_field(node, self.value) {
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
        flow.schedule(Task::BranchOpen);
        let mut or_nothing = !flow.tree.look_up(&self.is_else, node, false);
        for child in flow.tree.children(node) {
            or_nothing &= !flow.tree.look_up(&self.is_else, child, false);
            flow.schedule(match self.role(child, flow) {
                Role::Branch => Task::BranchOther,
                _ => Task::BranchMain,
            });
            flow.visit(child);
        }
        flow.schedule(Task::BranchClose { or_nothing });
    }
}
