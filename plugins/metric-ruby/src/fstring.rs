//! Decisions inside of f-strings: to Python's tokeniser they are one string,
//! in the syntax tree their fields are expressions.

/// How deep strings in fields of strings are followed. Python 3.11 allows four,
/// one for each kind of quote.
const DEPTH_MAX: usize = 8;

/// The decisions in the fields of a string literal with prefix and quotes.
pub fn decisions(literal: &str) -> usize {
    let mut scan = Scan {
        text: literal.as_bytes(),
        at: 0,
        decisions: 0,
    };
    scan.literal(0);
    scan.decisions
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    decisions: usize,
}

impl Scan<'_> {
    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// A literal, from its prefix to its closing quotes.
    fn literal(&mut self, depth: usize) {
        let prefix = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_alphabetic());
        let prefix = prefix.count();
        let has = |letter: u8| {
            let letters = &self.rest()[..prefix];
            letters
                .iter()
                .any(|byte| byte.eq_ignore_ascii_case(&letter))
        };
        let (formatted, raw) = (has(b'f') && depth < DEPTH_MAX, has(b'r'));
        self.at += prefix;
        let Some(&quote) = self.rest().first() else {
            return;
        };
        let quotes = if self.rest().starts_with(&[quote; 3]) {
            3
        } else {
            1
        };
        self.at += quotes;
        let closing = [quote; 3];
        while let Some(&byte) = self.rest().first() {
            if self.rest().starts_with(&closing[..quotes]) {
                self.at += quotes;
                return;
            }
            match byte {
                b'\\' => {
                    self.at += match self.rest().get(1) {
                        Some(b'N') if !raw && self.rest().starts_with(br"\N{") => {
                            let name = self.rest().iter().position(|&byte| byte == b'}');
                            name.map_or(2, |end| end + 1)
                        }
                        Some(b'{' | b'}') => 1,
                        _ => 2,
                    }
                }
                b'{' if formatted && self.rest().starts_with(b"{{") => self.at += 2,
                b'{' if formatted => self.field(depth),
                _ => self.at += 1,
            }
        }
    }

    /// `{expression!conversion:format}`, where the format may have fields itself.
    fn field(&mut self, depth: usize) {
        self.at += 1;
        // Brackets that are open in the expression.
        let mut brackets = 0_usize;
        // Braces of fields inside of the format.
        let mut in_format = false;
        let mut outer = 0_usize;
        while let Some(&byte) = self.rest().first() {
            match byte {
                b'{' if in_format => {
                    in_format = false;
                    outer += 1;
                }
                b'}' if in_format || brackets == 0 => {
                    if outer == 0 {
                        self.at += 1;
                        return;
                    }
                    outer -= 1;
                    in_format = true;
                }
                _ if in_format => {}
                b'(' | b'[' | b'{' => brackets += 1,
                b')' | b']' | b'}' => brackets = brackets.saturating_sub(1),
                b':' if brackets == 0 => in_format = true,
                b'\'' | b'"' => {
                    self.literal(depth + 1);
                    continue;
                }
                _ if is_word(byte) => {
                    self.word(depth);
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// A word of an expression, or the prefix of a literal in it.
    fn word(&mut self, depth: usize) {
        let length = self
            .rest()
            .iter()
            .take_while(|&&byte| is_word(byte))
            .count();
        let (word, behind) = self.rest().split_at(length);
        let is_prefix = length <= 2
            && word.iter().all(|byte| b"bfruBFRU".contains(byte))
            && matches!(behind.first(), Some(b'\'' | b'"'));
        if is_prefix {
            self.literal(depth + 1);
            return;
        }
        if matches!(word, b"and" | b"or" | b"if" | b"for") {
            self.decisions += 1;
        }
        self.at += length;
    }
}

/// Bytes beyond ASCII belong to names, strings aside.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a decision overlooked, or one seen in plain text.
    #[test]
    fn fields_are_expressions() {
        let check = |literal: &str, expected: usize| {
            assert_eq!(decisions(literal), expected, "{literal}");
        };
        check("'{a if b else c}'", 0);
        check("f'a if b'", 0);
        check("f'{a if b else c} or {d and e}'", 2);
        check("f'{{a if b}}'", 0);
        check("F\"{'a if b'} {x!r:>{w or 3}}\"", 1);
        check("rf'''{[y for y in z if y]}'''", 2);
        check("f'{x:{w if v else u}} and'", 1);
        check("f\"{f'{a or b}'}\"", 1);
        check("f'{a[\"b:c\"] or d:if}'", 1);
        check(r"f'\N{LATIN SMALL LETTER A} \' {a or b}'", 1);
        check(r"f'\{a or b}'", 1);
        check(r"rf'\\{a or b}\'{c or d}'", 2);
        check("f'{a!=b or c}'", 1);
        check("f'{", 0);
        check("f'{a:{b:{c:{d", 0);
    }
}
