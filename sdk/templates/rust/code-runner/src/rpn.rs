//! The language, in plain Rust: tested without a host.
//!
//! A program is words with space between them. Numbers stand on a stack; they
//! are doubles, so integers are exact up to 2^53.
//!
//! | word | what it does |
//! | --- | --- |
//! | `12`, `-3`, `0.5` | pushes the number |
//! | `+` `-` `*` `/` | takes two numbers, pushes the result |
//! | `dup` `swap` `drop` | repeats the top, swaps the upper two, takes the top away |
//! | `.` | takes the top and prints it with a line end |
//! | `in` | pushes the next number of the input |
//! | `: NAME … ;` | defines a word |
//!
//! Memory, time and output have no limits in here: the host keeps them.

use std::collections::HashMap;
use std::fmt;

/// Calls inside calls beyond this end the program. Chosen: far below what the
/// stack of a component holds, and without conditions recursion never ends.
pub const CALL_DEPTH_MAX: usize = 256;

const BUILT_IN: [&str; 9] = ["+", "-", "*", "/", "dup", "swap", "drop", ".", "in"];

/// Reads a number; `None` if the word is none. `inf` and `nan`, which Rust reads, are names here.
pub fn number(word: &str) -> Option<f64> {
    let value: f64 = word.parse().ok()?;
    (value.is_finite() && word.contains(|c: char| c.is_ascii_digit())).then_some(value)
}

/// What ends a program early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its type: `StackUnderflow`.
    pub name: &'static str,
    /// The line and the word, what was expected and found.
    pub detail: String,
}

impl Exception {
    /// An exception.
    pub fn new(name: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { name, detail }
    }
}

/// A word and the line it stands on.
#[derive(Clone, Debug)]
struct Word {
    line: usize,
    text: String,
}

impl Word {
    fn fails(&self, name: &'static str, what: impl fmt::Display) -> Exception {
        Exception::new(name, format!("line {}: `{}`: {what}", self.line, self.text))
    }
}

/// A program: what runs, and the words it defines.
#[derive(Clone, Debug, Default)]
pub struct Program {
    main: Vec<Word>,
    defined: HashMap<String, Vec<Word>>,
}

impl Program {
    /// Reads a program without running it.
    ///
    /// # Errors
    /// A definition is malformed; the message names its line. A word that is
    /// nowhere defined is no such error: it counts only if it is run.
    pub fn parse(source: &str) -> Result<Self, String> {
        let mut program = Self::default();
        let lines = source.lines().enumerate();
        let mut words = lines.flat_map(|(index, line)| {
            line.split_whitespace().map(move |text| Word {
                line: index + 1,
                text: text.to_owned(),
            })
        });
        while let Some(word) = words.next() {
            match word.text.as_str() {
                ":" => program.define(word.line, &mut words)?,
                ";" => return Err(format!("line {}: `;` without `:`", word.line)),
                _ => program.main.push(word),
            }
        }
        Ok(program)
    }

    fn define(
        &mut self,
        line: usize,
        words: &mut impl Iterator<Item = Word>,
    ) -> Result<(), String> {
        let name = words.next().map(|word| word.text).unwrap_or_default();
        let is_taken = BUILT_IN.contains(&name.as_str()) || self.defined.contains_key(&name);
        if ["", ":", ";"].contains(&name.as_str()) || number(&name).is_some() {
            return Err(format!(
                "line {line}: expected a name behind `:`, found `{name}`"
            ));
        }
        if is_taken {
            return Err(format!("line {line}: `{name}` is defined already"));
        }
        let mut body = Vec::new();
        loop {
            match words.next() {
                Some(word) if word.text == ";" => break,
                Some(word) if word.text == ":" => {
                    return Err(format!("line {}: `:` inside of `{name}`", word.line));
                }
                Some(word) => body.push(word),
                None => {
                    return Err(format!(
                        "line {line}: `{name}`: expected `;`, found the end"
                    ));
                }
            }
        }
        self.defined.insert(name, body);
        Ok(())
    }
}

/// A program at work.
pub struct Machine<'a> {
    program: &'a Program,
    input: std::str::SplitWhitespace<'a>,
    /// The last is the top.
    pub stack: Vec<f64>,
    /// What was printed.
    pub output: String,
}

impl<'a> Machine<'a> {
    /// With an empty stack.
    pub fn new(program: &'a Program, input: &'a str) -> Self {
        Self {
            program,
            input: input.split_whitespace(),
            stack: Vec::new(),
            output: String::new(),
        }
    }

    /// Runs the program. What it printed stays in `output`, whatever happens.
    ///
    /// # Errors
    /// The exception that ended it.
    pub fn run(&mut self) -> Result<(), Exception> {
        self.execute(&self.program.main, 0)
    }

    /// Runs a word that the program defines.
    ///
    /// # Errors
    /// There is no such word, or the exception that ended it.
    pub fn call(&mut self, name: &str) -> Result<(), Exception> {
        match self.program.defined.get(name) {
            Some(body) => self.execute(body, 1),
            None => Err(Exception::new(
                "UnknownWord",
                format!("`{name}` is not defined"),
            )),
        }
    }

