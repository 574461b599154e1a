//! 1 where the response equals a reference, 0 where it doesn't; components
//! `length` (its characters) and, with the option `similarity`, `f1` (with the
//! first reference, by the run's encoder), which is 0 otherwise.
//!
//! A sample without references fails with the code `no-references`. Writes
//! `kept metric configured` to the log. Imports `log` and `encoder`.

use rlhf_sdk::{Error, Metric, MetricDescriptor, Need, Sample, Score, host};

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Options {
    similarity: bool,
}

struct Kept(Options);

impl Metric for Kept {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        host::log::info("kept metric configured");
        Ok(Self(options))
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new("kept", "1.0.0", "response equals a reference")
            .needs([Need::References])
            .components(["length", "f1"])
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        let Some(first) = sample.references.first() else {
            return Err(Error::new(
                "no-references",
                "references: expected some, found none",
            ));
        };
        let f1 = if self.0.similarity {
            let encoder = host::encoder()?;
            let texts = encoder.encode(&[sample.response.clone(), first.clone()])?;
            encoder.matches(&texts[0], &texts[1])?.f1
        } else {
            0.0
        };
        let equal = sample.references.contains(&sample.response);
        Ok(Score::new(if equal { 1.0 } else { 0.0 })
            .component("length", sample.response.chars().count() as f64)
            .component("f1", f1))
    }
}

rlhf_sdk::export_metric!(Kept);
