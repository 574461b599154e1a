//! Scores with numbers and components that it did not announce. Statistics carry
//! what is wrong from the sample to its score.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn describe() -> Descriptor {
        Descriptor {
            components: vec!["part".into()],
            ..descriptor()
        }
    }

    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        Ok(vec![if is_bad(sample) { 1.0 } else { 0.5 }])
    }

    fn score(statistics: &[f64]) -> Result<MetricScore, Error> {
        let part = |name: &str, value| NamedValue {
            name: name.into(),
            value,
        };
        let honest = MetricScore {
            components: vec![part("part", 0.25)],
            ..score(0.5)
        };
        let how = if statistics[0] == 1.0 {
            how()
        } else {
            String::new()
        };
        Ok(match how.as_str() {
            "nan" => MetricScore {
                value: f64::NAN,
                ..honest
            },
            "infinite" => MetricScore {
                value: f64::INFINITY,
                ..honest
            },
            "below" => MetricScore {
                value: -0.001,
                ..honest
            },
            "above" => MetricScore {
                value: 1.000_001,
                ..honest
            },
            // Within rounding of the range's end, and a zero like any other.
            "rounded" => MetricScore {
                value: 1.0 + 1e-12,
                ..honest
            },
            "minus-zero" => MetricScore {
                value: -0.0,
                ..honest
            },
            "no-component" => MetricScore {
                components: Vec::new(),
                ..honest
            },
            "two-components" => MetricScore {
                components: vec![part("part", 0.25), part("part", 0.25)],
                ..honest
            },
            "misnamed" => MetricScore {
                components: vec![part("\u{1b}[31mpa\nrt", 0.25)],
                ..honest
            },
            "shorter" => MetricScore {
                components: vec![part("par", 0.25)],
                ..honest
            },
            "longer" => MetricScore {
                components: vec![part("part of the whole, and what is told of it", 0.25)],
                ..honest
            },
            // SAFETY: it isn't safe, which is the point.
            "no-utf8" => MetricScore {
                components: vec![NamedValue {
                    name: unsafe { String::from_utf8_unchecked(b"par\xff".to_vec()) },
                    value: 0.25,
                }],
                ..honest
            },
            "beyond-memory" => MetricScore {
                components: vec![NamedValue {
                    // SAFETY: nor is this. The host ends the call before it would be freed.
                    name: unsafe { String::from_raw_parts(0xffff_fff0 as *mut u8, 4, 4) },
                    value: 0.25,
                }],
                ..honest
            },
            "nan-component" => MetricScore {
                components: vec![part("part", f64::NAN)],
                ..honest
            },
            _ => honest,
        })
    }
}

export!(Raw);
