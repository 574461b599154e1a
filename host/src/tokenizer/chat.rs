//! Chat templates: messages to the text that a model was trained on, as transformers renders it.
//!
//! A template is a program from whoever published the model. It runs in minijinja, which reaches
//! nothing outside, with a budget of steps.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, Error, ErrorKind};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::calendar;

/// Instructions that a template may run; a conversation of a thousand turns takes a hundredth.
const FUEL: u64 = 10_000_000;

/// Renders a template with the variables of `context`, a JSON object.
///
/// # Errors
/// What is wrong, or what the template itself raised.
pub(super) fn render(template: &str, context: &serde_json::Value) -> Result<String, String> {
    environment()
        .render_str(
            &without_generation_tags(template),
            Value::from(Serde(context)),
        )
        .map_err(|error| message(&error))
}

/// The functions and settings that transformers gives its templates.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .expect("only whitespace is set"),
    );
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text))
    });
    environment.add_function("strftime_now", |format: &str| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map(|time| strftime(format, time.as_secs()))
            .unwrap_or_default()
    });
    environment
}

fn message(error: &Error) -> String {
    match (error.kind(), error.detail(), error.line()) {
        (ErrorKind::OutOfFuel, ..) => format!("takes more than {FUEL} steps"),
        (_, Some(detail), Some(line)) => format!("line {line}: {detail}"),
        (_, Some(detail), None) => detail.into(),
        (kind, None, Some(line)) => format!("line {line}: {kind}"),
        (kind, None, None) => kind.to_string(),
    }
}

/// `{% generation %}` marks what the assistant said, for whoever trains on that alone. It changes
/// no text, and minijinja does not know it.
fn without_generation_tags(template: &str) -> String {
    let mut source = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(begin) = rest.find("{%") {
        let Some(length) = rest[begin..].find("%}") else {
            break;
        };
        let (tag, end) = (&rest[begin + 2..begin + length], begin + length);
        source.push_str(&rest[..begin + 2]);
        let name = tag.trim_matches(['-', '+', ' ', '\n', '\t']);
        match name {
            "generation" => source.push_str(&tag.replace(name, "if true")),
            "endgeneration" => source.push_str(&tag.replace(name, "endif")),
            _ => source.push_str(tag),
        }
        source.push_str("%}");
        rest = &rest[end + 2..];
    }
    source.push_str(rest);
    source
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    let _: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let value: serde_json::Value = serde_json::to_value(&value)
        .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("tojson: {e}")))?;
    let mut out = String::new();
    write_json(&value, indent, 0, &mut out);
    Ok(out)
}

fn write_json(value: &serde_json::Value, indent: Option<usize>, depth: usize, out: &mut String) {
    use serde_json::Value as Json;
    let line = |depth: usize, out: &mut String| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    let separator = if indent.is_some() { "," } else { ", " };
    match value {
        Json::Array(items) if !items.is_empty() => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { separator } else { "" });
                line(depth + 1, out);
                write_json(item, indent, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        Json::Object(items) if !items.is_empty() => {
            out.push('{');
            for (i, (key, item)) in items.iter().enumerate() {
                out.push_str(if i > 0 { separator } else { "" });
                line(depth + 1, out);
                out.push_str(&Json::from(key.as_str()).to_string());
                out.push_str(": ");
                write_json(item, indent, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// C's `strftime` in UTC, for the fields that templates use.
fn strftime(format: &str, seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = [
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
    ];
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let (year, month, day) = calendar::date(days);
    let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[(days % 7) as usize]);
    let mut out = String::new();
    let mut symbols = format.chars();
    while let Some(symbol) = symbols.next() {
        if symbol != '%' {
            out.push(symbol);
            continue;
        }
        let (symbol, padded) = match symbols.next() {
            Some('-') => (symbols.next(), false),
            other => (other, true),
        };
        let number = |n: u64| {
            if padded {
                format!("{n:02}")
            } else {
                n.to_string()
            }
        };
        match symbol {
            Some('Y') => out.push_str(&year.to_string()),
            Some('y') => out.push_str(&number(year % 100)),
            Some('m') => out.push_str(&number(month)),
            Some('d') => out.push_str(&number(day)),
            Some('H') => out.push_str(&number(hour)),
            Some('I') => out.push_str(&number((hour + 11) % 12 + 1)),
            Some('M') => out.push_str(&number(minute)),
            Some('S') => out.push_str(&number(second % 60)),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('B') => out.push_str(month_name),
            Some('b') => out.push_str(&month_name[..3]),
            Some('A') => out.push_str(day_name),
            Some('a') => out.push_str(&day_name[..3]),
            Some('F') => out.push_str(&format!("{year}-{month:02}-{day:02}")),
            Some('T') => out.push_str(&format!("{hour:02}:{minute:02}:{:02}", second % 60)),
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a calendar that is wrong at a leap day, a century or a year's end.
    #[test]
    fn dates_are_pythons() {
        let check = |seconds: u64, format: &str, expected: &str| {
            assert_eq!(strftime(format, seconds), expected);
        };
        check(
            0,
            "%A %d %B %Y %H:%M:%S",
            "Thursday 01 January 1970 00:00:00",
        );
        check(951_782_399, "%F %T", "2000-02-28 23:59:59");
        check(
            951_782_400,
            "%a %-d %b %y %I %p %%",
            "Tue 29 Feb 00 12 AM %",
        );
        check(1_709_164_800, "%F", "2024-02-29");
        check(4_107_542_399, "%F %I%p", "2100-02-28 11PM");
        check(4_107_542_400, "%F", "2100-03-01");
        check(1_798_761_599, "%F %q %", "2026-12-31 %q %");
    }

    // Would catch a template that keeps the program busy for ever, or fills its memory.
    #[test]
    fn endless_templates_end() {
        let endless =
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
        let error = render(endless, &serde_json::json!({})).expect_err("must be refused");
        assert!(error.contains("steps"), "{error}");
    }
}
