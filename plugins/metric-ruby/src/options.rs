//! The options of a run, checked.

use rlhf_python::candidate::Form;
use serde::Deserialize;

/// Whose rules complexity and style follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rules {
    /// Those of radon and pycodestyle; see the README.
    #[default]
    Reference,
    /// The simple ones of the project that this one replaces; see [`seed`](crate::seed).
    Seed,
}

/// Options as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Weights of syntax, complexity, style and execution; default 0.4, 0.2, 0.2, 0.2.
    pub weights: Option<Vec<f64>>,
    /// `reference` (default) or `seed`.
    pub compat: Rules,
    /// `auto` (default), `completion` or `program`.
    pub candidate: Form,
    /// Whether code is taken out of Markdown; default false.
    pub fences: bool,
    /// Whether execution is the fraction of tests passed, not all or nothing; default false.
    pub fraction: bool,
    /// Whether each violation's count is a component; default false.
    pub details: bool,
}

/// How much each part counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Whether the code compiles.
    pub syntax: f64,
    /// Cyclomatic complexity.
    pub complexity: f64,
    /// Violations of PEP 8.
    pub style: f64,
    /// Whether it runs, or passes its tests.
    pub execution: f64,
}

impl Default for Weights {
    /// The seed's README: 40 %, 20 %, 20 %, 20 %.
    fn default() -> Self {
        Self {
            syntax: 0.4,
            complexity: 0.2,
            style: 0.2,
            execution: 0.2,
        }
    }
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
        let &[syntax, complexity, style, execution] = &weights[..] else {
            return Err(format!("expected 4 numbers, found {}", weights.len()));
        };
        if let Some(weight) = weights.iter().find(|weight| !(0.0..=1.0).contains(*weight)) {
            return Err(format!("expected numbers from 0 to 1, found {weight}"));
        }
        if weights.iter().all(|&weight| weight == 0.0) {
            return Err("expected one above 0, found none".to_owned());
        }
        Ok(Weights {
            syntax,
            complexity,
            style,
            execution,
        })
    }

    /// What decides the numbers, in the manner of sacrebleu's signature.
    #[must_use]
    pub fn signature(&self, weights: &Weights) -> String {
        let Weights {
            syntax,
            complexity,
            style,
            execution,
        } = weights;
        format!(
            "weights:{syntax},{complexity},{style},{execution}|mode:{}|candidate:{}|fences:{}|tests:{}|ref:{}",
            match self.compat {
                Rules::Reference => "reference",
                Rules::Seed => "seed",
            },
            self.candidate.name(),
            if self.fences { "yes" } else { "no" },
            if self.fraction { "fraction" } else { "all" },
            match self.compat {
                Rules::Reference => "radon-6.0.1,pycodestyle-2.15.0",
                Rules::Seed => "modern_rlhf",
            },
        )
    }
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
            let found = options.weights().map(|weights| weights.execution);
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        check(&[0.1, 0.1, 0.4, 0.3], Ok(0.3));
        check(&[1.0], Err("expected 4 numbers, found 1"));
        check(&[0.0; 4], Err("expected one above 0, found none"));
        check(
            &[f64::NAN, 0.0, 0.0, 0.0],
            Err("expected numbers from 0 to 1, found NaN"),
        );
    }

    #[test]
    fn signatures_name_what_decides() {
        let options = Options::default();
        assert_eq!(
            options.signature(&Weights::default()),
            "weights:0.4,0.2,0.2,0.2|mode:reference|candidate:auto|fences:no|tests:all|ref:radon-6.0.1,pycodestyle-2.15.0"
        );
    }
}
