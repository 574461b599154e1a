//! Checks of a statement's tokens: the whitespace between them.

use rlhf_python::tokens::{Kind, Position, Token};

use super::codes::{Code, Counts};
use super::phrases::{starts_with_def, starts_with_generic};
use super::text::{is_keyword, is_singleton, is_soft_keyword, is_statement_keyword};
use super::{before_in_line, rest_of_line};

/// Counts the violations of the statement `line`, which consists of these tokens.
pub fn check(line: &str, tokens: &[Token], counts: &mut Counts) {
    missing_whitespace_after_keyword(tokens, counts);
    whitespace_before_parameters(tokens, counts);
    missing_whitespace(tokens, counts);
    whitespace_around_named_parameter_equals(line, tokens, counts);
    whitespace_before_comment(tokens, counts);
    explicit_line_join(tokens, counts);
}

/// `SKIP_COMMENTS`.
fn is_skipped(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::LineEnd | Kind::Newline | Kind::Indent | Kind::Dedent | Kind::Comment | Kind::Error
    )
}

fn missing_whitespace_after_keyword(tokens: &[Token], counts: &mut Counts) {
    for pair in tokens.windows(2) {
        let [first, second] = pair else { continue };
        if first.end == second.start
            && first.kind == Kind::Name
            && is_keyword(first.text)
            && !is_singleton(first.text)
            && !(first.text == "except" && second.text == "*")
            && !(first.text == "yield" && second.text == ")")
            && !matches!(second.text, "" | ":" | "\n")
        {
            counts.add(Code::E275);
        }
    }
}

fn whitespace_before_parameters(tokens: &[Token], counts: &mut Counts) {
    for (at, pair) in tokens.windows(2).enumerate() {
        let [previous, token] = pair else { continue };
        if token.kind == Kind::Operator
            && matches!(token.text, "(" | "[")
            && token.start != previous.end
            && (previous.kind == Kind::Name || matches!(previous.text, "" | "}" | "]" | ")"))
            && (at < 1 || tokens[at - 1].text != "class")
            && !is_keyword(previous.text)
            && !is_soft_keyword(previous.text)
        {
            counts.add(Code::E211);
        }
    }
}

/// `WS_NEEDED_OPERATORS`.
fn needs_space(text: &str) -> bool {
    matches!(
        text,
        "**="
            | "*="
            | "/="
            | "//="
            | "+="
            | "-="
            | "!="
            | "<"
            | ">"
            | "%="
            | "^="
            | "&="
            | "|="
            | "=="
            | "<="
            | ">="
            | "<<="
            | ">>="
            | "="
            | "and"
            | "in"
            | "is"
            | "or"
            | "->"
            | ":="
    )
}

/// Whitespace that an operator needs behind it.
#[derive(Clone, Copy)]
enum Needed {
    No,
    Yes,
    /// As there is before it.
    AsBefore(bool),
}

fn missing_whitespace(tokens: &[Token], counts: &mut Counts) {
    let mut needed = Needed::No;
    let mut previous: Option<&Token> = None;
    // Open brackets, and `l` for lambdas.
    let mut braces: Vec<u8> = Vec::new();
    for token in tokens {
        let is_operator = token.kind == Kind::Operator;
        match token.text {
            "[" | "(" | "{" if is_operator => braces.push(token.text.as_bytes()[0]),
            "lambda" if token.kind == Kind::Name => braces.push(b'l'),
            "]" | ")" | "}" if is_operator => drop(braces.pop()),
            ":" if is_operator && braces.last() == Some(&b'l') => drop(braces.pop()),
            _ => {}
        }
        if is_skipped(token.kind) {
            continue;
        }
        if is_operator && matches!(token.text, "," | ";" | ":") {
            let next = rest_of_line(token).chars().next();
            let fits = match next {
                None | Some(' ' | '\t' | '\u{a0}' | '\r' | '\n') => true,
                Some(')' | ']') if token.text == "," => true,
                _ => token.text == ":" && braces.last() == Some(&b'['),
            };
            if !fits {
                counts.add(Code::E231);
            }
        }
        let is_apart = previous.is_some_and(|previous| previous.end != token.start);
        let previous_text = previous.map_or("", |previous| previous.text);
        if !matches!(needed, Needed::No) {
            // A slash among a definition's parameters needs no space.
            let is_parameter = (previous_text == "/" && matches!(token.text, "," | ")" | ":"))
                || (previous_text == ")" && token.text == ":");
            if is_apart {
                if matches!(needed, Needed::AsBefore(false)) {
                    counts.add(Code::E225);
                }
                needed = Needed::No;
            } else if !is_parameter {
                if matches!(needed, Needed::Yes | Needed::AsBefore(true)) {
                    counts.add(Code::E225);
                } else if previous_text == "%" {
                    counts.add(Code::E228);
                } else if !matches!(previous_text, "**" | "*" | "/" | "//" | "+" | "-" | "@") {
                    // Of arithmetic, E226 would be reported, which is ignored.
                    counts.add(Code::E227);
                }
                needed = Needed::No;
            }
        } else if let Some(previous) = previous
            && matches!(token.kind, Kind::Operator | Kind::Name)
        {
            let is_default = token.text == "=" && matches!(braces.last(), Some(b'l' | b'('));
            if is_default {
            } else if needs_space(token.text) {
                needed = Needed::Yes;
            } else {
                let is_binary = match token.text {
                    ">>" | "**" | "*" | "+" | "-" => {
                        if previous.kind == Kind::Operator {
                            matches!(previous.text, "}" | "]" | ")")
                        } else {
                            !is_statement_keyword(previous.text) && !is_soft_keyword(previous.text)
                        }
                    }
                    "/" | "//" | "@" | "^" | "&" | "|" | "<<" | "%" => true,
                    _ => false,
                };
                if is_binary {
                    needed = Needed::AsBefore(is_apart);
                }
            }
            if matches!(needed, Needed::Yes) && !is_apart {
                counts.add(Code::E225);
                needed = Needed::No;
            }
        }
        previous = Some(token);
    }
}

