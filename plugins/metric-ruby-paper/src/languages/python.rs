//! Python's statements.

use super::{Case, Form, Jump, Role, Rules};
use crate::syntax::Syntax;

/// Python, by tree-sitter-python 0.21.
#[derive(Debug)]
pub struct Python;

impl Rules for Python {
    fn form(&self, syntax: &Syntax<'_>, node: u32) -> Form {
        let field = |name| -> Vec<u32> { syntax.fields(node, name).collect() };
        let children = || -> Vec<u32> { syntax.parts(node).collect() };
        match syntax.kind(node) {
            "module" | "block" | "finally_clause" => Form::Block(children()),
            "else_clause" => Form::Block(field("body")),
            "pass_statement" => Form::Nothing,
            "expression_statement" => {
                let parts = children();
                let is_text = |part: &u32| {
                    matches!(
                        syntax.kind(*part),
                        "string" | "concatenated_string" | "ellipsis"
                    )
                };
                if parts.iter().all(is_text) {
                    return Form::Nothing;
                }
                Form::Plain(vec![node])
            }
            "if_statement" => Form::If {
                own: field("condition"),
                then: field("consequence"),
                otherwise: field("alternative").into_iter().take(1).collect(),
            },
            "elif_clause" => {
                let parent = syntax.node(node).parent;
                let later = syntax
                    .fields(parent, "alternative")
                    .find(|&other| other > node);
                Form::If {
                    own: field("condition"),
                    then: field("consequence"),
                    otherwise: later.into_iter().collect(),
                }
            }
            "while_statement" => Form::Loop {
                before: Vec::new(),
                own: field("condition"),
                body: field("body"),
                update: Vec::new(),
                otherwise: field("alternative"),
                body_first: false,
            },
            "for_statement" => Form::Loop {
                before: Vec::new(),
                own: [field("left"), field("right")].concat(),
                body: field("body"),
                update: Vec::new(),
                otherwise: field("alternative"),
                body_first: false,
            },
            "match_statement" => {
                let clauses = field("body")
                    .into_iter()
                    .flat_map(|body| syntax.parts(body));
                let clauses = clauses.filter(|&clause| syntax.kind(clause) == "case_clause");
                let cases = clauses.map(|clause| {
                    let own: Vec<u32> = syntax
                        .parts(clause)
                        .filter(|&part| syntax.node(part).field != "consequence")
                        .collect();
                    Case {
                        default: own.iter().all(|&part| syntax.text(part) == "_"),
                        own,
                        body: syntax.fields(clause, "consequence").collect(),
                    }
                });
                Form::Choice {
                    cases: cases.collect(),
                    own: field("subject"),
                    falls_through: false,
                    breakable: false,
                }
            }
            "try_statement" => {
                let of = |kind: &str| -> Vec<u32> {
                    syntax
                        .parts(node)
                        .filter(|&part| syntax.kind(part).starts_with(kind))
                        .collect()
                };
                let handlers = of("except").into_iter().map(|clause| {
                    let (body, own) = syntax
                        .parts(clause)
                        .partition(|&part| syntax.kind(part) == "block");
                    Case {
                        own,
                        body,
                        default: false,
                    }
                });
                Form::Try {
                    own: Vec::new(),
                    body: field("body"),
                    handlers: handlers.collect(),
                    otherwise: of("else_clause"),
                    finally: of("finally_clause"),
                }
            }
            "with_statement" => Form::Around {
                own: syntax
                    .parts(node)
                    .filter(|&part| syntax.kind(part) == "with_clause")
                    .collect(),
                body: field("body"),
            },
            "decorated_definition" => {
                let decorators = syntax
                    .parts(node)
                    .filter(|&part| syntax.kind(part) == "decorator");
                let decorators: Vec<u32> = decorators.collect();
                match syntax
                    .field(node, "definition")
                    .map(|definition| self.form(syntax, definition))
                {
                    Some(Form::Definition { own, body }) => Form::Definition {
                        own: [decorators, own].concat(),
                        body,
                    },
                    _ => Form::Unknown,
                }
            }
            "function_definition" => Form::Definition {
                own: [field("name"), field("parameters"), field("return_type")].concat(),
                body: field("body"),
            },
            "class_definition" => Form::Definition {
                own: [field("name"), field("superclasses")].concat(),
                body: field("body"),
            },
            "return_statement" => Form::Jump(vec![node], Jump::Return),
            "raise_statement" => Form::Jump(vec![node], Jump::Throw),
            "break_statement" => Form::Jump(vec![node], Jump::Break(None)),
            "continue_statement" => Form::Jump(vec![node], Jump::Continue(None)),
            _ => Form::Plain(vec![node]),
        }
    }

