//! A file of JSON cut into its elements, in bounded memory.
//!
//! Two forms: an array, whose elements are cut where their brackets close, and
//! JSON Lines, an element a line. An element's text is all that is held; whether
//! it is JSON is found out by whoever parses it, and a broken one doesn't stop
//! the reading.

use std::io::{self, BufRead};

use memchr::memchr3;

/// A longer element is reported and skipped. Prompts and responses are far
/// shorter; what reaches this is a bracket that nobody closed. Chosen.
pub const ELEMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Deeper nesting is refused; serde_json refuses it as well.
const DEPTH_MAX: usize = 128;

/// How elements are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One array.
    Array,
    /// One element a line.
    Lines,
}

/// An element's text, reused from element to element.
#[derive(Debug, Default)]
pub struct Element {
    /// The text; whether it is JSON is not known yet.
    pub text: Vec<u8>,
    /// Line on which it starts, from 1.
    pub line: u64,
}

/// What is wrong with an element, seen from outside. Lines count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A string goes on past the end of its line.
    UnclosedString { line: u64 },
    /// A bracket is closed by another kind, or by nothing.
    UnclosedBracket,
    /// Longer than [`ELEMENT_BYTES_MAX`].
    TooLong,
    /// Deeper than 128 brackets.
    TooDeep,
    /// No comma between this element and the one before.
    MissingComma,
}

/// Why nothing more can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The array isn't closed; the text ends on this line.
    UnclosedArray { line: u64 },
    /// Something stands behind the array.
    TextBehindArray { line: u64 },
}

/// What a step of reading found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An element, and what is wrong with it.
    Element(Result<(), Fault>),
    /// Nothing more, because the text ends well or because it can't be read on.
    End(Result<(), End>),
}

/// Reads elements.
#[derive(Debug)]
pub struct Elements<R> {
    reader: R,
    form: Form,
    /// The line that the next byte is on.
    line: u64,
    /// Whether a comma must come before the next element.
    comma_due: bool,
    /// Set at the end of the array.
    ended: Option<Result<(), End>>,
}

impl<R: BufRead> Elements<R> {
    /// Finds out the form; `Err` holds the first byte if it opens neither an
    /// array nor an object, `None` if there is none.
    ///
    /// # Errors
    /// The reader's.
    pub fn open(reader: R) -> io::Result<Result<Self, Option<u8>>> {
        let mut elements = Self {
            reader,
            form: Form::Lines,
            line: 1,
            comma_due: false,
            ended: None,
        };
        Ok(match elements.skip_white_space()? {
            Some(b'[') => {
                elements.reader.consume(1);
                elements.form = Form::Array;
                Ok(elements)
            }
            Some(b'{') => Ok(elements),
            other => Err(other),
        })
    }

    /// How elements are laid out.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The next element into `element`.
    ///
    /// # Errors
    /// The reader's.
    pub fn read(&mut self, element: &mut Element) -> io::Result<Step> {
        element.text.clear();
        match self.form {
            Form::Lines => self.read_line(element),
            Form::Array => self.read_from_array(element),
        }
    }