    fn execute(&mut self, words: &'a [Word], depth: usize) -> Result<(), Exception> {
        if depth > CALL_DEPTH_MAX {
            let detail =
                format!("expected at most {CALL_DEPTH_MAX} calls inside calls, found more");
            return Err(Exception::new("RecursionTooDeep", detail));
        }
        for word in words {
            match word.text.as_str() {
                "+" | "-" | "*" | "/" => {
                    let [a, b] = self.pop(word)?;
                    self.stack.push(arithmetic(word, a, b)?);
                }
                "dup" => {
                    let [top] = self.pop(word)?;
                    self.stack.extend([top, top]);
                }
                "swap" => {
                    let [a, b] = self.pop(word)?;
                    self.stack.extend([b, a]);
                }
                "drop" => {
                    let [_] = self.pop(word)?;
                }
                "." => {
                    let [top] = self.pop(word)?;
                    self.output.push_str(&format!("{top}\n"));
                }
                "in" => {
                    let given = self.input.next();
                    let given = given.ok_or_else(|| {
                        word.fails("EndOfInput", "expected a number, found the end")
                    })?;
                    let value = number(given).ok_or_else(|| {
                        word.fails("BadInput", format!("expected a number, found `{given}`"))
                    })?;
                    self.stack.push(value);
                }
                name => match (number(name), self.program.defined.get(name)) {
                    (Some(value), _) => self.stack.push(value),
                    (None, Some(body)) => self.execute(body, depth + 1)?,
                    (None, None) => return Err(word.fails("UnknownWord", "not defined")),
                },
            }
        }
        Ok(())
    }

    /// Takes the upper `N` numbers, the top last.
    fn pop<const N: usize>(&mut self, word: &Word) -> Result<[f64; N], Exception> {
        let Some((rest, taken)) = self.stack.split_last_chunk::<N>() else {
            let found = self.stack.len();
            let what = format!("expected {N} on the stack, found {found}");
            return Err(word.fails("StackUnderflow", what));
        };
        let (rest, taken) = (rest.len(), *taken);
        self.stack.truncate(rest);
        Ok(taken)
    }
}

fn arithmetic(word: &Word, a: f64, b: f64) -> Result<f64, Exception> {
    let result = match word.text.as_str() {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        _ if b == 0.0 => return Err(word.fails("DivisionByZero", "the divisor is 0")),
        _ => a / b,
    };
    if !result.is_finite() {
        return Err(word.fails("Overflow", "the result is out of range"));
    }
    // There is one zero only: -0 + 0 is 0.
    Ok(result + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program prints, and the exception that ends it.
    fn check(source: &str, input: &str, expected: &str) {
        let program = Program::parse(source).expect("it is well-formed");
        let mut machine = Machine::new(&program, input);
        if let Err(Exception { name, detail }) = machine.run() {
            machine.output.push_str(&format!("{name}: {detail}"));
        }
        assert_eq!(machine.output, expected, "{source}");
    }

    // Catches operands in the wrong order, and words that leave the wrong numbers behind.
    #[test]
    fn words() {
        check("7 2 - .", "", "5\n");
        check("7 2 / .", "", "3.5\n");
        check("-3 0.5 * .", "", "-1.5\n");
        check("0 -1 * .", "", "0\n");
        check("1 2 swap . .", "", "1\n2\n");
        check("3 dup * .", "", "9\n");
        check("1 2 drop .", "", "1\n");
        check("in in + .", " 40\n2 ", "42\n");
        check(
            ": square dup * ; : fourth square square ; 3 fourth .",
            "",
            "81\n",
        );
        check("", "", "");
    }

    // Catches a failure that goes unnoticed, loses what was printed, or doesn't say where it is.
    #[test]
    fn exceptions() {
        check(
            "1 .\n2 +",
            "",
            "1\nStackUnderflow: line 2: `+`: expected 2 on the stack, found 1",
        );
        check("1 0 /", "", "DivisionByZero: line 1: `/`: the divisor is 0");
        check("cube", "", "UnknownWord: line 1: `cube`: not defined");
        check("inf", "", "UnknownWord: line 1: `inf`: not defined");
        check(
            "1e308 dup +",
            "",
            "Overflow: line 1: `+`: the result is out of range",
        );
        check(
            "in",
            "",
            "EndOfInput: line 1: `in`: expected a number, found the end",
        );
        check(
            "in",
            "x",
            "BadInput: line 1: `in`: expected a number, found `x`",
        );
        check(
            ": again again ; again",
            "",
            "RecursionTooDeep: expected at most 256 calls inside calls, found more",
        );
    }

    // Catches malformed programs that run, and messages that don't say where.
    #[test]
    fn syntax_errors() {
        let check = |source: &str, expected: &str| {
            assert_eq!(Program::parse(source).unwrap_err(), expected, "{source}");
        };
        check("1\n;", "line 2: `;` without `:`");
        check(":", "line 1: expected a name behind `:`, found ``");
        check(": 2 ;", "line 1: expected a name behind `:`, found `2`");
        check(": dup ;", "line 1: `dup` is defined already");
        check(": a ;\n: a ;", "line 2: `a` is defined already");
        check(": a : b ; ;", "line 1: `:` inside of `a`");
        check("\n: a 1", "line 2: `a`: expected `;`, found the end");
    }
}
