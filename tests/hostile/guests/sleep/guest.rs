//! Sleeps for an hour: time stands still for guests, so it wakes at once.

use rlhf_sdk::{Error, Metric, MetricDescriptor, NoOptions, Sample, Score};

struct Guest;

impl Metric for Guest {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new("sleep", "0.1.0", "misbehaves on the sample `bad`")
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        if sample.id == "bad" {
            std::thread::sleep(std::time::Duration::from_secs(3600));
            panic!("awake");
        }
        Ok(Score::new(0.5))
    }
}

rlhf_sdk::export_metric!(Guest);
