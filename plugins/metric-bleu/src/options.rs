//! The options of a run, checked.

use serde::Deserialize;

use crate::{bleu, sacrebleu};

/// The default of all references: BLEU-4 (Papineni et al. 2002, section 2.3).
const ORDER_DEFAULT: usize = 4;

/// The longest n-grams that can be asked for; chosen, beyond any use in the literature.
const ORDER_MAX: usize = 16;

/// Options as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// `nltk` (default) or `sacrebleu`.
    pub variant: Option<String>,
    /// `method0` to `method4` for nltk (default `method1`), `exp` (default),
    /// `floor`, `add-k` or `none` for sacrebleu.
    pub smoothing: Option<String>,
    /// Longest n-grams, 1 to 16; default 4.
    pub max_order: Option<usize>,
    /// Weight of each order, for nltk; default the same for each, 1 in all.
    pub weights: Option<Vec<f64>>,
}

/// Which reference implementation is reproduced, with its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Variant {
    /// nltk: 0..1, tokens separated by whitespace.
    Nltk {
        /// One per order.
        weights: Vec<f64>,
        /// For orders without a match.
        smoothing: bleu::Smoothing,
    },
    /// sacrebleu: 0..100, tokens of `13a`.
    Sacrebleu {
        /// Longest n-grams.
        order_max: usize,
        /// For orders without a match.
        smoothing: sacrebleu::Smoothing,
    },
}

/// An option that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadOption {
    /// Its name.
    pub key: &'static str,
    /// Expected and found.
    pub message: String,
}

fn bad<T>(key: &'static str, message: impl Into<String>) -> Result<T, BadOption> {
    Err(BadOption {
        key,
        message: message.into(),
    })
}

impl Options {
    /// The variant these options ask for.
    ///
    /// # Errors
    /// An option is unknown to the variant, or out of range.
    pub fn variant(&self) -> Result<Variant, BadOption> {
        match self.variant.as_deref() {
            None | Some("nltk") => self.nltk(),
            Some("sacrebleu") => self.sacrebleu(),
            Some(other) => bad(
                "variant",
                format!("expected `nltk` or `sacrebleu`, found `{other}`"),
            ),
        }
    }

    fn nltk(&self) -> Result<Variant, BadOption> {
        use bleu::Smoothing::{Method0, Method1, Method2, Method3, Method4};
        let smoothing = match self.smoothing.as_deref() {
            Some("method0") => Method0,
            None | Some("method1") => Method1,
            Some("method2") => Method2,
            Some("method3") => Method3,
            Some("method4") => Method4,
            Some(other) => {
                let message = format!("expected `method0` to `method4`, found `{other}`");
                return bad("smoothing", message);
            }
        };
        let weights = match (&self.weights, self.max_order) {
            (Some(_), Some(_)) => return bad("max_order", "`weights` gives the orders already"),
            (Some(weights), None) => weights.clone(),
            (None, _) => {
                let order_max = self.order_max()?;
                vec![1.0 / order_max as f64; order_max]
            }
        };
        if weights.is_empty() || weights.len() > ORDER_MAX {
            let message = format!("expected 1 to {ORDER_MAX} numbers, found {}", weights.len());
            return bad("weights", message);
        }
        if let Some(weight) = weights.iter().find(|weight| !(0.0..=1.0).contains(*weight)) {
            return bad(
                "weights",
                format!("expected numbers from 0 to 1, found {weight}"),
            );
        }
        Ok(Variant::Nltk { weights, smoothing })
    }

    fn sacrebleu(&self) -> Result<Variant, BadOption> {
        use sacrebleu::Smoothing::{AddK, Exp, Floor, None as Unsmoothed};
        let smoothing = match self.smoothing.as_deref() {
            None | Some("exp") => Exp,
            Some("floor") => Floor,
            Some("add-k") => AddK,
            Some("none") => Unsmoothed,
            Some(other) => {
                let message =
                    format!("expected `exp`, `floor`, `add-k` or `none`, found `{other}`");
                return bad("smoothing", message);
            }
        };
        if self.weights.is_some() {
            return bad(
                "weights",
                "sacrebleu weighs all orders alike; use `max_order`",
            );
        }
        Ok(Variant::Sacrebleu {
            order_max: self.order_max()?,
            smoothing,
        })
    }

