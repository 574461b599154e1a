//! The simple rules of the project that this one replaces
//! (`modern_rlhf/metrics.py`: `analyze_complexity`, `analyze_style`).

use rlhf_text::is_blank;

use crate::complexity::Statements;

/// 1 − 0.05 for each function, class, loop and condition, and not below 0.
/// (`async` functions and loops are none, comprehensions neither.)
#[must_use]
pub fn complexity(statements: &Statements) -> f64 {
    let Statements {
        functions,
        classes,
        loops,
        conditionals,
        ..
    } = *statements;
    let total = u32::try_from(functions + classes + loops + conditionals).unwrap_or(u32::MAX);
    (1.0 - f64::from(total) / 20.0).max(0.0)
}

/// What the seed reports of a text's lines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// Lines of more than 80 characters.
    pub long_lines: usize,
    /// Lines without anything but whitespace.
    pub empty_lines: usize,
    /// 1, less 0.2 if more than a tenth of the lines are long, less 0.1 if
    /// more than three tenths are empty.
    pub score: f64,
}

/// Lines end at `\n` only; behind the last one there is always a further line.
#[must_use]
pub fn style(text: &str) -> Style {
    let lines = text.split('\n').count();
    let long_lines = text.split('\n').filter(|line| is_long(line)).count();
    let empty_lines = text.split('\n').filter(|line| is_blank(line)).count();
    let mut score = 1.0;
    // Compared as the seed does, in floating point.
    #[expect(
        clippy::cast_precision_loss,
        reason = "texts have fewer lines than 2^53"
    )]
    let exceeds = |count: usize, share: f64| count as f64 > lines as f64 * share;
    if exceeds(long_lines, 0.1) {
        score -= 0.2;
    }
    if exceeds(empty_lines, 0.3) {
        score -= 0.1;
    }
    Style {
        long_lines,
        empty_lines,
        score,
    }
}

fn is_long(line: &str) -> bool {
    line.len() > 80 && line.chars().count() > 80
}
