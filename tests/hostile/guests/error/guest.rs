//! Reports an error of its own: no crime, and no score.

use rlhf_sdk::{Error, Metric, MetricDescriptor, NoOptions, Sample, Score};

struct Guest;

impl Metric for Guest {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new("error", "0.1.0", "misbehaves on the sample `bad`")
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        if sample.id == "bad" {
            return Err(Error::new("odd-sample", "cannot score this one"));
        }
        Ok(Score::new(0.5))
    }
}

rlhf_sdk::export_metric!(Guest);
