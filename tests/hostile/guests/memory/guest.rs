//! Takes all the memory there is.

use rlhf_sdk::{Error, Metric, MetricDescriptor, NoOptions, Sample, Score};

struct Guest;

impl Metric for Guest {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new("memory", "0.1.0", "misbehaves on the sample `bad`")
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        if sample.id == "bad" {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(std::hint::black_box(vec![1; 16 << 20]));
            }
        }
        Ok(Score::new(0.5))
    }
}

rlhf_sdk::export_metric!(Guest);
