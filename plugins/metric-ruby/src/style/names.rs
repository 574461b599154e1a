//! Checks of a statement's tokens: names that look like numbers, escapes that
//! mean nothing.

use rlhf_python::tokens::{Kind, Token};

use super::codes::{Code, Counts};

/// Counts the violations of a statement's tokens; with `noqa`, fewer count.
pub fn check(tokens: &[Token], noqa: bool, counts: &mut Counts) {
    ambiguous_identifiers(tokens, counts);
    if !noqa {
        invalid_escapes(tokens, counts);
    }
}

fn is_ambiguous(text: &str) -> bool {
    matches!(text, "l" | "O" | "I")
}

fn ambiguous_identifiers(tokens: &[Token], counts: &mut Counts) {
    // Bracket depth of the last `def` or `lambda`, until its colon.
    let mut function_depth = None;
    let mut seen_colon = false;
    let mut depth = 0_i64;
    for (at, pair) in tokens.windows(2).enumerate() {
        let [previous, token] = pair else { continue };
        if matches!(previous.text, "def" | "lambda") {
            function_depth = Some(depth);
            seen_colon = false;
        } else if token.text == ":" && function_depth == Some(depth) {
            seen_colon = true;
        }
        // An empty text is in every text, as Python has it.
        match token.text {
            "" | "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        let assigned = (token.text == ":=" || (token.text == "=" && depth == 0))
            && is_ambiguous(previous.text);
        let bound = matches!(previous.text, "as" | "for" | "global" | "nonlocal");
        let parameter = function_depth.is_some()
            && !seen_colon
            && matches!(
                tokens.get(at + 2).map(|next| next.text),
                Some("" | ":" | "," | "=" | ")")
            )
            && matches!(previous.text, "lambda" | "," | "*" | "**" | "(");
        if assigned || ((bound || parameter) && is_ambiguous(token.text)) {
            counts.add(Code::E741);
        }
        if is_ambiguous(token.text) {
            match previous.text {
                "class" => counts.add(Code::E742),
                "def" => counts.add(Code::E743),
                _ => {}
            }
        }
    }
}

fn invalid_escapes(tokens: &[Token], counts: &mut Counts) {
    for token in tokens {
        if token.kind != Kind::String {
            continue;
        }
        let prefix = token.text.find(['\'', '"']).unwrap_or(0);
        if token.text[..prefix].contains(['r', 'R']) {
            continue;
        }
        let mut rest = token.text;
        while let Some(at) = rest.bytes().position(|byte| byte == b'\\') {
            let mut chars = rest[at + 1..].chars();
            let escaped = chars.next();
            if escaped.is_some_and(|c| !"\n\\'\"abfnrtv01234567xNuU".contains(c)) {
                counts.add(Code::W605);
            }
            rest = chars.as_str();
        }
    }
}