    fn role(&self, syntax: &Syntax<'_>, leaf: u32) -> Option<Role> {
        if syntax.kind(leaf) != "identifier" {
            return None;
        }
        let node = syntax.node(leaf);
        let parent = node.parent;
        match (syntax.kind(parent), node.field) {
            ("attribute", "attribute") | ("keyword_argument", "name") => return None,
            // Its first name is the pattern's class or keyword.
            ("keyword_pattern", _) => return None,
            ("function_definition" | "class_definition", "name")
            | ("named_expression", "name")
            | ("aliased_import", "alias") => return Some(Role::Define),
            ("dotted_name", _) => return self.dotted(syntax, leaf),
            _ => {}
        }
        self.target(syntax, leaf)
    }
}

impl Python {
    /// A name in `a.b`, where tree-sitter doesn't take it for an expression.
    fn dotted(&self, syntax: &Syntax<'_>, leaf: u32) -> Option<Role> {
        let dotted = syntax.node(leaf).parent;
        let mut names = syntax.parts(dotted);
        if names.next() != Some(leaf) {
            return None;
        }
        let alone = names.next().is_none();
        let above = syntax.node(dotted).parent;
        match syntax.kind(above) {
            "import_statement" | "import_from_statement" | "future_import_statement" => {
                (syntax.node(dotted).field == "name").then_some(Role::Define)
            }
            "aliased_import" | "relative_import" => None,
            // A pattern that takes anything, and calls it so.
            "case_pattern" | "keyword_pattern" if alone => Some(Role::Define),
            _ => Some(Role::Use),
        }
    }

    /// What a name does by where its expression stands.
    fn target(&self, syntax: &Syntax<'_>, leaf: u32) -> Option<Role> {
        // Whether the way up is one of a part of an object: from `x` in `x[i].y`.
        let (mut at, mut is_part) = (leaf, false);
        loop {
            let parent = syntax.node(at).parent;
            let field = syntax.node(at).field;
            let set = if is_part { Role::Change } else { Role::Define };
            match (syntax.kind(parent), field) {
                ("attribute", "object") | ("subscript", "value") => is_part = true,
                (
                    "pattern_list"
                    | "tuple_pattern"
                    | "list_pattern"
                    | "list_splat_pattern"
                    | "dictionary_splat_pattern"
                    | "as_pattern_target"
                    | "tuple"
                    | "list"
                    | "expression_list"
                    | "parenthesized_expression"
                    | "as_pattern",
                    _,
                ) => {
                    // `as` sets what stands behind it alone.
                    if syntax.kind(parent) == "as_pattern" {
                        return Some(if field == "alias" {
                            Role::Define
                        } else {
                            Role::Use
                        });
                    }
                }
                ("assignment", "left") => return Some(set),
                ("augmented_assignment", "left") => {
                    return Some(if is_part { Role::Change } else { Role::Update });
                }
                ("for_statement", "left") => return Some(set),
                ("for_in_clause", "left") => return Some(Role::Bound),
                ("delete_statement", _) if is_part => return Some(Role::Change),
                ("call", "function")
                    if is_part && syntax.parent_kind(parent) == "expression_statement" =>
                {
                    return Some(Role::Change);
                }
                ("lambda_parameters", _) => return Some(Role::Bound),
                ("parameters", _) => return Some(Role::Parameter),
                ("default_parameter" | "typed_default_parameter", "name")
                | ("typed_parameter", "") => {}
                _ => return Some(Role::Use),
            }
            at = parent;
        }
    }
}
