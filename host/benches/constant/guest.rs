//! A metric that does nothing: what is left is the cost of calling it.

use rlhf_sdk::{Error, Metric, MetricDescriptor, NoOptions, Sample, Score};

struct Constant;

impl Metric for Constant {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new("constant", "1.0.0", "always one half")
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        std::hint::black_box(sample);
        Ok(Score::new(0.5))
    }
}

rlhf_sdk::export_metric!(Constant);
