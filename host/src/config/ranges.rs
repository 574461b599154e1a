//! Which numbers a setting may have: checked before a run, and told in the schema.

/// An interval of numbers; without a bound, all that are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    low: Option<Bound>,
    high: Option<Bound>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound {
    at: f64,
    /// Whether the number itself is in the interval.
    included: bool,
}

impl Range {
    /// `low` or more.
    pub fn from(low: f64) -> Self {
        let included = true;
        Self {
            low: Some(Bound { at: low, included }),
            high: None,
        }
    }

    /// More than `low`.
    pub fn above(low: f64) -> Self {
        let included = false;
        Self {
            low: Some(Bound { at: low, included }),
            high: None,
        }
    }

    /// And at most `high`.
    pub fn to(self, high: f64) -> Self {
        let included = true;
        Self {
            high: Some(Bound { at: high, included }),
            ..self
        }
    }

    /// And less than `high`.
    pub fn below(self, high: f64) -> Self {
        let included = false;
        Self {
            high: Some(Bound { at: high, included }),
            ..self
        }
    }

    /// A NaN lies in no range.
    pub fn contains(&self, value: f64) -> bool {
        let low = self.low.is_none_or(|low| match low.included {
            true => value >= low.at,
            false => value > low.at,
        });
        let high = self.high.is_none_or(|high| match high.included {
            true => value <= high.at,
            false => value < high.at,
        });
        value.is_finite() && low && high
    }

    /// The keywords of JSON Schema that say the same.
    pub fn keywords(&self) -> Vec<(&'static str, f64)> {
        let keyword = |bound: Option<Bound>, including, excluding| {
            bound.map(|bound| match bound.included {
                true => (including, bound.at),
                false => (excluding, bound.at),
            })
        };
        let low = keyword(self.low, "minimum", "exclusiveMinimum");
        let high = keyword(self.high, "maximum", "exclusiveMaximum");
        low.into_iter().chain(high).collect()
    }
}

/// A setting's value and the range that it must lie in.
#[derive(Clone, Debug)]
pub struct Check {
    pub key: &'static str,
    /// The number, or the length of a list.
    pub value: f64,
    pub range: Range,
    /// The range for people.
    pub expected: &'static str,
}

impl Check {
    pub fn is_fine(&self) -> bool {
        self.range.contains(self.value)
    }
}

pub(super) fn check(
    key: &'static str,
    value: f64,
    range: impl Fn() -> Range,
    expected: &'static str,
) -> Check {
    Check {
        key,
        value,
        range: range(),
        expected,
    }
}

pub(super) fn above_zero() -> Range {
    Range::above(0.0)
}
pub(super) fn not_negative() -> Range {
    Range::from(0.0)
}
pub(super) fn one_or_more() -> Range {
    Range::from(1.0)
}
pub(super) fn two_or_more() -> Range {
    Range::from(2.0)
}
pub(super) fn in_unit() -> Range {
    Range::from(0.0).to(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a bound that lets its own number in or out by mistake, and a NaN that is in range.
    #[test]
    fn bounds() {
        let check = |range: Range, inside: &[f64], outside: &[f64]| {
            for value in inside {
                assert!(range.contains(*value), "{value} in {range:?}");
            }
            for value in outside.iter().chain(&[f64::NAN, f64::INFINITY]) {
                assert!(!range.contains(*value), "{value} in {range:?}");
            }
        };
        check(above_zero(), &[1e-9, 5.0], &[0.0, -1.0]);
        check(in_unit(), &[0.0, 1.0], &[-1e-9, 1.1]);
        check(Range::from(0.0).below(0.5), &[0.0, 0.49], &[0.5]);
        assert_eq!(
            Range::above(0.0).to(1.0).keywords(),
            [("exclusiveMinimum", 0.0), ("maximum", 1.0)]
        );
    }
}
