//! Texts taken apart: parsed once, kept for the next comparison.
//!
//! A reference is compared with many responses, and models repeat themselves.
//! So what was found out about a text stays in a cache of limited size. It
//! changes no result.

use std::fmt;
use std::rc::Rc;

use rlhf_text::strip;
use rustc_hash::FxHashMap;
use tree_sitter::Parser;

use crate::codebleu::Counts;
use crate::dataflow::{Edges, Normalised, Rules, Stop};
use crate::languages::Language;
use crate::mode::Mode;
use crate::syntax::Subtrees;
use crate::tree::{Grammar, Tree};

/// Levels down to which a tree with errors is written as an s-expression:
/// tree-sitter recurses there, and a component's stack is small. Deeper trees
/// lose what only s-expressions show, tokens without a name that are missing.
const SEXP_DEPTH_MAX: usize = 200;

/// Bytes of text that a cache keeps. Chosen: some thousands of functions.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// Why a pair can't be scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no reference.
    NoReferences,
    /// tree-sitter gave up.
    NotParsed,
    /// Loops nest too deep to follow their data flow; see
    /// [`STEPS_MAX`](crate::dataflow::STEPS_MAX).
    FlowTooLong,
}

impl Failure {
    /// For programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NoReferences => "no-references",
            Self::NotParsed => "not-parsed",
            Self::FlowTooLong => "too-complex",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoReferences => "expected at least one reference, found none",
            Self::NotParsed => "the parser gave up on this text",
            Self::FlowTooLong => "data flow: loops nest too deep to be followed",
        })
    }
}

impl std::error::Error for Failure {}

/// What the code parts need to know about a text.
#[derive(Clone, Debug)]
pub struct Code {
    /// For the syntax match.
    pub subtrees: Subtrees,
    /// For the data-flow match.
    pub flow: Edges,
}

/// Takes texts of one language apart.
pub struct Analyser {
    language: &'static Language,
    mode: Mode,
    parser: Parser,
    grammar: Grammar,
    rules: Box<dyn Rules>,
    /// By the reference as it is.
    references: Cache<Rc<Code>>,
    /// By the text without comments.
    codes: Cache<Rc<Code>>,
}

impl fmt::Debug for Analyser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Analyser")
            .field("language", &self.language.name)
            .finish()
    }
}

impl Analyser {
    /// `None` if tree-sitter and the language's grammar don't fit together.
    #[must_use]
    pub fn new(language: &'static Language, mode: Mode) -> Option<Self> {
        let grammar = (language.parser)();
        let mut parser = Parser::new();
        parser.set_language(&grammar).ok()?;
        let kinds = Grammar::new(&grammar);
        Some(Self {
            language,
            mode,
            parser,
            rules: (language.rules)(&grammar, &kinds),
            grammar: kinds,
            references: Cache::default(),
            codes: Cache::default(),
        })
    }

    /// Compares a response with its references.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn compare<R: AsRef<str>>(
        &mut self,
        response: &str,
        references: &[R],
    ) -> Result<Counts, Failure> {
        if references.is_empty() {
            return Err(Failure::NoReferences);
        }
        let response = strip(response);
        let texts: Vec<&str> = references
            .iter()
            .map(|reference| strip(reference.as_ref()))
            .collect();
        let references: Vec<Rc<Code>> = texts
            .iter()
            .map(|text| self.reference(text))
            .collect::<Result<_, _>>()?;

        let mut counts = Counts {
            samples: 1.0,
            ..Counts::default()
        };
        counts.add_ngrams(response, &texts, self.language.keywords);

        // Comments are removed again for each reference, from what is left: a
        // string that comes to stand first in its statement goes the next time.
        let mut rest = response.to_owned();
        for reference in &references {
            rest = (self.language.without_comments)(&rest).unwrap_or(rest);
            counts.syntax_total += reference.subtrees.count() as f64;
            counts.dataflow_total += reference.flow.count() as f64;
            // A text without code has a syntax tree, too: its root, which the like of it matches.
            if self.mode == Mode::Strict && strip(&rest).is_empty() {
                continue;
            }
            let response = self.code(&rest)?;
            counts.syntax_matches += reference.subtrees.matches_in(&response.subtrees) as f64;
            counts.dataflow_matches += reference.flow.matches_in(&response.flow) as f64;
        }
        Ok(counts)
    }

    fn reference(&mut self, text: &str) -> Result<Rc<Code>, Failure> {
        if let Some(reference) = self.references.get(text) {
            return Ok(reference);
        }
        let code = match (self.language.without_comments)(text) {
            Some(rest) => self.code(&rest)?,
            None => self.code(text)?,
        };
        Ok(self.references.insert(text, code))
    }

    fn code(&mut self, text: &str) -> Result<Rc<Code>, Failure> {
        if let Some(code) = self.codes.get(text) {
            return Ok(code);
        }
        let parsed = self.parser.parse(text, None).ok_or(Failure::NotParsed)?;
        let tree = Tree::new(&parsed, &self.grammar);
        let root = parsed.root_node();
        let subtrees = match self.mode {
            Mode::Strict => Subtrees::with_tokens(&tree, &self.grammar),
            Mode::Compat => (root.has_error() && tree.depth <= SEXP_DEPTH_MAX)
                .then(|| Subtrees::from_sexp(&tree, &self.grammar, &root.to_sexp()))
                .flatten()
                .unwrap_or_else(|| Subtrees::from_tree(&tree, &self.grammar)),
        };
        let flow = match Normalised::new(text, &tree, &self.grammar, &*self.rules) {
            Ok(flow) => flow.digests(),
            Err(Stop::TooLong) => return Err(Failure::FlowTooLong),
            Err(Stop::Raised) => Edges::default(),
        };
        Ok(self.codes.insert(text, Rc::new(Code { subtrees, flow })))
    }
}

/// Values by text. When the newer half is full it becomes the older one, and
/// what was the older one is forgotten; what is asked for moves to the newer.
#[derive(Debug)]
struct Cache<V> {
    newer: FxHashMap<Box<str>, V>,
    older: FxHashMap<Box<str>, V>,
    /// Of the texts in the newer half.
    bytes: usize,
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self {
            newer: FxHashMap::default(),
            older: FxHashMap::default(),
            bytes: 0,
        }
    }
}

impl<V: Clone> Cache<V> {
    fn get(&mut self, text: &str) -> Option<V> {
        if let Some(value) = self.newer.get(text) {
            return Some(value.clone());
        }
        let (text, value) = self.older.remove_entry(text)?;
        self.put(text, value.clone());
        Some(value)
    }

    fn insert(&mut self, text: &str, value: V) -> V {
        self.put(text.into(), value.clone());
        value
    }

    fn put(&mut self, text: Box<str>, value: V) {
        if self.bytes + text.len() > CACHE_BYTES_MAX / 2 {
            self.older = std::mem::take(&mut self.newer);
            self.bytes = 0;
        }
        self.bytes += text.len();
        self.newer.insert(text, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a cache that grows without end or forgets at once.
    #[test]
    fn caches_are_bounded() {
        let mut cache = Cache::default();
        let text = |i: usize| format!("{i}{}", "x".repeat(100_000));
        for i in 0..100 {
            cache.insert(&text(i), i);
            assert_eq!(cache.get(&text(i)), Some(i));
            // Asked for again and again, the first one stays.
            assert_eq!(cache.get(&text(0)), Some(0));
        }
        assert_eq!(cache.get(&text(1)), None);
        assert!(cache.newer.len() + cache.older.len() <= CACHE_BYTES_MAX / 100_000);
    }
}
