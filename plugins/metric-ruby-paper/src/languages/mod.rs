//! What is known about languages: their grammars, and for some what their statements do.

mod braces;
mod python;

use crate::syntax::Syntax;

/// A language whose texts can be parsed.
#[derive(Debug)]
pub struct Language {
    /// As samples name it.
    pub name: &'static str,
    /// tree-sitter's parser.
    pub parser: fn() -> tree_sitter::Language,
    /// What its statements do; without it there are no program dependence graphs.
    pub rules: Option<&'static dyn Rules>,
}

/// All of them. The first is the default.
pub static LANGUAGES: &[Language] = &[
    Language {
        name: "python",
        parser: tree_sitter_python::language,
        rules: Some(&python::Python),
    },
    Language {
        name: "java",
        parser: tree_sitter_java::language,
        rules: Some(&braces::Braces),
    },
    Language {
        name: "javascript",
        parser: rlhf_grammar_javascript::language,
        rules: Some(&braces::Braces),
    },
    Language {
        name: "c",
        parser: tree_sitter_c::language,
        rules: Some(&braces::Braces),
    },
    Language {
        name: "cpp",
        parser: tree_sitter_cpp::language,
        rules: None,
    },
    Language {
        name: "go",
        parser: tree_sitter_go::language,
        rules: None,
    },
    Language {
        name: "rust",
        parser: tree_sitter_rust::language,
        rules: None,
    },
];

/// Other names under which data sets and people know them.
const ALIASES: [(&str, &str); 6] = [
    ("py", "python"),
    ("python3", "python"),
    ("js", "javascript"),
    ("golang", "go"),
    ("c++", "cpp"),
    ("rs", "rust"),
];

impl Language {
    /// The place in [`LANGUAGES`] of the language that is called so, whatever the case.
    #[must_use]
    pub fn place(name: &str) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        let name = alias.map_or(name.as_str(), |(_, name)| name);
        LANGUAGES.iter().position(|language| language.name == name)
    }
}

/// What a name does where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its value is read.
    Use,
    /// It is set.
    Define,
    /// It is read and set: `x += 1`.
    Update,
    /// A part of its value is set, or the object asked to change: `x[i] = y`, `x.add(y);`.
    Change,
    /// It is a parameter of the procedure that begins here.
    Parameter,
    /// It means something only within its statement: a lambda's parameter.
    Bound,
}

/// A statement's place in the flow. Lists are nodes of the syntax: `own` makes up the
/// statement's vertex, the others are statements in turn.
#[derive(Debug)]
pub enum Form {
    /// It does nothing: `pass`, a documentation string.
    Nothing,
    /// Others, one after the other.
    Block(Vec<u32>),
    /// One vertex.
    Plain(Vec<u32>),
    /// One vertex from which execution goes elsewhere.
    Jump(Vec<u32>, Jump),
    /// `if`.
    If {
        own: Vec<u32>,
        then: Vec<u32>,
        otherwise: Vec<u32>,
    },
    /// `while`, `for`, `do`.
    Loop {
        before: Vec<u32>,
        own: Vec<u32>,
        body: Vec<u32>,
        update: Vec<u32>,
        /// Python's `else`: where the loop wasn't left by `break`.
        otherwise: Vec<u32>,
        /// Whether the body comes before the first test.
        body_first: bool,
    },
    /// `switch`, `match`.
    Choice {
        own: Vec<u32>,
        cases: Vec<Case>,
        /// Whether a case goes on into the next one.
        falls_through: bool,
        /// Whether `break` leaves it.
        breakable: bool,
    },
    /// `try`.
    Try {
        own: Vec<u32>,
        body: Vec<u32>,
        /// Each with a vertex of its own.
        handlers: Vec<Case>,
        otherwise: Vec<u32>,
        finally: Vec<u32>,
    },
    /// One vertex around others: `with`, `synchronized`.
    Around { own: Vec<u32>, body: Vec<u32> },
    /// A statement with a name to jump to.
    Labelled { label: u32, body: Vec<u32> },
    /// A procedure, or a class, whose members are in its body.
    Definition { own: Vec<u32>, body: Vec<u32> },
    /// What the flow is not known of: `goto`.
    Unknown,
}

/// An alternative of a choice.
#[derive(Debug)]
pub struct Case {
    pub own: Vec<u32>,
    pub body: Vec<u32>,
    /// Whether it takes what no other case does.
    pub default: bool,
}

/// Where execution goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// Behind the procedure.
    Return,
    /// To the handlers around.
    Throw,
    /// Behind the loop or choice around, or the statement with this label.
    Break(Option<u32>),
    /// To the next round of the loop around, or the one with this label.
    Continue(Option<u32>),
}

/// What a language's statements do.
pub trait Rules: std::fmt::Debug + Sync {
    /// A statement's place in the flow.
    fn form(&self, syntax: &Syntax<'_>, node: u32) -> Form;

    /// What a leaf does to the variable that it names; `None` if it names none: a token, a
    /// member, a type.
    fn role(&self, syntax: &Syntax<'_>, leaf: u32) -> Option<Role>;
}
