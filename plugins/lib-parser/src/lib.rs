#![doc = include_str!("../README.md")]

use std::sync::OnceLock;

use tree_sitter::{Language, LanguageError, Parser, ffi};

unsafe extern "C" {
    fn rlhf_parser_learn_step(parser: *const ffi::TSParser) -> bool;
    fn rlhf_parser_set_step(parser: *mut ffi::TSParser) -> bool;
}

/// A parser of a language, whose trees are those of [`Parser::new`]'s.
///
/// # Errors
/// The language's grammar was made for another version of tree-sitter.
pub fn parser(language: &Language) -> Result<Parser, LanguageError> {
    let (mut parser, _) = with_step(Parser::new());
    parser.set_language(language)?;
    Ok(parser)
}

/// A new parser with the step of `lexer/step.c`, and whether it has that.
fn with_step(parser: Parser) -> (Parser, bool) {
    // Learnt before any parser has the step, and never again.
    static IS_KNOWN: OnceLock<bool> = OnceLock::new();
    let parser = parser.into_raw();
    // SAFETY: a parser that tree-sitter has made and that nobody else has, so it lives. What is
    // read and written of it is its lexer, laid out by tree-sitter's own header.
    unsafe {
        let is_known = *IS_KNOWN.get_or_init(|| rlhf_parser_learn_step(parser));
        let is_set = is_known && rlhf_parser_set_step(parser);
        (Parser::from_raw(parser), is_set)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tree_sitter::{Point, Range, Tree};

    use super::*;

    fn languages() -> [Language; 2] {
        [
            tree_sitter_python::language(),
            rlhf_grammar_javascript::language(),
        ]
    }

    /// Ours, and one as tree-sitter makes it.
    fn parsers(language: &Language) -> [Parser; 2] {
        let mut own = Parser::new();
        own.set_language(language).expect("they fit");
        [parser(language).expect("they fit"), own]
    }

    /// All that a tree says: kinds, places, what is missing, what is wrong.
    fn shown(tree: Option<Tree>) -> Vec<(u16, Range, bool, bool)> {
        let tree = tree.expect("the parser has a language");
        let mut cursor = tree.walk();
        let mut nodes = Vec::new();
        loop {
            let node = cursor.node();
            nodes.push((
                node.kind_id(),
                node.range(),
                node.is_missing(),
                node.has_error(),
            ));
            if cursor.goto_first_child() {
                continue;
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    return nodes;
                }
            }
        }
    }

    /// Would catch a tree-sitter whose parsers are built otherwise: they would be no faster.
    #[test]
    fn parsers_have_the_step() {
        for _ in 0..2 {
            assert!(with_step(Parser::new()).1);
        }
    }

    /// Would catch a step that reads another character, goes on beyond a range or counts lines or
    /// columns otherwise.
    #[test]
    fn trees_are_tree_sitters_own() {
        let pieces = [
            "def f(x):\n    return x\n",
            "if a:\r\n\tb = 'ü'\r\n",
            "let x = `${y}`;\n",
            "'''\n multi\n line '''\n",
            "// a comment ✓\n# another\n",
            "class A:\n  def g(self): pass\n\n",
            "x = {1: [2, 3}, (\n",
            "\\\n",
            "\0",
            "\u{feff}",
            "🦀 = 'é' + \"\\x00\"\n",
            "   \t ",
            "/re/g; a => b\n",
            "\n\n",
        ];
        let mut state = 1u32;
        let mut next = |end: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as usize % end
        };
        for language in languages() {
            // Parsers are used again and again.
            let mut parsers = parsers(&language);
            for round in 0..600 {
                let text: String = (0..next(8)).map(|_| pieces[next(pieces.len())]).collect();
                let from = next(text.chars().count() + 1);
                let text: String = text.chars().skip(from).collect();
                // With half a character, which is none.
                let mut units: Vec<u16> = text.encode_utf16().collect();
                units.insert(next(units.len() + 1), 0xd800);
                let parts = parts(&text, next(text.len() + 1), next(text.len() + 1));
                let trees = parsers.each_mut().map(|parser| {
                    // Now and then only parts of the text are code.
                    let parts = if round % 3 == 0 { &parts[..] } else { &[] };
                    parser.set_included_ranges(parts).expect("in order");
                    match round % 3 {
                        1 => shown(parser.parse_utf16(&units, None)),
                        _ => shown(parser.parse(&text, None)),
                    }
                });
                assert_eq!(trees[0], trees[1], "{text:?}");
            }
        }
    }

    /// Two ranges of a text, which may begin and end within a character.
    fn parts(text: &str, one: usize, other: usize) -> Vec<Range> {
        let point = |byte: usize| {
            let before = &text.as_bytes()[..byte];
            let lines = before.iter().filter(|byte| **byte == b'\n').count();
            let line = before.iter().rposition(|byte| *byte == b'\n');
            Point::new(lines, byte - line.map_or(0, |at| at + 1))
        };
        let range = |start: usize, end: usize| Range {
            start_byte: start,
            end_byte: end,
            start_point: point(start),
            end_point: point(end),
        };
        let (start, end) = (one.min(other), one.max(other));
        vec![
            range(start / 2, start),
            range(start + (end - start) / 2, end),
        ]
    }

    /// Would catch a step beyond the piece of the text that is there, and one that isn't logged.
    #[test]
    fn pieces_and_logs_are_tree_sitters_own() {
        let text = "def f(größe):\n    return [größe, 'x']  # ß\n";
        for language in languages() {
            let [ours, own] = parsers(&language).map(|mut parser| {
                let lines = Rc::new(RefCell::new(Vec::new()));
                let kept = lines.clone();
                let tree = |parser: &mut Parser| {
                    let mut piece = |at: usize, _| {
                        let rest = &text.as_bytes()[at.min(text.len())..];
                        &rest[..rest.len().min(5)]
                    };
                    shown(parser.parse_with(&mut piece, None))
                };
                let quiet = tree(&mut parser);
                parser.set_logger(Some(Box::new(move |_, line| {
                    kept.borrow_mut().push(line.to_owned());
                })));
                (quiet, tree(&mut parser), lines.take())
            });
            assert_eq!(ours, own);
            assert!(ours.2.iter().any(|line| line.starts_with("consume")));
        }
    }
}