    fn order_max(&self) -> Result<usize, BadOption> {
        match self.max_order.unwrap_or(ORDER_DEFAULT) {
            order_max @ 1..=ORDER_MAX => Ok(order_max),
            other => bad(
                "max_order",
                format!("expected 1 to {ORDER_MAX}, found {other}"),
            ),
        }
    }
}

impl Variant {
    /// Longest n-grams.
    #[must_use]
    pub fn order_max(&self) -> usize {
        match self {
            Self::Nltk { weights, .. } => weights.len(),
            Self::Sacrebleu { order_max, .. } => *order_max,
        }
    }

    /// What decides the numbers, in the manner of sacrebleu's signature.
    #[must_use]
    pub fn signature(&self) -> String {
        match self {
            Self::Nltk { weights, smoothing } => {
                let smoothing = match smoothing {
                    bleu::Smoothing::Method0 => "method0",
                    bleu::Smoothing::Method1 => "method1",
                    bleu::Smoothing::Method2 => "method2",
                    bleu::Smoothing::Method3 => "method3",
                    bleu::Smoothing::Method4 => "method4",
                };
                let uniform = weights
                    .iter()
                    .all(|weight| *weight == 1.0 / weights.len() as f64);
                let orders = if uniform {
                    format!("order:{}", weights.len())
                } else {
                    let weights: Vec<_> = weights.iter().map(f64::to_string).collect();
                    format!("weights:{}", weights.join(","))
                };
                format!("case:mixed|{orders}|tok:split|smooth:{smoothing}|ref:nltk-3.10.4")
            }
            Self::Sacrebleu {
                order_max,
                smoothing,
            } => {
                let smoothing = match smoothing {
                    sacrebleu::Smoothing::Exp => "exp",
                    sacrebleu::Smoothing::Floor => "floor[0.10]",
                    sacrebleu::Smoothing::AddK => "add-k[1.00]",
                    sacrebleu::Smoothing::None => "none",
                };
                let order = match *order_max {
                    ORDER_DEFAULT => String::new(),
                    order_max => format!("order:{order_max}|"),
                };
                // `eff` is that of the corpus; single samples use the effective order.
                format!("case:mixed|eff:no|{order}tok:13a|smooth:{smoothing}|ref:sacrebleu-2.6.0")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &Options, expected: &str) {
        let found = match options.variant() {
            Ok(variant) => variant.signature(),
            Err(bad) => format!("{}: {}", bad.key, bad.message),
        };
        assert_eq!(found, expected);
    }

    /// Would catch an option that is ignored in silence.
    #[test]
    fn options_decide_or_are_refused() {
        let none = Options::default;
        let text = |text: &str| Some(text.to_owned());
        check(
            &none(),
            "case:mixed|order:4|tok:split|smooth:method1|ref:nltk-3.10.4",
        );
        check(
            &Options {
                weights: Some(vec![0.7, 0.3]),
                smoothing: text("method4"),
                ..none()
            },
            "case:mixed|weights:0.7,0.3|tok:split|smooth:method4|ref:nltk-3.10.4",
        );
        check(
            &Options {
                variant: text("sacrebleu"),
                ..none()
            },
            "case:mixed|eff:no|tok:13a|smooth:exp|ref:sacrebleu-2.6.0",
        );
        check(
            &Options {
                variant: text("bleurt"),
                ..none()
            },
            "variant: expected `nltk` or `sacrebleu`, found `bleurt`",
        );
        check(
            &Options {
                smoothing: text("exp"),
                ..none()
            },
            "smoothing: expected `method0` to `method4`, found `exp`",
        );
        check(
            &Options {
                max_order: Some(0),
                ..none()
            },
            "max_order: expected 1 to 16, found 0",
        );
        check(
            &Options {
                weights: Some(vec![f64::NAN]),
                ..none()
            },
            "weights: expected numbers from 0 to 1, found NaN",
        );
    }
}
