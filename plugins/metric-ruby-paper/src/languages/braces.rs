//! Statements of languages with braces: Java, JavaScript and C, whose grammars name most things
//! alike.

use super::{Case, Form, Jump, Role, Rules};
use crate::syntax::Syntax;

/// Java, JavaScript and C, by their grammars 0.21.
#[derive(Debug)]
pub struct Braces;

impl Rules for Braces {
    fn form(&self, syntax: &Syntax<'_>, node: u32) -> Form {
        let field = |name| -> Vec<u32> { syntax.fields(node, name).collect() };
        let children = || -> Vec<u32> { syntax.parts(node).collect() };
        let of = |kind: &str| -> Vec<u32> {
            syntax
                .parts(node)
                .filter(|&part| syntax.kind(part) == kind)
                .collect()
        };
        match syntax.kind(node) {
            "program"
            | "translation_unit"
            | "block"
            | "statement_block"
            | "compound_statement"
            | "constructor_body"
            | "class_body"
            | "interface_body"
            | "enum_body"
            | "enum_body_declarations"
            | "annotation_type_body"
            | "finally_clause"
            | "static_initializer"
            | "class_static_block"
            | "else_clause"
            | "export_statement"
            | "switch_block_statement_group"
            | "linkage_specification"
            | "declaration_list" => {
                let statements = syntax
                    .parts(node)
                    .filter(|&part| syntax.kind(part) != "switch_label");
                Form::Block(statements.collect())
            }
            "empty_statement" | ";" | "package_declaration" => Form::Nothing,
            "expression_statement" if children().is_empty() => Form::Nothing,
            "if_statement" => Form::If {
                own: field("condition"),
                then: field("consequence"),
                otherwise: field("alternative"),
            },
            "while_statement" | "do_statement" => Form::Loop {
                before: Vec::new(),
                own: field("condition"),
                body: field("body"),
                update: Vec::new(),
                otherwise: Vec::new(),
                body_first: syntax.kind(node) == "do_statement",
            },
            "for_statement" => Form::Loop {
                before: [field("init"), field("initializer")].concat(),
                own: field("condition"),
                body: field("body"),
                update: [field("update"), field("increment")].concat(),
                otherwise: Vec::new(),
                body_first: false,
            },
            "enhanced_for_statement" | "for_in_statement" => Form::Loop {
                before: Vec::new(),
                own: syntax
                    .parts(node)
                    .filter(|&part| syntax.node(part).field != "body")
                    .collect(),
                body: field("body"),
                update: Vec::new(),
                otherwise: Vec::new(),
                body_first: false,
            },
            "switch_expression" | "switch_statement" => {
                let own = [field("condition"), field("value")].concat();
                let body = field("body");
                let cases = body.into_iter().flat_map(|body| syntax.parts(body));
                let (mut found, mut falls_through) = (Vec::new(), true);
                for case in cases {
                    let Some(this) = switch_case(syntax, case) else {
                        return Form::Unknown;
                    };
                    falls_through &= syntax.kind(case) != "switch_rule";
                    found.push(this);
                }
                Form::Choice {
                    own,
                    cases: found,
                    falls_through,
                    breakable: true,
                }
            }
            "try_statement" | "try_with_resources_statement" => {
                let handlers = of("catch_clause").into_iter().map(|clause| {
                    let (body, own) = syntax
                        .parts(clause)
                        .partition(|&part| syntax.node(part).field == "body");
                    Case {
                        own,
                        body,
                        default: false,
                    }
                });
                Form::Try {
                    own: field("resources"),
                    body: field("body"),
                    handlers: handlers.collect(),
                    otherwise: Vec::new(),
                    finally: of("finally_clause"),
                }
            }
            "synchronized_statement" | "with_statement" => {
                let (body, own) = syntax
                    .parts(node)
                    .partition(|&part| syntax.node(part).field == "body");
                Form::Around { own, body }
            }
            "labeled_statement" => {
                let mut parts = syntax.parts(node);
                match parts.next() {
                    Some(label) => Form::Labelled {
                        label,
                        body: parts.collect(),
                    },
                    None => Form::Unknown,
                }
            }
            "goto_statement" | "seh_try_statement" => Form::Unknown,
            "return_statement" => Form::Jump(vec![node], Jump::Return),
            "throw_statement" => Form::Jump(vec![node], Jump::Throw),
            // Of a `switch` used as a value; where it stands as a statement it is left.
            "yield_statement" => Form::Jump(vec![node], Jump::Break(None)),
            "break_statement" => Form::Jump(vec![node], Jump::Break(label(syntax, node))),
            "continue_statement" => Form::Jump(vec![node], Jump::Continue(label(syntax, node))),
            "method_declaration"
            | "constructor_declaration"
            | "compact_constructor_declaration"
            | "class_declaration"
            | "interface_declaration"
            | "enum_declaration"
            | "record_declaration"
            | "annotation_type_declaration"
            | "function_declaration"
            | "generator_function_declaration"
            | "method_definition"
            | "function_definition" => definition(syntax, node),
            // `const f = (a) => { … };`
            "lexical_declaration" | "variable_declaration" => match named_function(syntax, node) {
                Some((own, body)) => Form::Definition { own, body },
                None => Form::Plain(vec![node]),
            },
            _ => Form::Plain(vec![node]),
        }
    }