    fn read_line(&mut self, element: &mut Element) -> io::Result<Step> {
        if self.skip_white_space()?.is_none() {
            return Ok(Step::End(Ok(())));
        }
        element.line = self.line;
        let mut fault = None;
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = memchr::memchr(b'\n', buffer);
            let piece = &buffer[..end.unwrap_or(buffer.len())];
            keep(element, piece, &mut fault);
            let used = piece.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                self.line += 1;
            }
            if end.is_some() || used == 0 {
                return Ok(Step::Element(fault.map_or(Ok(()), Err)));
            }
        }
    }

    fn read_from_array(&mut self, element: &mut Element) -> io::Result<Step> {
        if let Some(ended) = self.ended {
            return Ok(Step::End(ended));
        }
        let mut fault = None;
        loop {
            match self.skip_white_space()? {
                None => {
                    let end = Err(End::UnclosedArray { line: self.line });
                    self.ended = Some(end);
                    return Ok(Step::End(end));
                }
                Some(b']') => {
                    self.reader.consume(1);
                    let end = match self.skip_white_space()? {
                        None => Ok(()),
                        Some(_) => Err(End::TextBehindArray { line: self.line }),
                    };
                    self.ended = Some(end);
                    return Ok(Step::End(end));
                }
                Some(b',') if self.comma_due => {
                    self.reader.consume(1);
                    self.comma_due = false;
                }
                Some(_) => {
                    if self.comma_due {
                        fault = Some(Fault::MissingComma);
                    }
                    self.comma_due = true;
                    element.line = self.line;
                    self.read_element(element, &mut fault)?;
                    return Ok(Step::Element(fault.map_or(Ok(()), Err)));
                }
            }
        }
    }

    /// Up to where its brackets close. A bracket of the wrong kind, or an
    /// object where no object can be, shows that one was not closed: then the
    /// element ends before it.
    fn read_element(&mut self, element: &mut Element, fault: &mut Option<Fault>) -> io::Result<()> {
        let mut brackets: Vec<u8> = Vec::new();
        let mut too_deep = 0_usize;
        let mut in_string = false;
        let mut escaped = false;
        // The last byte that isn't white space, outside of strings.
        let mut before = 0;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                fault.get_or_insert(Fault::UnclosedBracket);
                return Ok(());
            }
            let mut used = 0;
            let mut ended = false;
            while used < buffer.len() && !ended {
                let byte = buffer[used];
                if in_string {
                    if escaped {
                        escaped = false;
                        // A line end is no escape: looked at below.
                        if byte != b'\n' {
                            keep(element, &[byte], fault);
                            used += 1;
                            continue;
                        }
                    }
                    let rest = &buffer[used..];
                    let length = memchr3(b'"', b'\\', b'\n', rest).unwrap_or(rest.len());
                    keep(element, &rest[..length], fault);
                    used += length;
                    let Some(byte) = buffer.get(used) else {
                        continue;
                    };
                    used += 1;
                    keep(element, &[*byte], fault);
                    match byte {
                        b'"' => in_string = false,
                        b'\\' => escaped = true,
                        _ => {
                            fault.get_or_insert(Fault::UnclosedString { line: self.line });
                            self.line += 1;
                            in_string = false;
                            before = b'"';
                        }
                    }
                    ended = !in_string && brackets.is_empty();
                    continue;
                }
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => {
                        let impossible =
                            byte == b'{' && brackets.last() == Some(&b'{') && before != b':';
                        if impossible {
                            fault.get_or_insert(Fault::UnclosedBracket);
                            self.comma_due = false;
                            ended = true;
                            continue;
                        }
                        if brackets.len() < DEPTH_MAX {
                            brackets.push(byte);
                        } else {
                            fault.get_or_insert(Fault::TooDeep);
                            too_deep += 1;
                        }
                    }
                    b'}' | b']' if too_deep > 0 => too_deep -= 1,
                    b'}' | b']' => {
                        let opening = if byte == b'}' { b'{' } else { b'[' };
                        match brackets.iter().rposition(|bracket| *bracket == opening) {
                            Some(position) => {
                                if position + 1 < brackets.len() {
                                    fault.get_or_insert(Fault::UnclosedBracket);
                                }
                                brackets.truncate(position);
                                ended = brackets.is_empty();
                            }
                            // It closes the array around us.
                            None if byte == b']' => {
                                if !brackets.is_empty() {
                                    fault.get_or_insert(Fault::UnclosedBracket);
                                }
                                ended = true;
                                continue;
                            }
                            None => {
                                fault.get_or_insert(Fault::UnclosedBracket);
                            }
                        }
                    }
                    b',' if brackets.is_empty() => {
                        ended = true;
                        continue;
                    }
                    b'\n' => self.line += 1,
                    _ => {}
                }
                if !byte.is_ascii_whitespace() {
                    before = byte;
                }
                keep(element, &[byte], fault);
                used += 1;
            }
            self.reader.consume(used);
            if ended {
                return Ok(());
            }
        }
    }

    /// The next byte that isn't white space, which is left where it is.
    fn skip_white_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let blank = buffer
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            let lines = memchr::memchr_iter(b'\n', &buffer[..blank]).count();
            let found = buffer.get(blank).copied();
            self.line += lines as u64;
            self.reader.consume(blank);
            if found.is_some() {
                return Ok(found);
            }
        }
    }
}

