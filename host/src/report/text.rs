//! Text for pages and pictures: escaped, and numbers of a readable length.

use std::fmt::Write;

/// Text as it may stand between tags and in quoted attributes, in HTML and in XML. Control
/// characters, which XML has no place for, become their pictures.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\0'..='\u{1f}' => out.push(picture(c)),
            '\u{7f}' => out.push('\u{2421}'),
            // Line and paragraph separators, and marks that turn the direction of what follows,
            // would show other text than was written.
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "⟨U+{:04X}⟩", c as u32);
            }
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

/// The picture of a control character: U+2400 and following.
fn picture(c: char) -> char {
    char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')
}

/// A number of about four digits.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "–".to_owned();
    }
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e7).contains(&size) {
        return format!("{value:.2e}");
    }
    let digits = match size {
        1000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        1.0.. => 3,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A count with its thousands apart: `1 234 567`, by thin spaces.
pub fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, c) in digits.chars().enumerate() {
        let left = digits.len() - at;
        if at > 0 && left.is_multiple_of(3) && digits.as_bytes()[at - 1].is_ascii_digit() {
            out.push('\u{2009}');
        }
        out.push(c);
    }
    out
}

/// Seconds as people say them: `40 µs`, `850 ms`, `12.3 s`, `4 min 10 s`, `3 h 20 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round();
    match seconds {
        s if s < 0.001 => format!("{} µs", number((s * 1e6).round())),
        s if s < 1.0 => format!("{} ms", number((s * 1000.0 * 10.0).round() / 10.0)),
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} min {} s", (whole / 60.0).floor(), whole % 60.0),
        _ => format!(
            "{} h {} min",
            (whole / 3600.0).floor(),
            ((whole % 3600.0) / 60.0).floor()
        ),
    }
}

/// Bytes in base64, padded.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (at, byte)| {
            word | u32::from(*byte) << (16 - 8 * at)
        });
        for at in 0..4 {
            if at <= chunk.len() {
                let letter = LETTERS[(word >> (18 - 6 * at)) as usize & 63];
                out.push(char::from(letter));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// A name as a part of a file's name or of an anchor.
pub fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch text that ends an element, an attribute or a script, and characters that hide
    /// what stands there.
    #[test]
    fn nothing_gets_out_of_its_place() {
        let check = |text: &str, expected: &str| assert_eq!(escape(text), expected);
        check("</script><b>", "&lt;/script&gt;&lt;b&gt;");
        check("\" onload='x' &amp;", "&quot; onload=&#39;x&#39; &amp;amp;");
        check("a\u{2028}b\u{202e}c", "a⟨U+2028⟩b⟨U+202E⟩c");
        check("a\n\tb\0c\r", "a\n\tb␀c␍");
    }

    #[test]
    fn numbers_are_short() {
        let check = |value: f64, expected: &str| assert_eq!(number(value), expected);
        check(0.0, "0");
        check(0.123_456, "0.1235");
        check(-12.5, "-12.5");
        check(1234.5, "1234");
        check(0.000_01, "1.00e-5");
        check(f64::NAN, "–");
        assert_eq!(count(1_234_567.0), "1\u{2009}234\u{2009}567");
        assert_eq!(duration(0.000_04), "40 µs");
        assert_eq!(duration(0.5), "500 ms");
        assert_eq!(duration(250.0), "4 min 10 s");
    }

    /// RFC 4648, section 10.
    #[test]
    fn base64_of_the_rfc() {
        let check = |text: &str, expected: &str| assert_eq!(base64(text.as_bytes()), expected);
        check("", "");
        check("f", "Zg==");
        check("fo", "Zm8=");
        check("foo", "Zm9v");
        check("foobar", "Zm9vYmFy");
    }
}