    fn role(&self, syntax: &Syntax<'_>, leaf: u32) -> Option<Role> {
        let node = syntax.node(leaf);
        match node.kind {
            "identifier" | "this" | "shorthand_property_identifier" => {}
            "shorthand_property_identifier_pattern" => {}
            _ => return None,
        }
        match (syntax.kind(node.parent), node.field) {
            ("field_access", "field") | ("method_invocation" | "method_reference", "name") => {
                return None;
            }
            ("break_statement" | "continue_statement" | "labeled_statement", _) => return None,
            (
                "annotation"
                | "marker_annotation"
                | "element_value_pair"
                | "scoped_identifier"
                | "package_declaration",
                _,
            ) => return None,
            (
                "method_declaration"
                | "constructor_declaration"
                | "class_declaration"
                | "interface_declaration"
                | "enum_declaration"
                | "record_declaration"
                | "function_declaration"
                | "generator_function_declaration"
                | "annotation_type_declaration"
                | "enum_constant"
                | "enumerator",
                "name",
            ) => return Some(Role::Define),
            ("import_specifier", "alias") | ("import_clause" | "namespace_import", _) => {
                return Some(Role::Define);
            }
            ("import_specifier", "name") => {
                let alias = syntax.field(node.parent, "alias").is_some();
                return (!alias).then_some(Role::Define);
            }
            ("catch_formal_parameter" | "resource", "name") | ("catch_clause", "parameter") => {
                return Some(Role::Define);
            }
            ("enhanced_for_statement", "name") | ("for_in_statement", "left") => {
                return Some(Role::Define);
            }
            ("function_expression" | "generator_function", "name") => return Some(Role::Bound),
            // `a -> …`, `a => …`.
            ("lambda_expression", "parameters") | ("arrow_function", "parameter") => {
                return Some(parameter(syntax, node.parent, leaf));
            }
            _ => {}
        }
        Some(target(syntax, leaf))
    }
}

/// What a name does by where its expression stands.
fn target(syntax: &Syntax<'_>, leaf: u32) -> Role {
    let (mut at, mut is_part) = (leaf, false);
    loop {
        let parent = syntax.node(at).parent;
        let field = syntax.node(at).field;
        let set = if is_part { Role::Change } else { Role::Define };
        match (syntax.kind(parent), field) {
            ("field_access" | "member_expression" | "subscript_expression", "object")
            | ("array_access", "array")
            | ("field_expression" | "subscript_expression" | "pointer_expression", "argument") => {
                is_part = true
            }
            (
                "parenthesized_expression"
                | "array_pattern"
                | "object_pattern"
                | "rest_pattern"
                | "parenthesized_declarator"
                | "pointer_declarator"
                | "array"
                | "spread_parameter"
                | "inferred_parameters",
                _,
            )
            | ("pair_pattern", "value")
            | ("assignment_pattern" | "object_assignment_pattern", "left")
            | ("array_declarator" | "function_declarator", "declarator")
            | ("formal_parameter" | "parameter_declaration", "name" | "declarator") => {
                if syntax.kind(parent) == "inferred_parameters" {
                    return Role::Bound;
                }
            }
            ("variable_declarator", "name") => {
                // A name that is declared and not set; but `for (x of y)` sets it, and a parameter
                // of any number is one.
                let above = syntax.parent_kind(parent);
                if above != "spread_parameter" {
                    let value = syntax.field(parent, "value").is_some();
                    return if value || above == "resource" {
                        set
                    } else {
                        Role::Use
                    };
                }
            }
            ("init_declarator", "declarator") => return Role::Define,
            ("assignment_expression", "left") => {
                let operator = syntax
                    .children(parent)
                    .find(|&child| !syntax.node(child).named);
                let plain = operator.is_some_and(|operator| syntax.kind(operator) == "=");
                return if plain || is_part { set } else { Role::Update };
            }
            ("augmented_assignment_expression", "left") | ("update_expression", _) => {
                return if is_part { Role::Change } else { Role::Update };
            }
            ("for_in_statement" | "enhanced_for_statement", "left") => return set,
            // `x.add(y);` and, in C, `f(&x);` ask an object to change.
            ("method_invocation", "object")
                if syntax.parent_kind(parent) == "expression_statement" =>
            {
                return Role::Change;
            }
            ("call_expression", "function")
                if is_part && syntax.parent_kind(parent) == "expression_statement" =>
            {
                return Role::Change;
            }
            ("argument_list", _) if is_part && is_address(syntax, at) => return Role::Change,
            ("formal_parameters" | "parameter_list", _) => {
                return parameter(syntax, syntax.node(parent).parent, leaf);
            }
            // The name of a function of C.
            ("function_definition", "declarator") | ("declaration", "declarator") => {
                return if syntax.kind(at) == "function_declarator"
                    || syntax.kind(at) == "pointer_declarator"
                {
                    Role::Define
                } else {
                    Role::Use
                };
            }
            _ => return Role::Use,
        }
        at = parent;
    }
}

