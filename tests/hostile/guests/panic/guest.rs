//! Panics, with a message that should reach the author.

use rlhf_sdk::{Error, Metric, MetricDescriptor, NoOptions, Sample, Score};

struct Guest;

impl Metric for Guest {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new("panic", "0.1.0", "misbehaves on the sample `bad`")
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        if sample.id == "bad" {
            panic!("no idea what {} is", sample.response);
        }
        Ok(Score::new(0.5))
    }
}

rlhf_sdk::export_metric!(Guest);
