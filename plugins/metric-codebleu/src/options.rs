//! The options of a run, checked.

use serde::Deserialize;

use crate::codebleu::Weights;
use crate::languages::Language;
use crate::mode::Mode;

/// Options as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Weights of n-gram match, weighted n-gram match, syntax match and
    /// data-flow match; default 0.25 each.
    pub weights: Option<Vec<f64>>,
    /// Language of all samples, whatever they say; default each sample's own, `python` where it
    /// doesn't say. `lang` is its name in codebleu.
    #[serde(alias = "lang")]
    pub language: Option<String>,
    /// `compat` (default) or `strict`; see [`Mode`].
    pub mode: Mode,
}

impl Options {
    /// The weights, if they can be used.
    ///
    /// # Errors
    /// What was expected and found.
    pub fn weights(&self) -> Result<Weights, String> {
        let Some(weights) = &self.weights else {
            return Ok(Weights::default());
        };
        let &[ngram, weighted_ngram, syntax, dataflow] = &weights[..] else {
            return Err(format!("expected 4 numbers, found {}", weights.len()));
        };
        if let Some(weight) = weights.iter().find(|weight| !(0.0..=1.0).contains(*weight)) {
            return Err(format!("expected numbers from 0 to 1, found {weight}"));
        }
        if weights.iter().all(|&weight| weight == 0.0) {
            return Err("expected one above 0, found none".to_owned());
        }
        Ok(Weights {
            ngram,
            weighted_ngram,
            syntax,
            dataflow,
        })
    }
}

/// What decides the numbers, in the manner of sacrebleu's signature. Without a language it is each
/// sample's own.
#[must_use]
pub fn signature(weights: &Weights, language: Option<&Language>, mode: Mode) -> String {
    let Weights {
        ngram,
        weighted_ngram,
        syntax,
        dataflow,
    } = weights;
    let language = language.map_or("sample", |language| language.name);
    // In strict mode there is no reference that gives these numbers.
    let reference = match mode {
        Mode::Compat => "|ref:codebleu-0.7.0",
        Mode::Strict => "",
    };
    let mode = mode.name();
    format!(
        "lang:{language}|weights:{ngram},{weighted_ngram},{syntax},{dataflow}|mode:{mode}|\
         hashseed:0{reference}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch weights that give no score, or one beyond the range.
    #[test]
    fn weights_are_checked() {
        let check = |weights: &[f64], expected: Result<f64, &str>| {
            let options = Options {
                weights: Some(weights.to_vec()),
                ..Options::default()
            };
            let sum = options.weights().map(|weights| weights.sum());
            assert_eq!(sum, expected.map_err(str::to_owned));
        };
        check(&[0.1, 0.1, 0.4, 0.4], Ok(1.0));
        check(&[1.0, 0.0, 0.0, 0.0], Ok(1.0));
        check(&[1.0], Err("expected 4 numbers, found 1"));
        check(
            &[0.0, 0.0, 0.0, 0.0],
            Err("expected one above 0, found none"),
        );
        check(
            &[-1.0, 0.5, 0.5, 1.0],
            Err("expected numbers from 0 to 1, found -1"),
        );
        assert_eq!(Weights::default().sum(), 1.0);
    }

    #[test]
    fn signatures_name_what_decides() {
        let check = |language, mode, expected| {
            assert_eq!(signature(&Weights::default(), language, mode), expected);
        };
        check(
            None,
            Mode::Compat,
            "lang:sample|weights:0.25,0.25,0.25,0.25|mode:compat|hashseed:0|ref:codebleu-0.7.0",
        );
        check(
            Some(crate::languages::LANGUAGES[1]),
            Mode::Strict,
            "lang:java|weights:0.25,0.25,0.25,0.25|mode:strict|hashseed:0",
        );
    }
}
