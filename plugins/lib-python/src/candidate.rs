//! Which program a response stands for.
//!
//! Models answer in three ways: with a whole program, with the rest of a
//! function that the prompt begins (HumanEval), and with Markdown that has
//! code in it. What is run has to be a program.

use std::borrow::Cow;

use serde::Deserialize;

use crate::words::is_word;

/// What responses are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One or the other, as the texts tell; see [`Candidate::of`].
    #[default]
    Auto,
    /// The prompt's continuation.
    Completion,
    /// A program by itself.
    Program,
}

impl Form {
    /// As the option spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Completion => "completion",
            Self::Program => "program",
        }
    }
}

/// A response taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The response's code.
    pub written: &'a str,
    /// What of the prompt goes before it when it is run.
    pub before: &'a str,
    /// Whether it continues the prompt.
    pub is_completion: bool,
    /// The prompt if it is code, or nothing: what a judge can run.
    pub prompt: &'a str,
}

impl<'a> Candidate<'a> {
    /// Takes a response apart; `fences` says whether to look for Markdown.
    ///
    /// The prompt is code if it has a `def` in column 0 and begins as code
    /// does: with `def`, `class`, `import`, `from`, `@`, a comment, a string or an
    /// assignment (HumanEval/64).
    /// With [`Form::Auto`], a response is a program if the prompt is no code,
    /// or if the response itself defines, in column 0, the prompt's last
    /// function; otherwise it continues the prompt.
    ///
    /// Before a continuation goes the prompt. Before a program goes what stands
    /// in the prompt above its last function, imports and helpers, if the
    /// prompt is code; not before a program that imports from `__future__`,
    /// which has to come first.
    #[must_use]
    pub fn of(prompt: &'a str, response: &'a str, form: Form, fences: bool) -> Self {
        let written = if fences { unfenced(response) } else { response };
        let last = last_function(prompt).filter(|_| begins_as_code(prompt));
        let is_completion = match (form, &last) {
            (Form::Completion, _) => true,
            (Form::Program, _) | (Form::Auto, None) => false,
            (Form::Auto, Some(last)) => !definitions(written).any(|(_, name)| name == last.name),
        };
        let before = match &last {
            _ if is_completion => prompt,
            Some(last) if !written.contains("from __future__") => &prompt[..last.start],
            _ => "",
        };
        Self {
            written,
            before,
            is_completion,
            prompt: if last.is_some() { prompt } else { "" },
        }
    }

    /// The program that is run.
    #[must_use]
    pub fn source(&self) -> Cow<'a, str> {
        if self.before.is_empty() {
            self.written.into()
        } else {
            [self.before, self.written].concat().into()
        }
    }
}

/// Where a prompt's last function starts, decorators included, and its name.
struct Function<'a> {
    start: usize,
    name: &'a str,
}

fn last_function(prompt: &str) -> Option<Function<'_>> {
    let (mut start, name) = definitions(prompt).last()?;
    for line in prompt[..start].split_inclusive('\n').rev() {
        if !line.starts_with('@') {
            break;
        }
        start -= line.len();
    }
    Some(Function { start, name })
}

/// The functions that are defined in column 0: where, and their names.
fn definitions(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut offset = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let start = offset;
        offset += line.len();
        let rest = line.strip_prefix("async ").map_or(line, str::trim_start);
        let rest = rest.strip_prefix("def ")?.trim_start();
        let name = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        (!name.is_empty()).then_some((start, name))
    })
}

fn begins_as_code(prompt: &str) -> bool {
    const BEGINNINGS: [&str; 10] = [
        "def ",
        "async def ",
        "class ",
        "import ",
        "from ",
        "@",
        "#",
        "\"\"\"",
        "'''",
        "r\"\"\"",
    ];
    let prompt = prompt.trim_start();
    let name = &prompt[..prompt.find(|c| !is_word(c)).unwrap_or(prompt.len())];
    let is_assignment = || {
        let rest = prompt[name.len()..].trim_start_matches([' ', '\t']);
        !name.is_empty() && rest.starts_with('=') && !rest.starts_with("==")
    };
    BEGINNINGS
        .iter()
        .any(|beginning| prompt.starts_with(beginning))
        || is_assignment()
}

/// The code of a response in Markdown; the response itself if there is none.
///
/// That is the first fenced block marked as Python, or else the first block. A
/// block that isn't closed goes on to the end. If the first fence has no
/// language, and what stands above it is indented or no fence follows, it ends
/// a block that was begun outside of the response: then the code stands above.
#[must_use]
pub fn unfenced(response: &str) -> &str {
    let fences: Vec<Fence> = fences(response).collect();
    let Some(first) = fences.first() else {
        return response;
    };
    let above = &response[..first.start];
    let is_indented = above
        .lines()
        .find(|line| !line.trim().is_empty())
        .map(|line| line.starts_with([' ', '\t']));
    if first.language.is_empty() && is_indented.is_some_and(|it| it || fences.len() == 1) {
        return above;
    }
    let mut blocks = Vec::new();
    let mut open: Option<&Fence> = None;
    for fence in &fences {
        match open {
            None => open = Some(fence),
            Some(opening) if fence.closes(opening) => {
                blocks.push((opening.language, &response[opening.end..fence.start]));
                open = None;
            }
            Some(_) => {}
        }
    }
    if let Some(opening) = open {
        blocks.push((opening.language, &response[opening.end..]));
    }
    let is_python = |language: &str| {
        let language = language.to_ascii_lowercase();
        matches!(language.as_str(), "python" | "py" | "python3")
    };
    let marked = blocks.iter().find(|(language, _)| is_python(language));
    marked
        .or_else(|| blocks.first())
        .map_or(response, |(_, code)| code)
}

