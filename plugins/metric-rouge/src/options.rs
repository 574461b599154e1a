//! The options of a run, checked.

use serde::Deserialize;

use crate::rouge::Variant;
use crate::tokens::Mode;

/// Options as they are written.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Whose F-measure is the value: `rouge1`, `rouge2`, `rougeL` (default) or `rougeLsum`.
    pub variant: String,
    /// Whether tokens longer than three letters are stemmed; default yes.
    pub stemmer: bool,
    /// `compat` (default) or `strict`; see [`Mode`].
    pub mode: Mode,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            variant: Variant::RougeL.name().to_owned(),
            stemmer: true,
            mode: Mode::Compat,
        }
    }
}

impl Options {
    /// The variant whose F-measure is the value.
    ///
    /// # Errors
    /// There is none of that name; the message says which there are.
    pub fn variant(&self) -> Result<Variant, String> {
        let mut variants = Variant::ALL.into_iter();
        let variant = variants.find(|variant| variant.name() == self.variant);
        variant.ok_or_else(|| {
            let found = &self.variant;
            format!("expected `rouge1`, `rouge2`, `rougeL` or `rougeLsum`, found `{found}`")
        })
    }
}

#[cfg(test)]
mod tests {
    use rlhf_sdk::Metric;

    use super::*;
    use crate::Rouge;

    fn check(options: &str, expected: &str) {
        let options = rlhf_sdk::options::parse::<Options>(options);
        let found = match options.and_then(Rouge::new) {
            Ok(metric) => metric.describe().signature,
            Err(error) => error.message,
        };
        assert_eq!(found, expected);
    }

    /// Would catch an option that is ignored in silence.
    #[test]
    fn options_decide_or_are_refused() {
        check(
            "",
            "case:lc|variant:rougeL|stem:porter|mode:compat|ref:rouge-score-0.1.2",
        );
        check(
            r#"{"variant": "rouge2", "stemmer": false}"#,
            "case:lc|variant:rouge2|stem:none|mode:compat|ref:rouge-score-0.1.2",
        );
        check(
            r#"{"mode": "strict"}"#,
            "case:lc|variant:rougeL|stem:porter|mode:strict",
        );
        check(
            r#"{"mode": "exact"}"#,
            "option `mode`: unknown variant `exact`, expected `compat` or `strict`",
        );
        check(
            r#"{"variant": "rouge-l"}"#,
            "option `variant`: expected `rouge1`, `rouge2`, `rougeL` or `rougeLsum`, found `rouge-l`",
        );
        check(
            r#"{"stem": true}"#,
            "option `stem`: unknown; expected `variant`, `stemmer` or `mode`",
        );
    }
}
