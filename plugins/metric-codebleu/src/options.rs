//! The options of a run, checked.

use serde::Deserialize;

use crate::codebleu::{Parts, Weights};
use crate::languages::Language;

/// Options as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Weights of n-gram match, weighted n-gram match, syntax match and
    /// data-flow match; default 0.25 each.
    pub weights: Option<Vec<f64>>,
    /// Language of samples that don't say theirs; default `python`. `lang` is its name in codebleu.
    #[serde(alias = "lang")]
    pub language: Option<String>,
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

impl Weights {
    /// The largest score there is: that of parts that are all 1.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.total(&Parts {
            ngram: 1.0,
            weighted_ngram: 1.0,
            syntax: 1.0,
            dataflow: 1.0,
        })
    }
}

/// What decides the numbers, in the manner of sacrebleu's signature.
#[must_use]
pub fn signature(weights: &Weights, language: &Language) -> String {
    let Weights {
        ngram,
        weighted_ngram,
        syntax,
        dataflow,
    } = weights;
    let language = language.name;
    format!(
        "lang:{language}|weights:{ngram},{weighted_ngram},{syntax},{dataflow}|mode:compat|\
         hashseed:0|ref:codebleu-0.7.0"
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
                language: None,
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
        assert_eq!(
            signature(&Weights::default(), crate::languages::LANGUAGES[0]),
            "lang:python|weights:0.25,0.25,0.25,0.25|mode:compat|hashseed:0|ref:codebleu-0.7.0"
        );
    }
}
