//! What form a response has: fenced blocks, and what lies around them.

use serde::Deserialize;

/// How a response should look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Code and nothing else.
    #[default]
    Code,
    /// Code in one fenced block.
    Fenced,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub form: Form,
    /// Label of the block; any if empty.
    pub language: String,
    /// Share of a response that may be prose.
    pub prose_max: f64,
}

/// Penalties, each from -1 to 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Penalties {
    pub fence: f64,
    pub prose: f64,
}

/// A fenced block.
struct Block<'a> {
    label: &'a str,
    /// Characters of its lines, white space aside.
    characters: usize,
    closed: bool,
}

/// Fewest backticks of a fence.
const TICKS: usize = 3;

/// Number of backticks that a line begins with behind up to three spaces, and what follows them;
/// none where it is no fence.
fn fence(line: &str) -> Option<(usize, &str)> {
    let text = line.trim_start_matches(' ');
    let rest = text.trim_start_matches('`');
    let ticks = text.len() - rest.len();
    // Backticks behind it make it code within a line.
    let fence = line.len() - text.len() <= 3 && ticks >= TICKS && !rest.contains('`');
    fence.then(|| (ticks, rest.trim()))
}

fn characters(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

impl Wanted {
    /// What a response lacks.
    pub fn judge(&self, response: &str) -> Penalties {
        let (mut blocks, mut outside): (Vec<Block>, usize) = (Vec::new(), 0);
        let mut open = 0;
        for line in response.lines() {
            match (fence(line), blocks.last_mut()) {
                (Some((ticks, "")), Some(block)) if open > 0 && ticks >= open => {
                    block.closed = true;
                    open = 0;
                }
                (_, Some(block)) if open > 0 => block.characters += characters(line),
                (Some((ticks, label)), _) => {
                    open = ticks;
                    blocks.push(Block {
                        label,
                        characters: 0,
                        closed: false,
                    });
                }
                _ => outside += characters(line),
            }
        }
        let penalty = |bad: bool| if bad { -1.0 } else { 0.0 };
        if self.form == Form::Code {
            return Penalties {
                fence: penalty(!blocks.is_empty()),
                prose: 0.0,
            };
        }
        let fine = match blocks.as_slice() {
            [one] => {
                let labelled = self.language.is_empty() || one.label == self.language;
                one.closed && one.characters > 0 && labelled
            }
            _ => false,
        };
        let inside: usize = blocks.iter().map(|block| block.characters).sum();
        let share = match (outside, inside) {
            (0, 0) => 1.0,
            (outside, inside) => outside as f64 / (outside + inside) as f64,
        };
        Penalties {
            fence: penalty(!fine),
            prose: -(share - self.prose_max).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Form, response: &str, expected: (f64, f64)) {
        let wanted = Wanted {
            form,
            language: "python".into(),
            prose_max: 0.25,
        };
        let Penalties { fence, prose } = wanted.judge(response);
        assert_eq!((fence, prose), expected, "{response}");
    }

    // Would catch fences that are none, blocks that never end, and text that counts as code. By
    // hand; `a` is one character of code or of prose.
    #[test]
    fn forms() {
        check(Form::Code, "x = '```'", (0.0, 0.0));
        check(Form::Code, "```\na\n```", (-1.0, 0.0));
        check(Form::Code, "    ```\n", (0.0, 0.0));
        check(Form::Fenced, "```python\naaa\n```", (0.0, 0.0));
        check(Form::Fenced, "a\n```python\naaa\n```\n", (0.0, 0.0));
        check(Form::Fenced, "aa\n```python\naa\n```\n", (0.0, -0.25));
        check(Form::Fenced, "````python\n```\naaa\n````", (0.0, 0.0));
        check(Form::Fenced, "```python\naaa", (-1.0, 0.0));
        check(Form::Fenced, "```java\naaa\n```", (-1.0, 0.0));
        check(Form::Fenced, "```python\n```", (-1.0, -0.75));
        check(Form::Fenced, "aaa", (-1.0, -0.75));
        check(
            Form::Fenced,
            "```python\na\n```\n```python\na\n```",
            (-1.0, 0.0),
        );
    }
}
