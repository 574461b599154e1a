//! RUBY: the most meaningful similarity that can be computed.

use std::borrow::Cow;

use rlhf_text::is_blank;
use tree_sitter::Parser;

use crate::graph::Graph;
use crate::languages::{LANGUAGES, Language};
use crate::options::Level;
use crate::syntax::{Grammar, Syntax};
use crate::{ast, dependence, tokens};

/// A similarity, and how it was computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ruby {
    /// 0..1
    pub value: f64,
    /// Never [`Level::Auto`].
    pub level: Level,
    /// Whether the distance in it is known to be the smallest; otherwise the value is a lower bound.
    pub exact: bool,
}

/// Parses texts of one language.
pub struct Comparer {
    language: &'static Language,
    parser: Parser,
    grammar: Grammar,
}

impl std::fmt::Debug for Comparer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Comparer");
        shown.field("language", &self.language.name).finish()
    }
}

impl Comparer {
    /// For the language at this place of [`LANGUAGES`]. `None` if tree-sitter and its grammar
    /// don't fit together.
    #[must_use]
    pub fn new(place: usize) -> Option<Self> {
        let language = &LANGUAGES[place];
        let grammar = (language.parser)();
        let mut parser = Parser::new();
        parser.set_language(&grammar).ok()?;
        Some(Self {
            language,
            parser,
            grammar: Grammar::new(&grammar),
        })
    }

    /// `RUBY = GRS` where both texts have a program dependence graph, `TRS` where both have a
    /// syntax tree, `STS` otherwise (Tran et al. 2019, section VI,
    /// <https://arxiv.org/abs/1906.04903>). `None` if `level` asks for one that they don't have.
    pub fn ruby(&mut self, response: &str, reference: &str, level: Level) -> Option<Ruby> {
        if level == Level::String {
            return Some(strings(response, reference));
        }
        let (response_code, reference_code) = (dedented(response), dedented(reference));
        let response_syntax = self.syntax(&response_code);
        let reference_syntax = self.syntax(&reference_code);
        if let (Some(response), Some(reference)) = (&response_syntax, &reference_syntax) {
            if level != Level::Tree
                && let (Some(one), Some(other)) = (self.graph(response), self.graph(reference))
            {
                let similarity = dependence::similarity(&one, &other);
                return Some(Ruby {
                    value: similarity.value,
                    level: Level::Graph,
                    exact: similarity.exact,
                });
            }
            if level != Level::Graph
                && let Some(value) = ast::similarity(response, reference)
            {
                return Some(Ruby {
                    value,
                    level: Level::Tree,
                    exact: true,
                });
            }
        }
        (level == Level::Auto).then(|| strings(response, reference))
    }

    /// The program dependence graph of a text, if it has one.
    #[must_use]
    pub fn graph(&self, syntax: &Syntax<'_>) -> Option<Graph> {
        dependence::graph(syntax, self.language.rules?)
    }

    /// The syntax of a text, if it has one.
    pub fn syntax<'a>(&mut self, text: &'a str) -> Option<Syntax<'a>> {
        Syntax::parse(&mut self.parser, &self.grammar, text)
    }
}

/// The last resort.
#[must_use]
pub fn strings(response: &str, reference: &str) -> Ruby {
    Ruby {
        value: tokens::similarity(response, reference),
        level: Level::String,
        exact: true,
    }
}

/// Lines without the blanks that all of them begin with: a completion is the inside of a function.
#[must_use]
pub fn dedented(text: &str) -> Cow<'_, str> {
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let lines = || text.split('\n').filter(|line| !is_blank(line));
    let Some(first) = lines().next() else {
        return text.into();
    };
    let common = lines().fold(&first[..indent(first)], |common, line| {
        let same = common.bytes().zip(line.bytes()).take_while(|(a, b)| a == b);
        &common[..same.count()]
    });
    if common.is_empty() {
        return text.into();
    }
    let mut result = String::with_capacity(text.len());
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            result.push('\n');
        }
        result.push_str(
            line.strip_prefix(common)
                .unwrap_or_else(|| line.trim_start_matches([' ', '\t'])),
        );
    }
    result.into()
}
