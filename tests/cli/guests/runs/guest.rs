//! 1 if the response, run as a program, writes the first reference; it asks
//! for a sandbox.

use rlhf_sdk::{Error, Metric, MetricDescriptor, Need, NoOptions, Sample, Score, host};

struct Runs;

impl Metric for Runs {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new("runs", "0.1.0", "the program writes the reference")
            .needs([Need::References])
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        let outcome = host::sandbox()?.execute(&sample.language, &sample.response, b"!")?;
        let right = outcome.kind == "finished" && outcome.stdout == sample.references[0].as_bytes();
        Ok(Score::new(f64::from(u8::from(right))))
    }
}

rlhf_sdk::export_metric!(Runs);
