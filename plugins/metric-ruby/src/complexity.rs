//! Cyclomatic complexity as radon 6.0.1 counts it (`radon.complexity.cc_visit`).
//!
//! radon walks over Python's syntax tree. What it counts can be told from the
//! tokens alone in code that compiles: keywords decide, and indentation says
//! what they belong to. So there is no parser here, and no recursion that
//! deeply nested code could drive too far.

use std::borrow::Cow;

use rlhf_python::tokens::{Kind, Token, tokenize};

use crate::fstring;

/// A function, method or class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// `F`, `M` or `C`, as in radon.
    pub letter: char,
    /// Without that of its class.
    pub name: String,
    /// One more than its decisions; of a class with methods, their mean and one more.
    pub complexity: usize,
}

/// What was counted in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complexity {
    /// In radon's order: functions, then classes, each with its methods.
    pub blocks: Vec<Block>,
    /// One more than the decisions outside of functions and classes.
    pub module: usize,
    /// Statements of the whole text, by kind.
    pub statements: Statements,
}

/// How many statements there are, wherever they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statements {
    /// `def`, without `async`.
    pub functions: usize,
    /// `class`.
    pub classes: usize,
    /// `for` and `while`, without `async`.
    pub loops: usize,
    /// `if` and `elif`.
    pub conditionals: usize,
    /// Lines that hold statements of any kind.
    pub lines: usize,
}

impl Complexity {
    /// Of a text that compiles; of another one the numbers mean nothing.
    #[must_use]
    pub fn of(source: &str) -> Self {
        let source = normalised(source);
        let mut walk = Walk::new();
        let mut line = Vec::new();
        // An error of the tokeniser means that the text doesn't compile.
        let _ = tokenize(&source, |token| match token.kind {
            Kind::Comment | Kind::LineEnd | Kind::Error => {}
            Kind::Indent => walk.indent(),
            Kind::Dedent => walk.dedent(),
            Kind::Newline | Kind::End => {
                walk.line(&line);
                line.clear();
            }
            Kind::Name | Kind::Number | Kind::Operator | Kind::String => line.push(token),
        });
        walk.finish()
    }

    /// The largest complexity: of a block, or of the text around them.
    #[must_use]
    pub fn maximum(&self) -> usize {
        let blocks = self.blocks.iter().map(|block| block.complexity);
        blocks.fold(self.module, usize::max)
    }

    /// That of all blocks together.
    #[must_use]
    pub fn total(&self) -> usize {
        self.blocks.iter().map(|block| block.complexity).sum()
    }
}

/// What an `else` can belong to.
#[derive(Clone, Copy, PartialEq)]
enum Compound {
    /// Its `else` is a decision.
    Loop,
    /// Its `else` is a decision.
    Try,
    /// `if`, or `try` with `except*`, which radon doesn't know.
    Other,
}

/// The clauses of a `match`.
#[derive(Default)]
struct Cases {
    count: usize,
    /// Whether one is a bare name or `_`.
    catches_all: bool,
}

/// A block of statements that are indented alike.
#[derive(Default)]
struct Level {
    /// The last compound statement.
    compound: Option<Compound>,
    /// In the block of a `match`.
    cases: Option<Cases>,
}

enum ScopeKind {
    Module,
    Function,
    Class { methods: Vec<Block> },
}

/// What decisions are counted for.
struct Scope {
    kind: ScopeKind,
    name: String,
    /// Number of levels where its header stands.
    level: usize,
    complexity: usize,
}

struct Walk {
    levels: Vec<Level>,
    scopes: Vec<Scope>,
    /// The last line began a `match`.
    match_follows: bool,
    functions: Vec<Block>,
    classes: Vec<Block>,
    statements: Statements,
}