/// Appends to the element, up to the limit.
fn keep(element: &mut Element, bytes: &[u8], fault: &mut Option<Fault>) {
    if element.text.len() + bytes.len() > ELEMENT_BYTES_MAX {
        fault.get_or_insert(Fault::TooLong);
    } else {
        element.text.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Elements as `line: text`, then how it ends; read through buffers of
    /// every small size, since states must survive their borders.
    fn check(text: &str, expected: &[&str]) {
        for capacity in [1, 2, 3, 7, 4096] {
            let reader = BufReader::with_capacity(capacity, text.as_bytes());
            let mut found = Vec::new();
            match Elements::open(reader).unwrap() {
                Err(first) => found.push(format!("{:?}", first.map(char::from))),
                Ok(mut elements) => {
                    let mut element = Element::default();
                    loop {
                        match elements.read(&mut element).unwrap() {
                            Step::Element(Ok(())) => found.push(format!(
                                "{}: {}",
                                element.line,
                                String::from_utf8_lossy(&element.text).trim_end()
                            )),
                            Step::Element(Err(fault)) => {
                                found.push(format!("{}: {fault:?}", element.line));
                            }
                            Step::End(Ok(())) => break,
                            Step::End(Err(end)) => {
                                found.push(format!("{end:?}"));
                                break;
                            }
                        }
                    }
                }
            }
            assert_eq!(found, expected, "{text:?}, buffers of {capacity}");
        }
    }

    // Catches elements cut inside strings or nested brackets, and wrong lines.
    #[test]
    fn arrays() {
        check("[]", &[]);
        check(
            " [ {} ,\n{\"a\": [1, {\"b\": 2}]} ] \n",
            &["1: {}", "2: {\"a\": [1, {\"b\": 2}]}"],
        );
        check(
            r#"[{"a": "}],\"{"}, 1, "x,y", null]"#,
            &[r#"1: {"a": "}],\"{"}"#, "1: 1", r#"1: "x,y""#, "1: null"],
        );
        check("[{\n\"a\": 1\n},\n\n{}]", &["1: {\n\"a\": 1\n}", "5: {}"]);
        check("[{},]", &["1: {}"]);
    }

    // Catches lines that are skipped, joined or miscounted.
    #[test]
    fn lines() {
        check(
            "{}\n\n {\"a\": 1}\r\nnonsense\n",
            &["1: {}", "3: {\"a\": 1}", "4: nonsense"],
        );
        check("\n\n{}", &["3: {}"]);
    }

    // Catches files that are no JSON at all.
    #[test]
    fn neither() {
        check("", &["None"]);
        check(" \n", &["None"]);
        check("prompt,response\n", &["Some('p')"]);
    }

    // Catches one broken element that takes the rest of the file with it.
    #[test]
    fn broken_elements_are_left_behind() {
        check(
            "[{\"a\": \"x\n}, {}]",
            &["1: UnclosedString { line: 1 }", "2: {}"],
        );
        check(
            "[{\"a\": \"x},\n{\"b\": 1},\n{}]",
            &["1: UnclosedString { line: 1 }", "2: {\"b\": 1}", "3: {}"],
        );
        check(
            "[{\"a\": 1, {\"b\": 1}]",
            &["1: UnclosedBracket", "1: {\"b\": 1}"],
        );
        check("[{\"a\": [1}, {}]", &["1: UnclosedBracket", "1: {}"]);
        check("[{\"a\": 1]", &["1: UnclosedBracket"]);
        check("[{} {}, {}]", &["1: {}", "1: MissingComma", "1: {}"]);
        check("[{}},{}]", &["1: {}", "1: MissingComma", "1: {}"]);
        let deep = format!("[{}1{}, {{}}]", "[".repeat(500), "]".repeat(500));
        check(&deep, &["1: TooDeep", "1: {}"]);
    }

    // Catches text that ends too early or too late without a word.
    #[test]
    fn ends() {
        check("[{},\n{}", &["1: {}", "2: {}", "UnclosedArray { line: 2 }"]);
        check(
            "[{\"a\": 1",
            &["1: UnclosedBracket", "UnclosedArray { line: 1 }"],
        );
        check("[{}]\n{}", &["1: {}", "TextBehindArray { line: 2 }"]);
    }

    // Catches a guest that runs out of memory on one bracket.
    #[test]
    fn an_element_has_a_largest_size() {
        let text = format!("[{{\"a\": \"{}\"}}, {{}}]", "x".repeat(ELEMENT_BYTES_MAX));
        check(&text, &["1: TooLong", "1: {}"]);
    }
}