fn whitespace_around_named_parameter_equals(line: &str, tokens: &[Token], counts: &mut Counts) {
    let in_def = starts_with_def(line);
    let in_generic = starts_with_generic(line);
    let mut parens: Vec<&str> = Vec::new();
    let mut no_space = false;
    let mut require_space = false;
    let mut annotated = false;
    let mut previous_end: Option<Position> = None;
    for token in tokens {
        if token.kind == Kind::LineEnd {
            continue;
        }
        let is_apart = Some(token.start) != previous_end;
        if std::mem::take(&mut no_space) && is_apart {
            counts.add(Code::E251);
        }
        if std::mem::take(&mut require_space) && !is_apart {
            counts.add(Code::E252);
        }
        if token.kind == Kind::Operator {
            match token.text {
                "(" | "[" => parens.push(token.text),
                ")" | "]" if !parens.is_empty() => drop(parens.pop()),
                ":" if in_def && parens == ["("] => annotated = true,
                "," if parens.len() == 1 => annotated = false,
                "=" if !parens.is_empty() => {
                    if (in_generic && parens == ["["]) || (annotated && parens == ["("]) {
                        require_space = true;
                        if !is_apart {
                            counts.add(Code::E252);
                        }
                    } else {
                        no_space = true;
                        if is_apart {
                            counts.add(Code::E251);
                        }
                    }
                }
                _ => {}
            }
            if parens.is_empty() {
                annotated = false;
            }
        }
        previous_end = Some(token.end);
    }
}

fn whitespace_before_comment(tokens: &[Token], counts: &mut Counts) {
    let mut previous_end = Position { line: 0, column: 0 };
    for token in tokens {
        if token.kind != Kind::Comment {
            if token.kind != Kind::LineEnd {
                previous_end = token.end;
            }
            continue;
        }
        let is_inline = !rlhf_text::is_blank(before_in_line(token));
        let (start, end) = (token.start, previous_end);
        if is_inline && end.line == start.line && start.column < end.column + 2 {
            counts.add(Code::E261);
        }
        let (symbol, comment) = token.text.split_once(' ').unwrap_or((token.text, ""));
        let bad_prefix = match symbol {
            "" | "#" | ":" | "#:" => None,
            symbol => Some(symbol.trim_start_matches('#').chars().next().unwrap_or('#')),
        };
        if is_inline {
            if bad_prefix.is_some() || comment.starts_with([' ', '\t', '\u{a0}']) {
                counts.add(Code::E262);
            }
            continue;
        }
        match bad_prefix {
            None => {}
            // The first line may say what runs the program.
            Some('!') if start.line == 1 => {}
            Some('#') if comment.is_empty() => {}
            Some('#') => counts.add(Code::E266),
            Some(_) => counts.add(Code::E265),
        }
    }
}

fn explicit_line_join(tokens: &[Token], counts: &mut Counts) {
    let (mut previous_start, mut previous_end) = (0, 0);
    let mut parens = 0_i64;
    let mut comment = false;
    let mut backslash = false;
    for token in tokens {
        comment |= token.kind == Kind::Comment;
        if token.start.line != previous_start {
            if parens != 0 && backslash && !comment {
                counts.add(Code::E502);
            }
            comment = false;
        }
        if token.end.line == previous_end {
            previous_start = token.start.line;
        } else {
            backslash = token.line.trim_end_matches(['\r', '\n']).ends_with('\\');
            (previous_start, previous_end) = (token.end.line, token.end.line);
        }
        if token.kind == Kind::Operator {
            match token.text {
                "(" | "[" | "{" => parens += 1,
                ")" | "]" | "}" => parens -= 1,
                _ => {}
            }
        }
    }
}
