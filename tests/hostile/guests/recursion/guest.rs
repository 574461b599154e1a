//! Recurses without end.

use rlhf_sdk::{Error, Metric, MetricDescriptor, NoOptions, Sample, Score};

struct Guest;

impl Metric for Guest {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new("recursion", "0.1.0", "misbehaves on the sample `bad`")
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        if sample.id == "bad" {
            #[allow(unconditional_recursion)]
            fn deeper(depth: u64) -> u64 {
                std::hint::black_box(deeper(depth + 1)) + std::hint::black_box(depth)
            }
            return Ok(Score::new(deeper(0) as f64));
        }
        Ok(Score::new(0.5))
    }
}

rlhf_sdk::export_metric!(Guest);
