//! A metric that calls the encoder and writes to the log.

use rlhf_sdk::{Error, Metric, MetricDescriptor, NoOptions, Sample, Score, host, log};

struct Similarity;

impl Metric for Similarity {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new(
            "similarity",
            env!("CARGO_PKG_VERSION"),
            "Similarity of two texts",
        )
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        log::debug(&sample.id);
        let encoder = host::encoder()?;
        let texts = [sample.response.clone(), sample.references.concat()];
        let embeddings = encoder.encode(&texts)?;
        let matching = encoder.matches(&embeddings[0], &embeddings[1])?;
        Ok(Score::new(matching.f1))
    }
}

rlhf_sdk::export_metric!(Similarity);