impl Walk {
    fn new() -> Self {
        let module = Scope {
            kind: ScopeKind::Module,
            name: String::new(),
            level: 0,
            complexity: 1,
        };
        Self {
            levels: vec![Level::default()],
            scopes: vec![module],
            match_follows: false,
            functions: Vec::new(),
            classes: Vec::new(),
            statements: Statements::default(),
        }
    }

    fn indent(&mut self) {
        let cases = std::mem::take(&mut self.match_follows).then(Cases::default);
        self.levels.push(Level {
            compound: None,
            cases,
        });
    }

    fn dedent(&mut self) {
        let level = self.levels.pop();
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        self.close_scopes();
        if let Some(cases) = level.and_then(|level| level.cases) {
            self.count(cases.count.saturating_sub(usize::from(cases.catches_all)));
        }
    }

    fn count(&mut self, decisions: usize) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.complexity += decisions;
        }
    }

    /// Ends what was begun at this level or further in.
    fn close_scopes(&mut self) {
        while let Some(scope) = self.scopes.pop_if(|scope| scope.level >= self.levels.len()) {
            let parent = self.scopes.last_mut().map(|parent| &mut parent.kind);
            match (scope.kind, parent) {
                (ScopeKind::Function, Some(ScopeKind::Module)) => {
                    self.functions
                        .push(block('F', scope.name, scope.complexity));
                }
                (ScopeKind::Function, Some(ScopeKind::Class { methods })) => {
                    methods.push(block('M', scope.name, scope.complexity));
                    self.count(scope.complexity);
                }
                (ScopeKind::Class { methods }, Some(ScopeKind::Module)) => {
                    let complexity = match methods.len() {
                        0 => scope.complexity,
                        count => scope.complexity / count + usize::from(count > 1),
                    };
                    self.classes.push(block('C', scope.name, complexity));
                    self.classes.extend(methods);
                }
                // radon lists neither closures nor what is inside of functions and inner classes.
                _ => {}
            }
        }
    }

    /// A line of statements.
    fn line(&mut self, tokens: &[Token]) {
        self.match_follows = false;
        let Some(first) = tokens.first().map(|token| token.text) else {
            return;
        };
        self.statements.lines += 1;
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        let is_async = first == "async";
        let level = self.levels.last_mut().expect("there is always one");
        match if is_async { text(1) } else { first } {
            // Decorators and headers of definitions are not looked at.
            "@" => {}
            "def" | "class" => self.definition(&tokens[usize::from(is_async)..], is_async),
            "if" | "elif" => {
                level.compound = Some(Compound::Other);
                self.statements.conditionals += 1;
                self.expressions(tokens);
            }
            "for" | "while" => {
                level.compound = Some(Compound::Loop);
                self.statements.loops += usize::from(!is_async);
                self.expressions(tokens);
            }
            "try" => {
                level.compound = Some(Compound::Try);
                self.expressions(tokens);
            }
            "except" => {
                if text(1) == "*" {
                    level.compound = Some(Compound::Other);
                }
                self.expressions(tokens);
            }
            "else" => {
                if matches!(level.compound, Some(Compound::Loop | Compound::Try)) {
                    self.count(1);
                }
                self.expressions(tokens);
            }
            "match" if tokens.len() > 2 && text(tokens.len() - 1) == ":" => {
                self.match_follows = true;
                self.expressions(tokens);
            }
            "case" if level.cases.is_some() => self.case(tokens),
            _ => self.expressions(tokens),
        }
    }

    /// `def name …:` or `class name …:`, maybe with statements behind the colon.
    fn definition(&mut self, tokens: &[Token], is_async: bool) {
        let is_function = tokens[0].text == "def";
        let kind = if is_function {
            self.statements.functions += usize::from(!is_async);
            ScopeKind::Function
        } else {
            self.statements.classes += 1;
            ScopeKind::Class {
                methods: Vec::new(),
            }
        };
        let name = tokens.get(1).map_or("", |token| token.text);
        self.scopes.push(Scope {
            kind,
            name: name.to_owned(),
            level: self.levels.len(),
            complexity: 1,
        });
        let body = &tokens[header_length(tokens)..];
        if !body.is_empty() {
            self.expressions(body);
            self.close_scopes();
        }
    }

    /// `case pattern [if guard]:`, maybe with statements behind the colon.
    fn case(&mut self, tokens: &[Token]) {
        let mut depth = 0_i64;
        let end = tokens.iter().position(|token| {
            depth += bracket(token);
            depth == 0 && matches!(token.text, "if" | ":")
        });
        let end = end.unwrap_or(tokens.len());
        let mut pattern = &tokens[1.min(end)..end];
        while let [open, inside @ .., close] = pattern
            && (open.text, close.text) == ("(", ")")
        {
            pattern = inside;
        }
        let catches_all = matches!(
            pattern,
            [token] if token.kind == Kind::Name && !matches!(token.text, "None" | "True" | "False")
        );
        let level = self.levels.last_mut().expect("there is always one");
        if let Some(cases) = &mut level.cases {
            cases.count += 1;
            cases.catches_all |= catches_all;
        }
        // The `if` of a guard is no decision, what stands behind it may be.
        self.expressions(tokens.get(end + 1..).unwrap_or_default());
    }

    /// Counts the decisions in tokens of statements and expressions.
    fn expressions(&mut self, tokens: &[Token]) {
        let mut decisions = 0;
        let mut depth = 0_i64;
        // An assertion is one decision, whatever it says.
        let mut asserting = false;
        for (at, token) in tokens.iter().enumerate() {
            depth += bracket(token);
            if asserting {
                asserting = depth > 0 || token.text != ";";
                continue;
            }
            match token.kind {
                Kind::Name => match token.text {
                    "and" | "or" | "if" | "elif" | "for" | "while" => decisions += 1,
                    "except" => {
                        let star = tokens.get(at + 1).is_some_and(|next| next.text == "*");
                        decisions += usize::from(!star);
                    }
                    "assert" => {
                        decisions += 1;
                        asserting = true;
                    }
                    _ => {}
                },
                Kind::String => decisions += fstring::decisions(token.text),
                _ => {}
            }
        }
        self.count(decisions);
    }

    fn finish(mut self) -> Complexity {
        while self.levels.len() > 1 {
            self.dedent();
        }
        self.levels.clear();
        let module = self.scopes.first().map_or(1, |module| module.complexity);
        self.functions.append(&mut self.classes);
        Complexity {
            blocks: self.functions,
            module,
            statements: self.statements,
        }
    }
}