/// A line of three or more backticks or tildes, indented by three spaces at most.
struct Fence<'a> {
    start: usize,
    end: usize,
    mark: u8,
    length: usize,
    /// The first word behind the marks.
    language: &'a str,
}

impl Fence<'_> {
    fn closes(&self, opening: &Fence) -> bool {
        self.mark == opening.mark && self.length >= opening.length && self.language.is_empty()
    }
}

fn fences(text: &str) -> impl Iterator<Item = Fence<'_>> {
    let mut offset = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let start = offset;
        offset += line.len();
        let marks = line.trim_start_matches(' ');
        let mark = *marks.as_bytes().first()?;
        let length = marks.bytes().take_while(|&byte| byte == mark).count();
        let is_fence = matches!(mark, b'`' | b'~') && length >= 3 && line.len() - marks.len() <= 3;
        is_fence.then(|| Fence {
            start,
            end: offset,
            mark,
            length,
            language: marks[length..]
                .split_whitespace()
                .next()
                .unwrap_or_default(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch prose taken for code, and code for prose.
    #[test]
    fn markdown_has_code_in_it() {
        let check = |response: &str, expected: &str| {
            assert_eq!(unfenced(response), expected, "{response:?}");
        };
        check("x = 1", "x = 1");
        check("Sure:\n```python\nx = 1\n```\nDone.", "x = 1\n");
        check("```\nx = 1\n```", "x = 1\n");
        check("```sh\npip\n```\n~~~Py\nx = 1\n~~~\n", "x = 1\n");
        check("```python\nx = 1", "x = 1");
        check("````python\n'''\n```\n'''\n````", "'''\n```\n'''\n");
        // Completions that end a block begun in the prompt.
        check("    return x\n```\nIt returns x.", "    return x\n");
        check(
            "    return x\n```\nSo:\n```python\nf()\n```",
            "    return x\n",
        );
        check("x = 1\n```\n", "x = 1\n");
        // Indented as in a docstring.
        check(
            "def f():\n    ```\n    x\n    ```",
            "def f():\n    ```\n    x\n    ```",
        );
    }

    const PROMPT: &str = "import math\n\n\ndef helper():\n    pass\n\n\n@cache\ndef area(r):\n    \"\"\"Area.\"\"\"\n";
    const HEAD: &str = "import math\n\n\ndef helper():\n    pass\n\n\n";

    /// Would catch half a function that is run by itself, and a whole one behind half a one.
    #[test]
    fn programs_are_told_from_completions() {
        let check = |prompt: &str, response: &str, form, before: &str| {
            let candidate = Candidate::of(prompt, response, form, true);
            assert_eq!(candidate.before, before, "{response:?}");
            assert_eq!(candidate.source(), [before, candidate.written].concat());
        };
        let body = "    return math.pi * r ** 2\n";
        let whole = "def area(r):\n    return 3 * r ** 2\n";
        check(PROMPT, body, Form::Auto, PROMPT);
        check(PROMPT, whole, Form::Auto, HEAD);
        check(PROMPT, "async def area (r):\n    pass", Form::Auto, HEAD);
        check(PROMPT, "def areas(r):\n    pass", Form::Auto, PROMPT);
        check(PROMPT, "    def area(r):\n        pass", Form::Auto, PROMPT);
        check(PROMPT, whole, Form::Completion, PROMPT);
        check(PROMPT, body, Form::Program, HEAD);
        check("", whole, Form::Auto, "");
        let assigns = "\nFIX = 1\n\ndef area(r):\n    \"\"\"Area.\"\"\"\n";
        check(assigns, body, Form::Auto, assigns);
        check(
            "Write a function that computes the area.",
            whole,
            Form::Auto,
            "",
        );
        check("Complete this:\ndef area(r):\n", body, Form::Auto, "");
        let future = format!("from __future__ import annotations\n{whole}");
        check(PROMPT, &future, Form::Auto, "");
    }

    /// Would catch prose that a judge is made to run.
    #[test]
    fn only_code_is_a_judges_prompt() {
        let prompt = |prompt| Candidate::of(prompt, "x", Form::Auto, true).prompt;
        assert_eq!(prompt(PROMPT), PROMPT);
        assert_eq!(prompt("Write a function."), "");
        assert_eq!(prompt("x = 1"), "");
    }
}
