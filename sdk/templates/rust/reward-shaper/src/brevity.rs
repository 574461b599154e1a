//! The formula, in plain Rust: tested without a host.

/// `1 - tokens / tokens_max`, from 0 for the longest answer towards 1 for the
/// shortest. A limit of 0 tokens leaves no room to be short: 0.
pub fn brevity(tokens: usize, tokens_max: u32) -> f64 {
    if tokens_max == 0 {
        return 0.0;
    }
    (1.0 - tokens as f64 / f64::from(tokens_max)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tokens: usize, tokens_max: u32, expected: f64) {
        assert_eq!(
            brevity(tokens, tokens_max),
            expected,
            "{tokens} of {tokens_max}"
        );
    }

    // Catches the reverse preference, values outside of 0 to 1, and a NaN.
    #[test]
    fn values() {
        check(0, 8, 1.0);
        check(2, 8, 0.75);
        check(8, 8, 0.0);
        check(9, 8, 0.0);
        check(0, 0, 0.0);
    }
}