/// The source as Python's parser takes it where its tokeniser takes it
/// otherwise: every line end is a line feed, and a line that is nothing but a
/// backslash says nothing about indentation.
fn normalised(source: &str) -> Cow<'_, str> {
    let mut source: Cow<str> = source.into();
    if source.contains('\r') {
        source = source.replace("\r\n", "\n").replace('\r', "\n").into();
    }
    const EMPTY: &str = "\\\n";
    if source.starts_with(EMPTY) || source.contains("\n\\\n") {
        let lines = source.split_inclusive('\n').filter(|line| *line != EMPTY);
        source = lines.collect::<String>().into();
    }
    source
}

fn block(letter: char, name: String, complexity: usize) -> Block {
    Block {
        letter,
        name,
        complexity,
    }
}

/// By how much a token changes the depth of brackets.
fn bracket(token: &Token) -> i64 {
    match token.text {
        "(" | "[" | "{" => 1,
        ")" | "]" | "}" => -1,
        _ => 0,
    }
}

/// Tokens up to the colon that ends a header.
fn header_length(tokens: &[Token]) -> usize {
    let mut depth = 0_i64;
    let mut lambdas = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        depth += bracket(token);
        match token.text {
            "lambda" if depth == 0 => lambdas += 1,
            ":" if depth == 0 && lambdas > 0 => lambdas -= 1,
            ":" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}