/// Whether an expression is `&x` of C.
fn is_address(syntax: &Syntax<'_>, node: u32) -> bool {
    let mut tokens = syntax.children(node);
    tokens.next().is_some_and(|first| syntax.kind(first) == "&")
}

/// A parameter of a procedure of its own, or of a function that is a part of its statement.
fn parameter(syntax: &Syntax<'_>, mut function: u32, leaf: u32) -> Role {
    debug_assert!(function < leaf);
    if matches!(
        syntax.kind(function),
        "arrow_function" | "function_expression" | "generator_function"
    ) {
        let declarator = syntax.node(function).parent;
        let named = named_function(syntax, syntax.node(declarator).parent).is_some();
        return if named { Role::Parameter } else { Role::Bound };
    }
    // A method may stand inside of an expression: an anonymous class, an object.
    loop {
        match syntax.kind(function) {
            "lambda_expression" | "object_creation_expression" | "object" | "class" => {
                return Role::Bound;
            }
            "class_declaration"
            | "enum_declaration"
            | "interface_declaration"
            | "record_declaration"
            | "block"
            | "statement_block" => return Role::Parameter,
            _ if function == 0 => return Role::Parameter,
            _ => function = syntax.node(function).parent,
        }
    }
}

/// The own part and the body of a procedure or a class.
fn definition(syntax: &Syntax<'_>, node: u32) -> Form {
    let (body, own): (Vec<u32>, Vec<u32>) = syntax
        .parts(node)
        .partition(|&part| syntax.node(part).field == "body");
    // Modifiers decide who may call it, not what it does.
    let own = own
        .into_iter()
        .filter(|&part| syntax.kind(part) != "modifiers");
    Form::Definition {
        own: own.collect(),
        body,
    }
}

/// The own part and the body of `const f = function (a) { … }`.
fn named_function(syntax: &Syntax<'_>, declaration: u32) -> Option<(Vec<u32>, Vec<u32>)> {
    if !matches!(
        syntax.kind(declaration),
        "lexical_declaration" | "variable_declaration"
    ) {
        return None;
    }
    let mut declarators = syntax.parts(declaration);
    let (declarator, None) = (declarators.next()?, declarators.next()) else {
        return None;
    };
    let value = syntax.field(declarator, "value")?;
    if !matches!(
        syntax.kind(value),
        "arrow_function" | "function_expression" | "generator_function"
    ) {
        return None;
    }
    let body = syntax.field(value, "body")?;
    let name = syntax.field(declarator, "name")?;
    let own = [name]
        .into_iter()
        .chain(syntax.parts(value).filter(|&part| part != body));
    Some((own.collect(), vec![body]))
}

/// A label that a jump names.
fn label(syntax: &Syntax<'_>, node: u32) -> Option<u32> {
    syntax.parts(node).next()
}

/// A case of a `switch`.
fn switch_case(syntax: &Syntax<'_>, case: u32) -> Option<Case> {
    let (own, body): (Vec<u32>, Vec<u32>) = match syntax.kind(case) {
        // Java.
        "switch_block_statement_group" | "switch_rule" => syntax
            .parts(case)
            .partition(|&part| syntax.kind(part) == "switch_label"),
        // JavaScript and C.
        "switch_case" | "switch_default" | "case_statement" => syntax
            .parts(case)
            .partition(|&part| syntax.node(part).field == "value"),
        _ => return None,
    };
    let mut tokens = syntax.children(own.first().copied().unwrap_or(case));
    let first = own.first().map_or(case, |&label| label);
    let default = tokens.next().map_or_else(
        || syntax.text(first) == "default",
        |token| syntax.kind(token) == "default",
    );
    Some(Case { own, body, default })
}
